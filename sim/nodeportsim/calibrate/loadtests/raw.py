"""Results request by request: k6 points (JSON lines, CSV) and vegeta's encode (JSON lines, CSV).

Failed requests are counted, and their latencies left out: they say nothing about serving.
"""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.loadtests.sample import Sample, of_latencies
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.calibrate.loadtests.sample import Tool
    from nodeportsim.scenario.documents import Source

_LONG_FRACTION = re.compile(r"(\.[0-9]{6})[0-9]+")  # Go writes nanoseconds, Python reads microseconds.
_BAD_STATUS = 400
_FEWEST_COLUMNS = 9
_CODE, _LATENCY, _ERROR = 1, 2, 5  # Columns of vegeta's CSV.


@dataclass
class _Seen:
    """What the lines of a file have told so far."""

    latencies_s: list[float] = field(default_factory=list)
    failed: int = 0
    first_s: float = math.inf
    last_s: float = -math.inf
    users: float = 0.0
    connecting: int = 0

    def add(self, latency_s: float, sent_s: float, *, ok: bool) -> None:
        """Count one request."""
        if ok:
            self.latencies_s.append(latency_s)
        else:
            self.failed += 1
        self.first_s, self.last_s = min(self.first_s, sent_s), max(self.last_s, sent_s)

    def sample(
        self, source: Source, tool: Tool, step_s: float = 0.0, *, reused: bool | None = None
    ) -> Sample:
        """Make the sample; `step_s` is how coarse the file's clock is."""
        requests = len(self.latencies_s) + self.failed
        span_s = self.last_s - self.first_s
        # The first and the last request fence n - 1 gaps; a coarse clock hides up to one step more.
        duration_s = span_s * requests / (requests - 1) if span_s > 0 and not step_s else span_s + step_s
        return of_latencies(
            self.latencies_s,
            tool=tool,
            file=source.file,
            loop="open" if tool == "vegeta" else "closed",
            requests=requests,
            errors=self.failed,
            duration_s=duration_s if duration_s > 0 else None,
            connections=int(self.users) or None,
            keep_alive=reused,
        )


def _lines(source: Source) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(source.text.split("\n")):
        if line.strip():
            yield number, line


def _refuse(source: Source, number: int, rule: str, got: object = None) -> InputError:
    hint = "let the tool finish, and write the result again" if got is None else None
    return InputError(rule, got=got, hint=hint, location=source.at(number, 0))


def _json_lines(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(source):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise _refuse(source, number, "must be one JSON object a line: this one is cut") from None
        if not isinstance(value, dict):
            raise _refuse(source, number, "must be one JSON object a line", repr(value)[:40])
        yield number, value


def _number(source: Source, number: int, value: Any, name: str) -> float:
    try:
        found = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not 0 <= found < 1e19:  # noqa: PLR2004  Nanoseconds since 1970 still fit.
        raise _refuse(source, number, f"must have a number from 0 as {name}", repr(value)[:40])
    return found


def _instant_s(source: Source, number: int, text: Any) -> float:
    """Read RFC 3339."""
    try:
        return datetime.fromisoformat(_LONG_FRACTION.sub(r"\1", str(text))).timestamp()
    except (ValueError, OverflowError):
        raise _refuse(source, number, "must have an RFC 3339 time", repr(text)[:40]) from None


def vegeta_json(source: Source) -> Sample:
    """Read `vegeta encode`: a JSON object a request, latency in nanoseconds."""
    seen = _Seen()
    for number, row in _json_lines(source):
        latency_s = _number(source, number, row.get("latency"), "latency") * 1e-9
        code = _number(source, number, row.get("code"), "code")
        sent_s = _instant_s(source, number, row.get("timestamp"))
        seen.add(latency_s, sent_s, ok=0 < code < _BAD_STATUS and not row.get("error"))
    return seen.sample(source, "vegeta")


def _csv_rows(source: Source) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(source.text.split("\n"))
    try:
        for row in reader:
            if row:
                yield reader.line_num - 1, row
    except csv.Error as error:
        raise _refuse(source, max(reader.line_num - 1, 0), f"is not CSV: {error}", "") from None


def vegeta_csv(source: Source) -> Sample:
    """Read `vegeta encode -to csv`: no header; instant and latency in nanoseconds."""
    seen = _Seen()
    for number, row in _csv_rows(source):
        if len(row) < _FEWEST_COLUMNS:
            raise _refuse(source, number, f"must have {_FEWEST_COLUMNS} columns or more: this line is cut")
        sent_s = _number(source, number, row[0], "time") * 1e-9
        code = _number(source, number, row[_CODE], "code")
        latency_s = _number(source, number, row[_LATENCY], "latency") * 1e-9
        seen.add(latency_s, sent_s, ok=0 < code < _BAD_STATUS and not row[_ERROR])
    return seen.sample(source, "vegeta")


def k6_json(source: Source) -> Sample:
    """Read `k6 run --out json`: a point a line, durations in milliseconds."""
    seen = _Seen()
    for number, row in _json_lines(source):
        data = row.get("data")
        if row.get("type") != "Point" or not isinstance(data, dict):
            continue
        metric, value = row.get("metric"), data.get("value")
        if metric == "http_req_duration":
            tags = data.get("tags")
            latency_s = _number(source, number, value, "value") * 1e-3
            instant_s = _instant_s(source, number, data.get("time"))
            seen.add(latency_s, instant_s, ok=_k6_ok(tags if isinstance(tags, dict) else {}))
        elif metric == "http_req_connecting":
            seen.connecting += _number(source, number, value, "value") > 0
        elif metric == "vus_max":
            seen.users = max(seen.users, _number(source, number, value, "value"))
    return seen.sample(source, "k6", reused=_reused(seen))


def k6_csv(source: Source) -> Sample:
    """Read `k6 run --out csv`: a point a line, instants in whole seconds, durations in milliseconds."""
    seen = _Seen()
    header: list[str] | None = None
    for number, cells in _csv_rows(source):
        if header is None:
            header = cells
            continue
        row = dict(zip(header, cells, strict=False))
        metric, value = row.get("metric_name"), row.get("metric_value")
        if metric == "http_req_duration":
            latency_s = _number(source, number, value, "metric_value") * 1e-3
            instant_s = _number(source, number, row.get("timestamp"), "timestamp")
            seen.add(latency_s, instant_s, ok=_k6_ok(row))
        elif metric == "http_req_connecting":
            seen.connecting += _number(source, number, value, "metric_value") > 0
        elif metric == "vus_max":
            seen.users = max(seen.users, _number(source, number, value, "metric_value"))
    return seen.sample(source, "k6", 1.0, reused=_reused(seen))


def _k6_ok(tags: dict[str, Any]) -> bool:
    """`expected_response` decides where k6 wrote it, else the status."""
    expected = tags.get("expected_response")
    if expected in ("true", "false"):
        return bool(expected == "true")
    status = str(tags.get("status") or "")
    return status.isascii() and status.isdigit() and 0 < int(status[:9]) < _BAD_STATUS


def _reused(seen: _Seen) -> bool | None:
    requests = len(seen.latencies_s) + seen.failed
    return seen.connecting * 2 < requests if requests else None
