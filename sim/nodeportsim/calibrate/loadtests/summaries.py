"""Summaries in JSON: fortio, k6, vegeta's report, oha. What each field means stands in its reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nodeportsim.calibrate.loadtests.sample import Cell, Sample

if TYPE_CHECKING:
    from nodeportsim.calibrate.loadtests.document import Document

_PERCENTILE = re.compile(r"p\(?([0-9]{1,2}(?:\.[0-9]{1,6})?)\)?")
_NANO, _MILLI = 1e-9, 1e-3
_OK = re.compile(r"[123][0-9]{2}")
_REUSED_RATIO = 0.5  # Fewer sockets than half the requests: they were used again.


def fortio(document: Document) -> Sample:
    """Read `fortio load -json`: seconds; `ActualDuration` in nanoseconds.

    Every thread waits for its answer, so the loop is closed even where `-qps` paces it.
    """
    histogram = ("DurationHistogram",)
    count = document.whole(*histogram, "Count")
    cells = tuple(_fortio_cell(document, row) for row in range(len(document.rows(*histogram, "Data"))))
    asked = document.at("RequestedQPS")
    ok = sum(document.whole("RetCodes", code) for code in document.table("RetCodes") if _good(code))
    failed = count - ok if document.table("RetCodes") else 0
    if failed < 0:
        rule = f"contradicts itself: more return codes than the {count} requests"
        raise document.refuse(rule, "RetCodes", got=ok)
    sockets = document.number_or_none("SocketCount")
    return Sample(
        tool="fortio",
        file=document.source.file,
        loop="closed",
        requests=count,
        errors=failed,
        count=count,
        mean_s=document.number(*histogram, "Avg"),
        std_s=document.number_or_none(*histogram, "StdDev"),
        cells=cells,
        min_s=document.number_or_none(*histogram, "Min"),
        max_s=document.number_or_none(*histogram, "Max"),
        rate_rps=document.number("ActualQPS"),
        duration_s=document.number("ActualDuration") * _NANO,
        connections=_threads(document),
        keep_alive=None if not sockets or not count else sockets / count < _REUSED_RATIO,
        target_rps=float(asked) if isinstance(asked, str) and _is_rate(asked) else None,
        notes=_failed_note(failed, count),
    )


def _fortio_cell(document: Document, row: int) -> Cell:
    low, high, count = (("DurationHistogram", "Data", row, name) for name in ("Start", "End", "Count"))
    return Cell(low_s=document.number(*low), high_s=document.number(*high), count=document.whole(*count))


def _threads(document: Document) -> int | None:
    threads = document.number_or_none("NumThreads")
    return int(threads) if threads else None


def _is_rate(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) is not None and float(text) > 0


def _good(code: str) -> bool:
    return _OK.fullmatch(code) is not None


def _failed_note(failed: int, count: int) -> tuple[str, ...]:
    if not failed:
        return ()
    return (f"{failed} of {count} requests failed, and their latencies are among the others",)


def k6(document: Document) -> Sample:
    """Read `k6 run --summary-export` or the data of `handleSummary`: milliseconds.

    The two differ in where the values stand. `http_req_duration` is sending + waiting + receiving; the
    time to connect is not in it. `passes` of `http_req_failed` are the failed requests. The file does not
    name the executor: closed is taken unless the caller knows better.
    """
    inner = ("values",) if document.at("metrics", "http_reqs", "values") is not None else ()

    def path(metric: str, field: str) -> tuple[str, ...]:
        return ("metrics", metric, *inner, field)

    count = document.whole(*path("http_reqs", "count"))
    trend = document.table("metrics", "http_req_duration", *inner)
    failed_path = path("http_req_failed", "passes")
    failed = document.whole(*failed_path) if document.at(*failed_path) is not None else 0
    duration_ms = document.number_or_none("state", "testRunDurationMs")
    connecting = document.number_or_none(*path("http_req_connecting", "med"))
    users = document.number_or_none(*path("vus_max", "max" if inner else "value"))
    dropped = document.number_or_none(*path("dropped_iterations", "count"))
    notes = _failed_note(failed, count)
    if dropped:
        notes += (f"k6 dropped {dropped:.0f} iterations: it ran out of users, so the rate was not kept",)
    return Sample(
        tool="k6",
        file=document.source.file,
        loop="closed",
        requests=count,
        errors=failed,
        count=count,
        mean_s=document.number(*path("http_req_duration", "avg")) * _MILLI,
        quantiles=_percentiles(document, ("metrics", "http_req_duration", *inner), trend, _MILLI, "med"),
        min_s=_scaled(document.number_or_none(*path("http_req_duration", "min")), _MILLI),
        max_s=_scaled(document.number_or_none(*path("http_req_duration", "max")), _MILLI),
        rate_rps=document.number_or_none(*path("http_reqs", "rate")),
        duration_s=_scaled(duration_ms, _MILLI),
        connections=int(users) if users else None,
        keep_alive=None if connecting is None else connecting == 0,
        notes=notes,
    )


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _percentiles(
    document: Document, path: tuple[str | int, ...], table: dict[str, object], unit: float, median: str = ""
) -> tuple[tuple[float, float], ...]:
    """Percentiles of a table, `p99`, `p(99)` and `p99.9` alike, in order of their share."""
    found = {}
    for key in table:
        match = _PERCENTILE.fullmatch(key)
        if key == median or (match and 0 < float(match[1]) < 100):  # noqa: PLR2004
            share = float(match[1]) / 100 if match else 0.5
            found[share] = document.number(*path, key) * unit
    return tuple(sorted(found.items()))


def vegeta(document: Document) -> Sample:
    """Read `vegeta report -type=json`: nanoseconds; percentiles of all requests, failed ones too.

    Requests leave at a constant rate, whether or not earlier ones came back.
    """
    count = document.whole("requests")
    latencies = document.table("latencies")
    quantiles = tuple(
        (share, document.number("latencies", key) * _NANO)
        for share, key in ((0.5, "50th"), (0.9, "90th"), (0.95, "95th"), (0.99, "99th"))
        if key in latencies
    )
    success = document.number("success")
    if success > 1:
        raise document.refuse("must be a share from 0 to 1", "success", got=success)
    failed = round(count * (1 - success))
    return Sample(
        tool="vegeta",
        file=document.source.file,
        loop="open",
        requests=count,
        errors=failed,
        count=count,
        mean_s=document.number("latencies", "mean") * _NANO,
        quantiles=quantiles,
        min_s=_scaled(document.number_or_none("latencies", "min"), _NANO),
        max_s=_scaled(document.number_or_none("latencies", "max"), _NANO),
        rate_rps=document.number_or_none("rate"),
        duration_s=document.number("duration") * _NANO or None,
        notes=_failed_note(failed, count),
    )


def oha(document: Document) -> Sample:
    """Read `oha --output-format json`: seconds.

    Its histogram has ten equal steps up to the slowest request, so one of them mostly holds nearly all;
    the percentiles say more. Requests cut off by the end of the test are no errors, but have no latency. The
    file does not tell `-q` nor `--latency-correction`: a closed loop is taken unless the caller knows better.
    """
    count = document.total("statusCodeDistribution")
    counted = document.total("responseTimeHistogram")
    if counted and counted != count:
        rule = f"contradicts itself: its status codes are of {count} requests"
        raise document.refuse(rule, "responseTimeHistogram", got=counted)
    codes = document.table("statusCodeDistribution")
    failed = sum(document.whole("statusCodeDistribution", code) for code in codes if not _good(code))
    path, late = ("latencyPercentiles",), ("errorDistribution", "aborted due to deadline")
    unanswered = document.total("errorDistribution")
    return Sample(
        tool="oha",
        file=document.source.file,
        loop="closed",
        requests=count + unanswered,
        errors=failed + unanswered - (document.whole(*late) if document.at(*late) is not None else 0),
        count=count,
        mean_s=document.number("summary", "average"),
        quantiles=_percentiles(document, path, document.table(*path), 1.0),
        min_s=document.number_or_none("summary", "fastest"),
        max_s=document.number_or_none("summary", "slowest"),
        rate_rps=document.number("summary", "requestsPerSec"),
        duration_s=document.number("summary", "total"),
        notes=_failed_note(failed, count),
    )
