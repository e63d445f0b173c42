"""Which tool wrote a result, and its reader."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.loadtests import hdr, raw, summaries
from nodeportsim.calibrate.loadtests.document import Document, parse
from nodeportsim.calibrate.loadtests.sample import checked
from nodeportsim.errors import InputError
from nodeportsim.scenario.documents import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.calibrate.loadtests.sample import Loop, Sample

_KNOWN = (
    "known: fortio load -json, k6 --summary-export, handleSummary and --out json|csv, "
    "vegeta report -type=json|hdrplot and encode, oha --output-format json, wrk2 --latency"
)
_VEGETA_CSV = re.compile(r"[0-9]{16,19},[0-9]{1,3},[0-9]+,")
_SUMMARIES: dict[str, Callable[[Document], Sample]] = {
    "fortio": summaries.fortio,
    "k6": summaries.k6,
    "vegeta": summaries.vegeta,
    "oha": summaries.oha,
}
_TEXTS: dict[str, Callable[[Source], Sample]] = {
    "k6 points": raw.k6_json,
    "k6 csv": raw.k6_csv,
    "vegeta encode": raw.vegeta_json,
    "vegeta csv": raw.vegeta_csv,
    "vegeta hdrplot": hdr.hdrplot,
    "wrk2": hdr.wrk2,
}


def read_sample(path: str, text: str, *, loop: Loop | None = None, connections: int | None = None) -> Sample:
    """Read the result of a load test; the content tells the tool.

    Parameters
    ----------
    path, text
        The file's name as the user gave it, and what it holds.
    loop, connections
        What the file cannot tell and the user knows: k6 with an arrival-rate executor and oha with `-q`
        are open; vegeta, wrk2 and oha do not name their connections (or not all of them).

    Raises
    ------
    InputError
        No tool writes such a file, it is cut, too short, or contradicts itself.
    """
    source = Source(file=path, text=text.removeprefix("\ufeff"))
    name = detect(source.text)
    if name is None:
        raise _unknown(source)
    if name in _TEXTS:
        sample = _TEXTS[name](source)
    else:
        sample = _SUMMARIES[name](Document(source=source, value=parse(source)))
    told = replace(sample, loop=loop or sample.loop, connections=connections or sample.connections)
    return checked(told)


def detect(text: str) -> str | None:
    """Name the tool and the form of a result by what it holds, or None."""
    start = text.lstrip()[:4096]
    first = start.split("\n", 1)[0]
    if first.startswith("metric_name,timestamp,metric_value"):
        return "k6 csv"
    if _VEGETA_CSV.match(first):
        return "vegeta csv"
    if start.startswith("{"):
        return _detect_json(text, first)
    if re.match(r"Value(\(ms\))?\s+Percentile\s+TotalCount", first):
        return "vegeta hdrplot"
    if "threads and" in start and ("Latency Distribution (HdrHistogram" in text or "Running " in first):
        return "wrk2"
    return None


def _detect_json(text: str, first: str) -> str | None:
    if re.search(r'"type"\s*:\s*"(Metric|Point)"', first):
        return "k6 points"
    if '"latency"' in first and '"timestamp"' in first and '"latencies"' not in first:
        return "vegeta encode"
    marks = {
        "fortio": ('"DurationHistogram"',),
        "oha": ('"latencyPercentiles"', '"summary"'),
        "vegeta": ('"latencies"', '"requests"'),
        "k6": ('"metrics"', '"http_req'),
    }
    for name, words in marks.items():
        if all(word in text for word in words):
            return name
    return None


def _unknown(source: Source) -> InputError:
    start = source.at(0, 0)
    head = source.text.lstrip()[:200].lower()
    if not head:
        return InputError("is empty: there is nothing to read", hint=_KNOWN, location=start)
    if head.startswith("<"):
        rule = "is a web page, not a result: the download may have failed"
        return InputError(rule, hint="save the tool's own output, not the page around it", location=start)
    if head.startswith(("{", "[")):
        value: Any = parse(source)  # Says where, if it is cut.
        keys = ", ".join(sorted(map(str, value))[:5]) if isinstance(value, dict) else "a list"
        return InputError("is JSON, but of no load test tool", got=keys, hint=_KNOWN, location=start)
    return InputError("is no load test's result", hint=_KNOWN, location=start)
