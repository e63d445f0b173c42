"""Stored results: every change of a file is named, every number that another version moves is listed."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.cli import main
from nodeportsim.metrics.versions import differences
from nodeportsim.scenario.read import read
from nodeportsim.study.manifest import NAME, stored, write_manifest
from nodeportsim.study.verify import Verdict, against, verify

TINY = """\
apiVersion: nodeportsim/v1
kind: Scenario
name: tiny
clients: {rate: 20/s, count: 5}
run: {duration: 2s, replications: 10}
"""
EXPERIMENT = """\
apiVersion: nodeportsim/v1
kind: Experiment
question: Do more pods help?
scenario: tiny.yaml
vary: {service.replicas: [1, 2]}
metrics: [latency_s.p50]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored run, made once; tests change copies of it."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "tiny.yaml").write_text(TINY)
    run = ["run", str(folder / "tiny.yaml"), "--engine", "simpy", "--out", str(folder / "run"), "-o", "json"]
    assert CliRunner().invoke(main, run).exit_code == 0
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, tmp_path / "runs" / "tiny"))


def again(folder: Path) -> Verdict:
    return verify(folder, engine="simpy")


def rewritten(folder: Path, **numbers: Any) -> None:
    """Change a summary as another version would have: sealed with a manifest of its own."""
    file = folder / "summary.json"
    summary = json.loads(file.read_text())
    for path, value in numbers.items():
        *parents, last = path.split("__")
        here = summary
        for name in parents:
            here = here[name]
        here[last] = value
    file.write_text(json.dumps(summary))
    write_manifest(folder, {"kind": "run"})


def call(*arguments: str) -> tuple[int, str, str]:
    answer = CliRunner().invoke(main, list(arguments))
    return answer.exit_code, answer.stdout, answer.stderr


# Files.


def test_a_run_is_identical_to_itself_and_its_manifest_names_every_file(run: Path) -> None:
    assert again(run) == Verdict(folder=str(run), answer="identical")
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert set(json.loads((run / NAME).read_text())["files"]) == files - {NAME}
    assert call("verify", str(run), "--engine", "simpy")[:2] == (0, f"{run}: identical\n")


def test_another_engine_gives_the_same_verdict(run: Path) -> None:
    assert json.loads((run / "summary.json").read_text())["provenance"]["engine"] == "simpy"
    assert verify(run) == Verdict(folder=str(run), answer="identical")


def test_every_file_that_is_truncated_changed_or_missing_is_named(made: Path, tmp_path: Path) -> None:
    for name in json.loads((made / NAME).read_text())["files"]:
        folder = Path(shutil.copytree(made, tmp_path / "copy", dirs_exist_ok=True))
        data = (folder / name).read_bytes()
        for left, words in ((data[: len(data) // 2], "changed"), (data + b" ", "changed"), (b"", "empty")):
            (folder / name).write_bytes(left)
            assert stored(folder).changed() == [f"{name} is {words}"]
        (folder / name).unlink()
        assert stored(folder).changed() == [f"{name} is missing"]


def test_changed_files_end_with_1_and_nothing_is_simulated(run: Path) -> None:
    (run / "nodes.csv").write_text("replication\n")
    assert again(run) == Verdict(folder=str(run), answer="files changed", reasons=("nodes.csv is changed",))
    code, told, error = call("verify", str(run))
    assert (code, told) == (1, f"{run}: files changed\n  nodes.csv is changed\n")
    assert error == f"error: not identical: {run}\n"


def test_a_folder_without_a_manifest_is_simulated_again_all_the_same(run: Path) -> None:
    (run / NAME).unlink()
    verdict = again(run)
    assert verdict.answer == "identical"
    assert verdict.notes == ("no manifest: whether a file was changed since is not known",)


# Results.


def test_a_number_of_another_version_is_listed_with_how_far_it_is_off(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    mean = summary["latency_s"]["mean"]
    low, high = mean["low"] - 1, mean["low"] - 0.5
    rewritten(
        run,
        provenance__version="0.0.9",
        latency_s__mean={"estimate": 2 * mean["estimate"], "low": low, "high": high},
        requests__offered=7,
    )
    verdict = again(run)
    assert verdict.answer == "results differ"
    assert verdict.notes == (f"version: 0.0.9 -> {summary['provenance']['version']}",)
    rows = {row["metric"]: row for row in verdict.rows}
    assert set(rows) == {"latency_s.mean", "requests.offered"}
    assert rows["latency_s.mean"]["difference_ratio"] == pytest.approx(-0.5)
    assert rows["latency_s.mean"]["within"] is False
    assert rows["requests.offered"]["within"] is None
    assert call("verify", str(run), "--engine", "simpy")[0] == 1


def test_a_number_that_an_older_version_did_not_tell_is_no_difference(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    for version, answer in (("0.0.9", "identical"), (summary["provenance"]["version"], "results differ")):
        summary["provenance"]["version"] = version
        less = {name: value for name, value in summary.items() if name != "first_packet_s"}
        (run / "summary.json").write_text(json.dumps(less))
        write_manifest(run, {"kind": "run"})
        assert again(run).answer == answer


def test_a_table_that_differs_is_named_and_one_that_is_not_there_is_not_missed(run: Path) -> None:
    (run / "pods.csv").write_text((run / "pods.csv").read_text() + "9,9\n")
    (run / "latency.csv").unlink()
    write_manifest(run, {"kind": "run"})
    verdict = again(run)
    assert (verdict.answer, verdict.reasons) == ("results differ", ("table pods.csv differs",))


def test_two_stored_runs_are_compared_without_simulating(run: Path) -> None:
    other = Path(shutil.copytree(run, run.with_name("other")))
    rewritten(other, requests__failed=3)
    verdict = against(run, other)
    assert (verdict.answer, [row["metric"] for row in verdict.rows]) == (
        "results differ",
        ["requests.failed"],
    )
    assert call("verify", str(run), "--against", str(run))[0] == 0
    code, told, _ = call("verify", str(run), "--against", str(other), "-o", "json")
    assert (code, json.loads(told)[0]["rows"]) == (1, verdict.rows)


number = st.floats(-1e6, 1e6) | st.integers(-1000, 1000)
estimate = st.builds(
    lambda value, below, above: {"estimate": value, "low": value - below, "high": value + above},
    number,
    st.floats(0, 10),
    st.floats(0, 10),
)
summaries = st.dictionaries(
    st.sampled_from(["requests", "latency_s", "nodes"]),
    estimate | number | st.none() | st.lists(estimate | number, max_size=3),
)


@given(summaries, summaries)
def test_differences_turn_their_sign_and_are_within_exactly_where_the_interval_says(
    a: dict[str, Any], b: dict[str, Any]
) -> None:
    assert differences(a, a) == differences(a | {"provenance": 1}, a | {"provenance": 2}) == []
    there, back = differences(a, b), differences(b, a)
    turned = {row["metric"]: row["difference"] for row in back}
    assert {row["metric"] for row in there} == set(turned)
    for row in there:
        if row["difference"] is not None:
            assert row["difference"] == -turned[row["metric"]]
        if row["within"] is not None:
            assert row["within"] == (row["low"] <= row["after"] <= row["high"])


# What cannot be verified.


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("summary.json", "{", "summary.json is damaged: it is not JSON"),
        ("summary.json", "[1]", "summary.json is damaged: it must be a mapping"),
        ("summary.json", "{}", "summary.json is not a summary of a run"),
        ("manifest.json", '{"files": {"../../secret": ""}}', "manifest.json is damaged: files must map"),
        ("manifest.json", '{"files": 3}', "manifest.json is damaged: files must map"),
        ("scenario.yaml", "clusters: 3", "scenario.yaml:1:1: clusters is unknown"),
        ("scenario.yaml", TINY + "cluster: {profile: mine}", "profile must be a profile (got 'mine')"),
        (
            "scenario.yaml",
            TINY.replace("count: 5", "count: 5, entry: {policy: custom, function: mine.py:best}"),
            "mine.py cannot be read: no such file",
        ),
    ],
)
def test_what_cannot_be_verified_says_why_and_ends_with_2(
    run: Path, name: str, text: str, reason: str
) -> None:
    (run / NAME).unlink()
    (run / name).write_text(text)
    verdict = again(run)
    assert verdict.answer == "cannot be verified"
    assert reason in verdict.reasons[0]
    assert call("verify", str(run))[0] == 2


def test_what_is_no_folder_of_results_says_so(run: Path) -> None:
    for folder, words in ((run / "nothere", "is not a folder"), (run.parent, "holds no results")):
        assert words in again(folder).reasons[0]
    (run / "scenario.yaml").unlink()
    (run / NAME).unlink()
    assert "scenario.yaml cannot be read" in again(run).reasons[0]


def test_of_several_runs_the_worst_decides(run: Path) -> None:
    bad = Path(shutil.copytree(run, run.with_name("bad")))
    (bad / "nodes.csv").unlink()
    assert call("verify", str(run), str(bad), "--engine", "simpy")[0] == 1
    assert call("verify", str(run), str(bad), "nothere", "--engine", "simpy")[0] == 2


# Experiments and the list of runs.


def test_an_experiments_folder_is_verified_by_running_it_again(run: Path) -> None:
    Path("tiny.yaml").write_text(TINY)
    Path("more.yaml").write_text(EXPERIMENT)
    assert call("experiment", "more.yaml", "--engine", "simpy", "--out", "found")[0] == 0
    found = run.parents[1] / "found"
    assert again(found) == Verdict(folder=str(found), answer="identical")
    (found / "table.csv").write_text("variant\n")
    assert again(found).answer == "files changed"
    write_manifest(found, {"kind": "experiment", "experiment": "more.yaml", "replications": None})
    verdict = again(found)
    assert (verdict.answer, verdict.reasons) == ("results differ", ("table table.csv differs",))


def test_runs_are_listed_and_damaged_ones_are_named(run: Path) -> None:
    for name, file in (("damaged", "summary.json"), ("touched", "nodes.csv"), ("unsealed", NAME)):
        other = Path(shutil.copytree(run, run.with_name(name)))
        (other / file).write_text("{") if file != NAME else (other / file).unlink()
    Path("runs/not-ours").mkdir()
    Path("runs/not-ours/scenario.yaml").write_text(TINY)
    code, told, _ = call("runs", "-o", "json")
    rows = {row["run"]: row for row in json.loads(told)}
    assert code == 0
    states = {"damaged": "damaged", "tiny": "", "touched": "changed", "unsealed": "no manifest"}
    assert {name: row["state"] for name, row in rows.items()} == states
    summary = json.loads((run / "summary.json").read_text())
    assert rows["tiny"]["p99_s"] == summary["latency_s"]["p99"]["estimate"]
    assert rows["tiny"]["scenario"] == read(run / "scenario.yaml").name
    code, told, error = call("runs")
    assert (code, "damaged" in told) == (0, True)
    assert "summary.json is damaged: it is not JSON" in error
    table = csv.DictReader(io.StringIO(call("runs", "-o", "csv")[1]))
    assert [row["run"] for row in table] == sorted(states)
    assert call("runs", "nothere")[0] == 2
