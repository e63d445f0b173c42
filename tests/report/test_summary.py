"""A run's summary as text."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nodeportsim.report import summary as text

if TYPE_CHECKING:
    from collections.abc import Callable


def shown(summary: dict[str, Any], folder: Path | None = None) -> str:
    file = io.StringIO()
    text.show(summary, folder, file=file)
    return file.getvalue()


def test_the_table_fits_eighty_columns_and_has_no_colour_when_piped(failure: Any) -> None:
    lines = shown(failure[0]).splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)


def test_the_widest_cells_of_the_phase_table_are_not_folded(failure: Any) -> None:
    """14 characters in each of four columns, a 12-character name, gaps of two: 76 of 80."""
    widest = {"estimate": 6.21e-3, "low": 6.17e-3, "high": 6.25e-3}
    summary = copy.deepcopy(failure[0])
    for part in (summary, *summary["phases"].values()):
        part["latency_s"] = dict.fromkeys(part["latency_s"], widest)
    lines = [line for line in shown(summary).splitlines() if line.startswith("latency")]
    assert [line.count("6.21 ms ± 0.04") for line in lines] == [4] * 5


def test_no_color_is_honoured_on_a_terminal(failure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32m" in shown(failure[0])
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in shown(failure[0])


def test_the_table_ends_with_thresholds_reason_and_report(failure: Any) -> None:
    lines = shown(failure[0], Path("runs/node-failure-3f3f3f3f")).splitlines()
    thresholds = [line for line in lines if line.startswith(("✓", "✗"))]
    assert thresholds == ["✗ latency.p99 <50ms  (is 1.01 s)", "✓ pods.max_over_mean <1.3  (is 1.02)"]
    assert sum(line.startswith("why: ") for line in lines) == 1
    assert lines[-1] == "runs/node-failure-3f3f3f3f/report.html"


def test_a_single_phase_is_one_column_with_its_intervals(make: Callable[..., Any]) -> None:
    output = shown(make(10)[0])
    assert "all requests" in output
    assert "before" not in output.split("why:")[0]


def test_names_are_not_read_as_markup(make: Callable[..., Any]) -> None:
    assert "[bold]x[/bold]" in shown(make(1, name="[bold]x[/bold]")[0])


def test_json_is_the_summary_itself(failure: Any) -> None:
    assert json.loads(text.as_json(failure[0])) == failure[0]


def test_csv_holds_every_interval_under_its_path(failure: Any) -> None:
    summary = failure[0]
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(text.as_csv(summary)))}
    p99 = summary["phases"]["during"]["latency_s"]["p99"]
    row = rows["phases.during.latency_s.p99"]
    assert [float(row[key]) for key in ("estimate", "low", "high")] == [
        p99["estimate"],
        p99["low"],
        p99["high"],
    ]
    assert int(rows["requests.offered"]["estimate"]) == summary["requests"]["offered"]
    assert rows["thresholds.1.ok"]["estimate"] == "1"


def test_markdown_tables_have_as_many_cells_in_every_row(make: Callable[..., Any]) -> None:
    lines = text.as_markdown(make(10, name="a|b <script>", fault=(20.0, 45.0))[0]).splitlines()
    tables = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    heads = [place for place, line in enumerate(tables) if line.startswith("| :--")]
    for start, end in zip(heads, [*(place - 1 for place in heads[1:]), len(tables)], strict=True):
        assert {line.count("|") for line in tables[start - 1 : end]} == {tables[start].count("|")}
    assert lines[0] == "# a\\|b &lt;script>"


@pytest.mark.parametrize("what", [{"rate_rps": 1e-9}, {"pods": 1, "nodes": 1}, {"duration_s": 1}])
def test_a_degenerate_run_is_still_told(what: dict[str, Any], make: Callable[..., Any]) -> None:
    summary = make(1, **what)[0]
    assert "why: " in shown(summary)
    assert text.as_csv(summary)
    assert text.as_markdown(summary)


def test_what_a_fault_cost_is_told_and_without_one_nothing_is(failure: Any, make: Callable[..., Any]) -> None:
    """The made-up engine: one node of five dead, its 8 of 40 connections given up within a second."""
    told = shown(failure[0])
    lost = failure[0]["recovery"]["lost"]["total"]["estimate"]
    assert "When it failed" in told
    assert re.search(rf"requests lost in a run +{lost:.0f} ± ", told)
    assert re.search(r"all rules updated, after +25 s", told)
    assert re.search(r"99 % succeed again, after +25 s", told)
    assert re.search(r"clients hit +\d[\d.]* % .*of 100", told)
    assert re.search(r"given up by a time-out +20 %", told)
    assert "When it failed" not in shown(make(2)[0])


def test_a_time_that_a_sample_cannot_carry_is_not_written_as_one(make: Callable[..., Any]) -> None:
    told = shown(make(10, rate_rps=20.0, fault=(20.0, 45.0))[0])
    assert re.search(r"99.9 % succeed again, after +too few requests to say", told)
