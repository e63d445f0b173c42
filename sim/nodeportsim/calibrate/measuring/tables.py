"""The tables of measurements: which files, which columns, and what their rows say together.

Every row begins with the environment and says everything about itself; units stand in the names. The columns
are a superset of those of the first campaign's files (``models/kernel-6.18``), so one reader reads both.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.measuring.backends import BACKENDS, BASELINES
from nodeportsim.calibrate.measuring.timing import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Row = Mapping[str, Any]

ENVIRONMENT = ("env_label", "kernel", "cpu", "virtualised", "vcpus", "spectre_v2_mitigation")
RULES = ("rules_per_node_port", "kubernetes_services", "affinity", "timer", "l2_bytes")
HOT_SERVICES = 1000
"""Up to here the rules a packet walks about fit a second cache, and slopes are straight."""
LEAST_SERVICES = 100
"""Below, a difference between first and last place is all noise."""
NOISY_RATIO = 1.3
"""Typical over quiet times above which a machine is called noisy."""


def _times(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{quantile}_ns" for quantile in ("min", *QUANTILES, "tmean95"))


_PLACE = ("mode", "services", "endpoints_per_service", "target", "service_position", "repetition")
_CONNECT = (*_PLACE, "connections", *_times("connect"))

SERVICES = "connect_latency_vs_services.csv"
ENDPOINTS = "connect_latency_vs_endpoints.csv"
COLD = "connect_latency_cold_cache.csv"
AFFINITY = "connect_latency_affinity.csv"
REQUESTS = "keepalive_request_latency.csv"
PATHS = "node_path_latency.csv"
PROGRAMMING = "rule_programming_time.csv"
DISTRIBUTION = "load_distribution.csv"

_OWN: dict[str, tuple[str, ...]] = {
    SERVICES: (
        *(*_CONNECT, *_times("cycle"), "connections_per_s", "process_user_s", "process_system_s"),
        *RULES,
    ),
    ENDPOINTS: (*_CONNECT, *_times("cycle"), "connections_per_s", *RULES),
    COLD: (*_CONNECT, "thrash_mib_before_connect", *RULES),
    AFFINITY: (*_CONNECT, *_times("cycle"), "connections_per_s", *RULES, "sticky"),
    REQUESTS: (
        *("mode", "services", "target", "service_position", "repetition", *_times("cycle")),
        *("requests", "request_bytes", "response_bytes", "requests_per_s", *RULES),
    ),
    PATHS: (
        *("mode", "repetition", "connections", *_times("connect"), *_times("cycle"), "path"),
        *(*_times("request_cycle"), *RULES),
    ),
    PROGRAMMING: ("mode", "services", "endpoints_per_service", "repetition", "op", "seconds", *RULES),
    DISTRIBUTION: (
        *("mode", "scheduler", "endpoints", "endpoint_index", "weight"),
        *("connections_total", "connections_to_endpoint", *RULES),
    ),
}
COLUMNS = {name: (*ENVIRONMENT, *own) for name, own in _OWN.items()}
"""File -> its columns."""


class Tables:
    """Rows so far, by file."""

    def __init__(self, common: Row) -> None:
        self._common = dict(common)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}

    def add(self, file: str, row: Row) -> None:
        """Add a row; what all rows share is put in."""
        self.rows[file].append({**self._common, **row})

    def write(self, folder: Path) -> None:
        """Write the files that have rows."""
        for name, rows in self.rows.items():
            if rows:
                with (folder / name).open("w", newline="") as stream:
                    writer = csv.DictWriter(stream, COLUMNS[name], extrasaction="ignore", lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)


def quiet_and_typical(rows: Iterable[Row]) -> tuple[float, float]:
    """Give the 25th percentile of the quietest repetition, and the median over repetitions of the median."""
    kept = list(rows)
    return min(r["connect_p25_ns"] for r in kept), median(r["connect_p50_ns"] for r in kept)


def summary(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Say in a row per mode what connecting costs: base, and simple differences between first and last."""
    by_mode: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_mode[row["mode"]].append(row)
    return [_mode_row(mode, by_mode[mode]) for mode in (*BASELINES, *BACKENDS) if mode in by_mode]


def _mode_row(mode: str, rows: list[Row]) -> dict[str, Any]:
    # With one rule per NodePort or with two, not with both: their slopes differ.
    shape = max(row["rules_per_node_port"] for row in rows)
    places: dict[tuple[int, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row["rules_per_node_port"] == shape:
            places[row["services"], row["target"], row["service_position"]].append(row)
    found = {place: quiet_and_typical(own) for place, own in places.items()}
    noise = round(median(typical / quiet for quiet, typical in found.values()), 2)
    answer: dict[str, Any] = {"mode": mode, "base us": None, "services": None}
    answer |= {"ns per ClusterIP": None, "ns per NodePort": None, "noise": noise}
    sizes = [size for size, target, _ in found if target == "nodeport"]
    if not sizes:
        return answer | {"base us": round(min(quiet for quiet, _ in found.values()) / 1000, 2)}
    answer["base us"] = round(found[min(sizes), "nodeport", 0][0] / 1000, 2)
    size = max((size for size in sizes if size <= HOT_SERVICES), default=1)
    if size >= LEAST_SERVICES:
        answer["services"] = size
        for name, target in (("ns per ClusterIP", "clusterip"), ("ns per NodePort", "nodeport")):
            last, first = found[size, target, size - 1][0], found[size, target, 0][0]
            answer[name] = round((last - first) / (size - 1), 2)
    return answer


def noisy(summaries: Iterable[Row]) -> str | None:
    """Say that the machine was too noisy, or None."""
    worst = max((row["noise"] for row in summaries), default=1.0)
    if worst <= NOISY_RATIO:
        return None
    return (
        f"this machine is noisy: typical times are {worst:g} times the quiet ones."
        " Trust differences of quiet times only, or repeat when nothing else runs."
    )
