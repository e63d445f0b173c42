"""Results of load tests as their tools write them, made of latencies we chose.

Formats: fortio stats/stats.go and fhttp/httprunner.go; k6 docs "End of test", "JSON", "CSV"; vegeta README
and lib/results.go; oha schema.json; wrk2 README. Written from their descriptions, nothing is copied.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.float64]

# fortio's default buckets, in its resolution of 1 ms.
FORTIO_MS = [
    *range(12), 12, 14, 16, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100, 120, 140, 160, 180, 200,
    250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000, 2000, 3000, 4000, 5000, 7500, 10000,
]  # fmt: skip
START = "2026-03-01T12:00:"


def rank(times_s: Times, q: float) -> float:
    """The order statistic of rank ceil(q n)."""
    return float(np.sort(times_s)[max(math.ceil(q * len(times_s)) - 1, 0)])


def fortio(times_s: Times, rate_rps: float, connections: int = 4) -> str:
    edges_s = np.array(FORTIO_MS) / 1000
    bucket = np.searchsorted(edges_s, times_s)
    counts = np.bincount(bucket, minlength=len(edges_s) + 1)
    rows: list[dict[str, Any]] = []
    for k in np.flatnonzero(counts):
        percent = 100 * float(counts[: k + 1].sum()) / len(times_s)
        row = {"Start": edges_s[k - 1], "End": edges_s[min(k, len(edges_s) - 1)], "Percent": percent}
        rows.append(row | {"Count": int(counts[k])})
    rows[0]["Start"], rows[-1]["End"] = times_s.min(), times_s.max()
    duration_s = len(times_s) / rate_rps
    percentiles = [{"Percentile": p, "Value": rank(times_s, p / 100)} for p in (50, 75, 90, 99, 99.9)]
    result = {
        "RunType": "HTTP",
        "Labels": "pod",
        "StartTime": START + "00Z",
        "RequestedQPS": "max",
        "RequestedDuration": "10s",
        "ActualQPS": rate_rps,
        "ActualDuration": round(duration_s * 1e9),
        "NumThreads": connections,
        "DurationHistogram": {
            "Count": len(times_s),
            "Min": times_s.min(),
            "Max": times_s.max(),
            "Sum": times_s.sum(),
            "Avg": times_s.mean(),
            "StdDev": times_s.std(),
            "Data": rows,
            "Percentiles": percentiles,
        },
        "RetCodes": {"200": len(times_s)},
        "SocketCount": connections,
    }
    return json.dumps(result, indent=2, default=float)


def _trend(times_s: Times) -> dict[str, float]:
    ms = {"avg": times_s.mean(), "min": times_s.min(), "med": rank(times_s, 0.5), "max": times_s.max()}
    ms |= {"p(90)": rank(times_s, 0.9), "p(95)": rank(times_s, 0.95)}
    return {name: float(value) * 1e3 for name, value in ms.items()}


def k6_export(times_s: Times, rate_rps: float, connections: int = 4) -> str:
    metrics = {
        "http_reqs": {"count": len(times_s), "rate": rate_rps},
        "http_req_duration": _trend(times_s),
        "http_req_connecting": _trend(np.zeros(2)),
        "http_req_failed": {"passes": 0, "fails": len(times_s), "value": 0},
        "vus_max": {"value": connections, "min": connections, "max": connections},
    }
    return json.dumps({"metrics": metrics, "root_group": {"name": "", "checks": {}}}, indent=2)


def k6_summary(times_s: Times, rate_rps: float, connections: int = 4) -> str:
    def metric(kind: str, values: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "contains": "default", "values": values}

    metrics = {
        "http_reqs": metric("counter", {"count": len(times_s), "rate": rate_rps}),
        "http_req_duration": metric("trend", _trend(times_s)),
        "http_req_failed": metric("rate", {"rate": 0, "passes": 0, "fails": len(times_s)}),
        "vus_max": metric("gauge", {"value": connections, "min": connections, "max": connections}),
    }
    state = {"isStdOutTTY": False, "testRunDurationMs": 1e3 * len(times_s) / rate_rps}
    return json.dumps({"root_group": {}, "options": {}, "state": state, "metrics": metrics})


def _instant(second: float) -> str:
    return f"2026-03-01T{12 + int(second // 3600):02d}:{int(second // 60) % 60:02d}:{second % 60:012.9f}Z"


def k6_points(times_s: Times, rate_rps: float, connections: int = 4) -> str:
    lines: list[dict[str, Any]] = [
        {"type": "Metric", "data": {"type": "trend"}, "metric": "http_req_duration"}
    ]
    for k, time_s in enumerate(times_s):
        at = _instant(k / rate_rps)
        tags = {"expected_response": "true", "status": "200"}
        for metric, value in (("http_req_duration", time_s * 1e3), ("http_req_connecting", 0.0)):
            data = {"time": at, "value": float(value), "tags": tags}
            lines.append({"type": "Point", "data": data, "metric": metric})
    lines.append(
        {"type": "Point", "data": {"time": START + "00Z", "value": connections}, "metric": "vus_max"}
    )
    return "\n".join(json.dumps(line) for line in lines) + "\n"


def k6_csv(times_s: Times, rate_rps: float, connections: int = 4) -> str:
    lines = ["metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,status"]
    lines.append(f"vus_max,1772366400,{connections},,,,,,")
    for k, time_s in enumerate(times_s):
        lines.append(f"http_req_duration,{1772366400 + int(k / rate_rps)},{time_s * 1e3:.6f},,,,true,,200")
    return "\n".join(lines) + "\n"


def vegeta_report(times_s: Times, rate_rps: float, _: int = 0) -> str:
    shares = {"50th": 0.5, "90th": 0.9, "95th": 0.95, "99th": 0.99}
    latencies: dict[str, int] = {name: round(rank(times_s, q) * 1e9) for name, q in shares.items()}
    latencies |= {"total": round(times_s.sum() * 1e9), "mean": round(times_s.mean() * 1e9)}
    latencies |= {"max": round(times_s.max() * 1e9), "min": round(times_s.min() * 1e9)}
    result = {
        "latencies": latencies,
        "bytes_in": {"total": 0, "mean": 0},
        "earliest": START + "00Z",
        "duration": round(len(times_s) / rate_rps * 1e9),
        "wait": 1,
        "requests": len(times_s),
        "rate": rate_rps,
        "throughput": rate_rps,
        "success": 1,
        "status_codes": {"200": len(times_s)},
        "errors": [],
    }
    return json.dumps(result)


def vegeta_json(times_s: Times, rate_rps: float, _: int = 0) -> str:
    rows = [
        {"attack": "", "seq": k, "code": 200, "timestamp": _instant(k / rate_rps),
         "latency": round(time_s * 1e9), "bytes_out": 0, "bytes_in": 2, "error": "", "body": None}
        for k, time_s in enumerate(times_s)
    ]  # fmt: skip
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def vegeta_csv(times_s: Times, rate_rps: float, _: int = 0) -> str:
    start = 1772366400 * 10**9
    rows = [
        f"{start + round(k / rate_rps * 1e9)},200,{round(time_s * 1e9)},0,2,,,,{k},GET,http://10.0.0.1:30080/,"
        for k, time_s in enumerate(times_s)
    ]
    return "\n".join(rows) + "\n"


SPECTRUM = sorted({1 - (1 - a / 10) / 2**k for k in range(14) for a in range(0, 10, 1 if k < 2 else 2)})


def _spectrum(times_s: Times) -> list[tuple[float, float, int]]:
    """(ms, share, count at or below), values rounded up to a microsecond as a recording tool does."""
    ms = np.sort(np.ceil(times_s * 1e6) / 1e3)
    rows = []
    for q in [*SPECTRUM, 1.0]:
        value = ms[max(math.ceil(q * len(ms)) - 1, 0)]
        rows.append((float(value), q, int(np.searchsorted(ms, value, side="right"))))
    return rows


def _inverse(q: float) -> str:
    return "inf" if q >= 1 else f"{1 / (1 - q):.2f}"


def wrk2(times_s: Times, rate_rps: float, connections: int = 4) -> str:
    n, duration_s = len(times_s), len(times_s) / rate_rps
    rows = [f"{ms:12.3f} {q:12.6f} {count:12d} {_inverse(q):>14}" for ms, q, count in _spectrum(times_s)]
    return "\n".join(
        [
            f"Running {duration_s:.0f}s test @ http://10.0.0.1:30080/",
            f"  2 threads and {connections} connections",
            "  Thread Stats   Avg      Stdev     Max   +/- Stdev",
            "  Latency Distribution (HdrHistogram - Recorded Latency)",
            f" 50.000%  {rank(times_s, 0.5) * 1e3:.2f}ms",
            "",
            "  Detailed Percentile spectrum:",
            "       Value   Percentile   TotalCount 1/(1-Percentile)",
            "",
            *rows,
            f"#[Mean    = {times_s.mean() * 1e3:12.3f}, StdDeviation   = {times_s.std() * 1e3:12.3f}]",
            f"#[Max     = {times_s.max() * 1e3:12.3f}, Total count    = {n:12d}]",
            "#[Buckets =           27, SubBuckets     =         2048]",
            "----------------------------------------------------------",
            f"  {n} requests in {duration_s:.2f}s, 1.00MB read",
            f"Requests/sec: {rate_rps:10.2f}",
            "Transfer/sec:    100.00KB",
            "",
        ]
    )


def hdrplot(times_s: Times, _rate: float = 0, _connections: int = 0) -> str:
    rows = [f"{ms:.6f}   {q:.6f}   {count}   {1e7 if q >= 1 else 1 / (1 - q):.6f}"
            for ms, q, count in _spectrum(times_s)]  # fmt: skip
    return "\n".join(["Value(ms)  Percentile  TotalCount  1/(1-Percentile)", *rows]) + "\n"


def oha(times_s: Times, rate_rps: float, _: int = 0) -> str:
    edges = np.linspace(times_s.min(), times_s.max(), 11)
    counts = np.bincount(np.clip(np.searchsorted(edges, times_s), 0, 10), minlength=11)
    shares = (10, 25, 50, 75, 90, 95, 99, 99.9, 99.99)
    summary = {
        "successRate": 1.0,
        "total": len(times_s) / rate_rps,
        "slowest": float(times_s.max()),
        "fastest": float(times_s.min()),
        "average": float(times_s.mean()),
        "requestsPerSec": rate_rps,
        "totalData": 0,
        "sizePerRequest": 0,
        "sizePerSec": 0.0,
    }
    result = {
        "summary": summary,
        "responseTimeHistogram": {repr(float(e)): int(n) for e, n in zip(edges, counts, strict=True)},
        "latencyPercentiles": {f"p{p}": rank(times_s, p / 100) for p in shares},
        "rps": {"mean": rate_rps},
        "details": {"DNSDialup": {"average": 0.001}},
        "statusCodeDistribution": {"200": len(times_s)},
        "errorDistribution": {},
    }
    return json.dumps(result, indent=2)


WRITERS = {
    "fortio": fortio,
    "k6 export": k6_export,
    "k6 summary": k6_summary,
    "k6 points": k6_points,
    "k6 csv": k6_csv,
    "vegeta report": vegeta_report,
    "vegeta encode": vegeta_json,
    "vegeta csv": vegeta_csv,
    "vegeta hdrplot": hdrplot,
    "wrk2": wrk2,
    "oha": oha,
}
