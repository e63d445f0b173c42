"""kube-proxy's `/metrics`: how long syncs took, how long changes took to reach the rules.

Prometheus text exposition (https://prometheus.io/docs/instrumenting/exposition_formats/), names of
k8s:pkg/proxy/metrics/metrics.go: `sync_proxy_rules_duration_seconds` holds all syncs; from 1.28 on
`sync_full_...` and `sync_partial_...` hold the two kinds in modes that know them. Buckets double from 1 ms to
16.4 s; those of `network_programming_duration_seconds` are 0.25 s wide at the least. Counts are since the
start of kube-proxy, so two scrapes tell of the time between them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError
from nodeportsim.scenario.documents import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

SYNCS = {
    "all": "kubeproxy_sync_proxy_rules_duration_seconds",
    "full": "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "partial": "kubeproxy_sync_partial_proxy_rules_duration_seconds",
}
PROGRAMMING = "kubeproxy_network_programming_duration_seconds"
RULES = "kubeproxy_sync_proxy_rules_iptables_total"
STARTED = "process_start_time_seconds"
_HISTOGRAMS = (*SYNCS.values(), PROGRAMMING)
_LINE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?[0-9]+)?\s*")
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')
_PART = re.compile(r"(.+)_(bucket|sum|count)")


@dataclass(frozen=True, kw_only=True)
class Durations:
    """A histogram of durations (s): upper edges with the counts at or below them, sum and count."""

    edges_s: tuple[float, ...]
    cumulative: tuple[int, ...]
    sum_s: float
    count: int

    def __sub__(self, earlier: Durations) -> Durations:
        """Return what was counted since an earlier scrape."""
        return Durations(
            edges_s=self.edges_s,
            cumulative=tuple(b - a for a, b in zip(earlier.cumulative, self.cumulative, strict=True)),
            sum_s=max(self.sum_s - earlier.sum_s, 0.0),
            count=self.count - earlier.count,
        )

    def follows(self, earlier: Durations) -> bool:
        """Whether no counter went down since an earlier scrape."""
        return (
            self.edges_s == earlier.edges_s
            and all(b >= a for a, b in zip(earlier.cumulative, self.cumulative, strict=True))
            and self.sum_s >= earlier.sum_s - 1e-9
        )


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """One scrape, or the time between two.

    Parameters
    ----------
    histograms
        By metric name and IP family (empty where an older kube-proxy does not tell it).
    nat_rules
        Rules of the nat table by IP family, mode iptables alone.
    started_s
        When kube-proxy started (s since 1970), or None.
    notes
        What was noticed, as sentences.
    """

    histograms: dict[tuple[str, str], Durations]
    nat_rules: dict[str, int]
    started_s: float | None = None
    notes: tuple[str, ...] = ()

    def durations(self, name: str, family: str) -> Durations | None:
        """Return a histogram of an IP family, or the one without a family."""
        return self.histograms.get((name, family)) or self.histograms.get((name, ""))


def read_metrics(text: str, path: str = "metrics") -> Metrics:
    """Read a scrape of one kube-proxy.

    Raises
    ------
    InputError
        Located: no metrics, none of kube-proxy's, several kube-proxies' at once, cut, or contradictory.
    """
    source = Source(file=path, text=text)
    lines: dict[tuple[str, str], dict[str, tuple[float, int]]] = {}
    rules: dict[str, int] = {}
    started_s = None
    for number, name, labels, value in _lines(source):
        family = labels.get("ip_family", "")
        part = _PART.fullmatch(name)
        if part and part[1] in _HISTOGRAMS:
            key = f"le={labels.get('le')}" if part[2] == "bucket" else part[2]
            row = lines.setdefault((part[1], family), {})
            if key in row:
                hint = "give the scrape of one kube-proxy at a time"
                raise InputError("stands twice", field=name, hint=hint, location=source.at(number, 0))
            row[key] = (value, number)
        elif name == RULES and labels.get("table") == "nat" and math.isfinite(value):
            rules[family] = int(value)
        elif name == STARTED:
            started_s = value
    if not lines:
        raise _nothing(source)
    histograms = {key: _durations(source, key[0], row) for key, row in lines.items()}
    return Metrics(histograms=histograms, nat_rules=rules, started_s=started_s)


def since(later: Metrics, earlier: Metrics) -> Metrics:
    """Return what happened between two scrapes of one kube-proxy.

    Where a counter went down, or the start moved, kube-proxy was restarted: then the later scrape counts
    since the restart and is taken alone, and a note says so.
    """
    shared = later.histograms.keys() & earlier.histograms.keys()
    moved = None not in (later.started_s, earlier.started_s) and later.started_s != earlier.started_s
    if moved or not all(later.histograms[key].follows(earlier.histograms[key]) for key in shared):
        note = "a counter went down: kube-proxy was restarted between the scrapes, only the time after counts"
        return Metrics(
            histograms=later.histograms,
            nat_rules=later.nat_rules,
            started_s=later.started_s,
            notes=(*later.notes, note),
        )
    left = {
        key: one - earlier.histograms[key] if key in shared else one for key, one in later.histograms.items()
    }
    return Metrics(histograms=left, nat_rules=later.nat_rules, started_s=later.started_s, notes=later.notes)


def _lines(source: Source) -> Iterator[tuple[int, str, dict[str, str], float]]:
    """Give the samples of kube-proxy; other metrics are passed by unread."""
    for number, line in enumerate(source.text.split("\n")):
        if not line.startswith(("kubeproxy_", STARTED)):
            continue
        match = _LINE.fullmatch(line.rstrip("\r"))
        try:
            value = float(match[3]) if match else math.nan
        except ValueError:
            value = math.nan
        if match is None or math.isnan(value):
            hint = "was the scrape cut? fetch it again"
            raise InputError(
                "must be a name and a number", got=line[:60], hint=hint, location=source.at(number, 0)
            )
        yield number, match[1], dict(_LABEL.findall(match[2] or "")), value


def _durations(source: Source, name: str, row: dict[str, tuple[float, int]]) -> Durations:
    number = min(at for _, at in row.values())

    def refuse(rule: str, got: object = None) -> InputError:
        return InputError(rule, field=name, got=got, location=source.at(number, 0))

    if "sum" not in row or "count" not in row:
        raise refuse("must have its sum and count: was the scrape cut?")
    buckets = []
    for key, (value, _) in row.items():
        if key.startswith("le="):
            try:
                buckets.append((float(key[3:]), value))
            except ValueError:
                raise refuse("must have numbers as bucket edges", key) from None
    buckets.sort()
    counts = [value for _, value in buckets] + [row["count"][0]]
    if not all(0 <= value < 2**53 and value == int(value) for value in counts):
        raise refuse(
            "must count whole numbers from 0", next(v for v in counts if not 0 <= v < 2**53 or v % 1)
        )
    if not buckets or buckets[-1][0] != math.inf or any(math.isnan(edge) for edge, _ in buckets):
        raise refuse('must have buckets up to le="+Inf": was the scrape cut?')
    if any(b < a for a, b in pairwise(counts)) or counts[-1] != counts[-2]:
        raise refuse(
            "contradicts itself: buckets must not fall, and the last must equal the count", counts[-1]
        )
    if not 0 <= row["sum"][0] < math.inf:
        raise refuse("must have a finite sum from 0", row["sum"][0])
    return Durations(
        edges_s=tuple(edge for edge, _ in buckets),
        cumulative=tuple(int(value) for _, value in buckets),
        sum_s=row["sum"][0],
        count=int(row["count"][0]),
    )


def _nothing(source: Source) -> InputError:
    start, head = source.at(0, 0), source.text.lstrip()[:200].lower()
    hint = "fetch http://127.0.0.1:10249/metrics on a node"
    if not head:
        return InputError("is empty: there is nothing to read", hint=hint, location=start)
    if head.startswith("<"):
        return InputError("is a web page, not metrics", hint=hint, location=start)
    if head.startswith(("{", "[")):
        return InputError("is JSON, not the text form of metrics", hint=hint, location=start)
    return InputError("holds no sync duration of kube-proxy", hint=hint, location=start)
