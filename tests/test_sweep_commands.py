"""`sweep` and its commands as people type them."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import sweeping
from click.testing import CliRunner

from nodeportsim.cli import main
from nodeportsim.cli.sweeps import progress
from nodeportsim.study.folder import opened
from nodeportsim.study.results import write_csv

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

VARY = [f"--vary={word}" for word in sweeping.VARY]


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, words)], prog_name="nodeportsim")


def sweep(folder: Path, *more: str) -> Result:
    return call("sweep", sweeping.scenario(folder), "--engine=simpy", "--out", folder / "out", *more)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    ended = sweep(folder, *VARY)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout == f"{folder / 'out' / 'results.csv'}\n"
    return folder / "out"


def test_a_file_an_example_and_run_begin_a_sweep(tmp_path: Path) -> None:
    file = sweeping.scenario(tmp_path)
    for number, words in enumerate(
        [["sweep", file], ["sweep", "run", file], ["sweep", "--example", "guide", "--set", "run.duration=1s"]]
    ):
        ended = call(*words, "--replications=1", "--engine=simpy", "--out", tmp_path / str(number))
        assert ended.exit_code == 0, ended.output
        assert (tmp_path / str(number) / "points.csv").exists()


def test_an_experiment_of_ours_is_swept_by_name_and_varies_by_itself(tmp_path: Path) -> None:
    ended = call("sweep", "conntrack_wall", "--vary=nodes=1,2", "--out", tmp_path / "out")
    assert (ended.exit_code, "varies by itself" in ended.stderr) == (2, True)


def test_the_status_is_read_by_people_and_machines(out: Path) -> None:
    assert json.loads(call("sweep", "status", out, "-o", "json").stdout) == {
        "points": 6,
        "done": 6,
        "failed": 0,
        "pending": 0,
        "running": False,
    }
    assert "pending" in call("sweep", "status", out).stdout


def test_every_format_of_a_table_holds_the_same(out: Path) -> None:
    words = ["sweep", "export", out, "--table=summary", "--metrics=latency_s"]
    lines = list(csv.DictReader(io.StringIO(call(*words).stdout)))
    objects = json.loads(call(*words, "-o", "json").stdout)
    marked = call(*words, "-o", "markdown").stdout.splitlines()
    assert call(*words, "-o", "parquet").stdout == f"{out / 'summary.parquet'}\n"
    frame = pd.read_parquet(out / "summary.parquet")
    assert len(lines) == len(objects) == len(marked) - 2 == len(frame) == 6 * 5
    for line, found in zip(lines, objects, strict=True):
        assert {k: "" if v is None else str(v) for k, v in found.items()} == line
    numbers = [math.nan if found["estimate"] is None else found["estimate"] for found in objects]
    assert frame["estimate"].tolist() == pytest.approx(numbers, nan_ok=True)
    assert frame["proxy.mode"].tolist() == [o["proxy.mode"] for o in objects]


def test_the_table_exported_is_the_file_in_the_folder(out: Path) -> None:
    assert call("sweep", "export", out).stdout == (out / "results.csv").read_text()


@pytest.mark.parametrize(
    ("values", "there"), [("500ms,1s", [0.5, 1.0]), ("1,25%", [1, 0.25]), ("1,two", ["1", "two"])]
)
def test_a_column_of_parquet_has_one_type(tmp_path: Path, values: str, there: list[object]) -> None:
    """Numbers, or words where some value is one; a point that is no scenario has its row, too."""
    path = "run.warmup" if "ms" in values else "maxUnavailable"
    assert sweep(tmp_path, f"--vary={path}={values}").exit_code == int("two" in values)
    assert call("sweep", "export", tmp_path / "out", "-o", "parquet", "--table=points").exit_code == 0
    assert call("sweep", "export", tmp_path / "out", "-o", "parquet").exit_code == 0
    table = "points" if "two" in values else "results"
    found = pd.read_parquet(tmp_path / "out" / f"{table}.parquet")[path].unique()
    assert list(found) == there


def test_no_rows_are_an_empty_list_of_json(tmp_path: Path) -> None:
    stream = io.StringIO()
    from nodeportsim.study.export import as_json_lines

    assert sweep(tmp_path, "--vary=replicas=2").exit_code == 0
    (tmp_path / "out" / "points" / "000000.json").unlink()
    as_json_lines(opened(tmp_path / "out"), "results", (), stream)
    assert json.loads(stream.getvalue()) == []
    write_csv(opened(tmp_path / "out"), "points", (), stream)
    assert "pending" in stream.getvalue()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--vary=replicsa=1,2"], "did you mean"),
        (["--vary=replicas=5..2"], "lower to a higher"),
        (["--vary=replicas=2..5"], "is a range"),
        (["--vary=replicas=2,3", "--vary=nodes=2,3,4", "--method=zip"], "equally many"),
        (["--vary=replicas=2..5", "--method=sobol", "--samples=5"], "power of two"),
        (["--vary=nodes=lin:1:5000:5000", "--vary=replicas=1,2,3"], "--yes"),
        (["--metrics=latency"], "is not a metric"),
        (["--scheduler=tcp://"], "the scheduler"),
    ],
)
def test_what_cannot_be_swept_is_bad_input(tmp_path: Path, words: list[str], problem: str) -> None:
    ended = sweep(tmp_path, *words)
    assert (ended.exit_code, problem in ended.stderr) == (2, True), ended.output


def test_a_point_that_fails_makes_the_exit_code_one(tmp_path: Path) -> None:
    ended = sweep(tmp_path, "--vary=nodes=2,6000")
    assert (ended.exit_code, "1 of 2 points could not be simulated" in ended.stderr) == (1, True)


def test_progress_is_a_line_now_and_then_where_nobody_draws_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two points a second from the first one on; a line every ten seconds."""
    clock = iter([100.0, 105.0, 110.0, 119.0, 120.0])
    monkeypatch.setattr("nodeportsim.cli.sweeps.time.monotonic", lambda: next(clock))
    with progress(quiet=False) as shown:
        assert shown is not None
        for done in (1, 11, 21, 39, 41):
            shown(done, 61)
    told = capsys.readouterr().err.splitlines()
    assert told == ["21 of 61 points, 2 points/s, 20 s left", "41 of 61 points, 2 points/s, 10 s left"]


@pytest.mark.parametrize("words", [["status"], ["export"]])
def test_a_folder_that_is_no_sweeps_is_bad_input(tmp_path: Path, words: list[str]) -> None:
    for content in (None, "{}", "nonsense"):
        if content:
            (tmp_path / "sweep.json").write_text(content)
        ended = call("sweep", *words, tmp_path)
        assert (ended.exit_code, "is not the folder of a sweep" in ended.stderr) == (2, True)
