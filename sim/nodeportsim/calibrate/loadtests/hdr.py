"""Text in the manner of HdrHistogram: `wrk2 --latency`, and vegeta's `report -type=hdrplot`.

A row tells how many latencies (TotalCount) are at or below a value (ms).
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from nodeportsim.calibrate.loadtests.sample import Cell, Sample
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from nodeportsim.scenario.documents import Source

_ROW = re.compile(r"\s*([0-9]{1,12}\.[0-9]+)\s+([01]\.[0-9]+)\s+([0-9]{1,15})\s+(inf|[0-9.]+)\s*")
_MEAN = re.compile(r"#\[Mean\s*=\s*([0-9]{1,12}\.[0-9]+), StdDeviation\s*=\s*([0-9]{1,12}\.[0-9]+)\]")
_MAX = re.compile(r"#\[Max\s*=\s*([0-9]{1,12}\.[0-9]+), Total count\s*=\s*([0-9]{1,15})\]")
_THREADS = re.compile(r"([0-9]{1,9}) threads and ([0-9]{1,9}) connections")
_REQUESTS = re.compile(r"([0-9]{1,15}) requests in ([0-9]{1,9}(?:\.[0-9]+)?)(us|ms|s|m|h)\b")
_SOCKETS = re.compile(
    r"Socket errors: connect ([0-9]{1,12}), read ([0-9]{1,12}), write ([0-9]{1,12}), timeout ([0-9]{1,12})"
)
_STATUS = re.compile(r"Non-2xx or 3xx responses: ([0-9]{1,12})")
_RATE = re.compile(r"Requests/sec:\s*([0-9]{1,12}(?:\.[0-9]+)?)")
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNCORRECTED = "Uncorrected Latency"


def wrk2(source: Source) -> Sample:
    """Read `wrk2 --latency`: a constant rate, latencies from the instant a request should have left.

    The spectrum leaves out the first 10 s, in which wrk2 calibrates itself. With `-U` a second spectrum,
    uncorrected for coordinated omission, follows; the first one counts.
    """
    text = source.text.split(_UNCORRECTED)[0]
    mean, most = _MEAN.search(text), _MAX.search(text)
    if mean is None or most is None:
        rule = "must hold the whole percentile spectrum, down to its #[Mean = ...] line"
        raise InputError(
            rule, hint="run wrk2 (not wrk) with -R and --latency, to its end", location=source.at(0, 0)
        )
    threads, requests = _THREADS.search(source.text), _REQUESTS.search(source.text)
    sockets, status = _SOCKETS.search(source.text), _STATUS.search(source.text)
    failed = sum(int(count) for count in sockets.groups()) if sockets else 0
    rate = _RATE.search(source.text)
    cells = _cells(source, text)
    notes: tuple[str, ...] = ("wrk2's own timer adds up to about 1 ms to a latency (its README)",)
    if status:
        notes += (f"{status[1]} answers had a bad status, and their latencies are among the others",)
    return Sample(
        tool="wrk2",
        file=source.file,
        loop="open",
        requests=int(most[2]) + failed,
        errors=failed + (int(status[1]) if status else 0),
        count=int(most[2]),
        mean_s=float(mean[1]) * 1e-3,
        std_s=float(mean[2]) * 1e-3,
        cells=cells,
        # Its duration counts the calibration, its spectrum does not: only the rate is kept.
        rate_rps=float(rate[1]) if rate else _rate_rps(requests),
        connections=int(threads[2]) or None if threads else None,
        keep_alive=True,
        notes=notes,
    )


def _rate_rps(requests: re.Match[str] | None) -> float | None:
    if requests is None or not float(requests[2]):
        return None
    return int(requests[1]) / (float(requests[2]) * _UNITS_S[requests[3]])


def hdrplot(source: Source) -> Sample:
    """Read `vegeta report -type=hdrplot`: percentiles alone, no rate and no duration.

    The mean is that of the rows, each share taken at the middle of its row's edges.
    """
    cells = _cells(source, source.text)
    count = sum(cell.count for cell in cells)
    total_s = sum(cell.count * (cell.low_s + cell.high_s) / 2 for cell in cells)
    return Sample(
        tool="vegeta",
        file=source.file,
        loop="open",
        requests=count,
        errors=0,
        count=count,
        mean_s=total_s / count if count else 0.0,
        cells=cells,
        notes=("a hdrplot tells no rate, no duration and no errors: keep the JSON report too",),
    )


def _cells(source: Source, text: str) -> tuple[Cell, ...]:
    """Turn the rows of cumulative counts into counts between their values."""
    rows = [(0.0, 0)]
    inside = False
    for number, line in enumerate(text.split("\n")):
        inside = inside or "1/(1-Percentile)" in line
        match = _ROW.fullmatch(line) if inside else None
        if match:
            rows.append((float(match[1]) * 1e-3, int(match[3])))
            if rows[-1][0] < rows[-2][0] or rows[-1][1] < rows[-2][1]:
                rule = "contradicts itself: values and counts of the spectrum must not fall"
                raise InputError(rule, got=line.strip()[:40], location=source.at(number, 0))
    joined = dict(rows)  # Rows of one value differ in their percentile alone: the last counts them all.
    edges = sorted(joined.items())
    return tuple(
        Cell(low_s=low_s, high_s=high_s, count=count - before)
        for (low_s, before), (high_s, count) in pairwise(edges)
        if count > before
    )
