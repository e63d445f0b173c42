"""A sweep is its points: all of them, the same bytes however it went, and nothing lost when it goes wrong."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import platform
import resource
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sweeping

from nodeportsim.engine.simulate import simulate
from nodeportsim.errors import IncompleteError, InputError
from nodeportsim.metrics.observables import MAIN, NAMES, chosen, observe
from nodeportsim.metrics.summarise import summarise
from nodeportsim.scenario.read import read
from nodeportsim.study import measure, sweep
from nodeportsim.study.findings import flattened
from nodeportsim.study.folder import claimed, is_locked, opened
from nodeportsim.study.results import counts, rows
from nodeportsim.study.sweep import designed, of_experiment, run_sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

POINTS = 6


def swept(folder: Path, *vary: str, sets: tuple[str, ...] = (), **how: Any) -> Path:
    """Run the small sweep in a folder of its own."""
    run_sweep(sweeping.sweep(folder, *vary, sets=sets), folder / "out", engine="simpy", **how)
    return folder / "out"


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nothing happened to."""
    return swept(tmp_path_factory.mktemp("whole"))


def test_the_results_have_a_row_for_each_point_replication_and_metric(whole: Path) -> None:
    found = table(whole / "results.csv")
    assert len(found) == POINTS * 2 * len(chosen(MAIN))
    assert len({(row["point"], row["replication"], row["metric"]) for row in found}) == len(found)


def test_a_value_is_that_of_the_scenario_with_these_settings(whole: Path, tmp_path: Path) -> None:
    sets = ("replicas=3", "proxy.mode=ipvs")
    scenario = read(sweeping.scenario(tmp_path), sets=sets)
    expected = observe(simulate(scenario, 1, engine="simpy"), counted_s=1.5)
    found = [
        row
        for row in table(whole / "results.csv")
        if (row["replicas"], row["proxy.mode"], row["replication"]) == ("3", "ipvs", "1")
    ]
    assert found
    for row in found:
        value = float(row["value"] or "nan")
        assert value == float(f"{expected[row['metric']]:.9g}") or math.isnan(value)
        assert math.isnan(value) == math.isnan(expected[row["metric"]])


def test_an_estimate_is_the_summarys_with_its_interval(tmp_path: Path) -> None:
    """For all that a summary has under the same name; its counts are totals, those here are means."""
    sets = ("replications=12", "rate=300/s")
    out = swept(tmp_path, "replicas=3", sets=sets, metrics=["all"])
    scenario = read(tmp_path / "tiny.yaml", sets=(*sets, "replicas=3"))
    runs = [simulate(scenario, n, engine="simpy") for n in range(12)]
    expected = {row["metric"]: row for row in flattened(summarise(runs))}
    found = {row["metric"]: row for row in table(out / "summary.csv")}
    assert tuple(found) == NAMES
    same = [
        n
        for n in NAMES
        if n.startswith(("latency_s", "first_packet_s", "balance", "phases.before.latency_s"))
    ]
    for name in same:
        for part in ("estimate", "low", "high"):
            number = float(found[name][part]) if found[name][part] else None
            assert number == expected[name][part], (name, part)


def test_quantities_are_numbers_in_tables_and_as_written_in_points(tmp_path: Path) -> None:
    out = swept(tmp_path, "rate=20/s,60/m", "serviceTime.mean=4ms", "localhostNodePorts=true,false")
    first = table(out / "points.csv")[0]
    assert [first[k] for k in ("rate", "serviceTime.mean", "localhostNodePorts", "status")] == [
        "20/s",
        "4ms",
        "true",
        "done",
    ]
    assert {row["rate"] for row in table(out / "results.csv")} == {"20.0", "1.0"}
    assert {row["serviceTime.mean"] for row in table(out / "summary.csv")} == {"0.004"}


def test_metrics_choose_the_columns_and_cost_no_second_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = swept(tmp_path)
    monkeypatch.setattr(measure, "replicate", None)  # Whoever simulates again fails.
    swept(tmp_path, metrics=["latency_s.p99", "requests"])
    found = {row["metric"] for row in table(out / "results.csv")}
    assert found == {"latency_s.p99", *(n for n in NAMES if n.startswith("requests."))}


def test_a_misspelt_metric_is_known_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean latency_s\.p"):
        swept(tmp_path, metrics=["latency.p99"])
    assert not (tmp_path / "out").exists()


def test_results_name_no_machine_no_path_and_no_time(whole: Path) -> None:
    words = {socket.gethostname(), str(whole.parent), platform.node(), "2026", "/home"}
    for name in sweeping.TABLES:
        text = (whole / name).read_text()
        assert not [word for word in words if word and word in text]


def test_an_experiments_cells_are_points(tmp_path: Path) -> None:
    sweeping.scenario(tmp_path)
    file = tmp_path / "experiment.yaml"
    file.write_text(
        "{apiVersion: nodeportsim/v1, kind: Experiment, question: 'Why?', scenario: tiny.yaml,\n"
        " variants: {few: {replicas: 2}, many: {replicas: 5}}, vary: {nodes: [2, 3]}}\n"
    )
    found = of_experiment(str(file), ())
    assert found is not None
    run_sweep(found, tmp_path / "out", engine="simpy")
    named = [(row["variant"], row["nodes"]) for row in table(tmp_path / "out" / "points.csv")]
    assert named == [("few", "2"), ("few", "3"), ("many", "2"), ("many", "3")]
    assert of_experiment(str(tmp_path / "tiny.yaml"), ()) is None


# -- going on ------------------------------------------------------------------------------------


def interrupted(folder: Path, after: int) -> str:
    """Run the sweep with a Ctrl-C after so many points; give what is said."""

    def press(done: int, _: int) -> None:
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as pressed:
        swept(folder, progress=press)
    return str(pressed.value)


@pytest.mark.parametrize("after", [1, 3, POINTS])
def test_an_interrupted_sweep_goes_on_to_the_same_bytes(tmp_path: Path, whole: Path, after: int) -> None:
    assert f"{after} of {POINTS} points are kept; the same command goes on" in interrupted(tmp_path, after)
    assert len(list((tmp_path / "out" / "points").iterdir())) == after
    told: list[str] = []
    out = swept(tmp_path, notice=told.append)
    assert told == [f"{after} of {POINTS} points are finished already"]
    assert sweeping.hashes(out) == sweeping.hashes(whole)


def cut(text: str) -> str:
    return text[: len(text) // 2]


def empty(_: str) -> str:
    return ""


def change(text: str) -> str:
    """Turn one digit into another, deep inside."""
    return text[:500] + text[500:].replace("1", "2", 1)


@pytest.mark.parametrize("damage", [cut, empty, change])
def test_a_damaged_point_is_found_said_and_measured_again(
    tmp_path: Path, whole: Path, damage: Callable[[str], str]
) -> None:
    out = swept(tmp_path)
    file = out / "points" / "000002.json"
    file.write_text(damage(file.read_text()))
    told: list[str] = []
    swept(tmp_path, notice=told.append)
    assert told[0] == "points/000002.json is not whole: the point is measured again"
    assert sweeping.hashes(out) == sweeping.hashes(whole)


@pytest.mark.parametrize("where", [3, 5])
def test_a_point_of_another_sweep_or_place_is_found(tmp_path: Path, whole: Path, where: int) -> None:
    """Even where the file itself is whole: another folder's point, or another point's file."""
    (tmp_path / "other").mkdir()
    other = swept(tmp_path / "other", sets=("seed=2",)) if where == 3 else whole
    out = swept(tmp_path)
    (out / "points" / f"{where:06}.json").write_bytes((other / "points" / "000003.json").read_bytes())
    told: list[str] = []
    swept(tmp_path, notice=told.append)
    assert told[0] == f"points/{where:06}.json belongs to another sweep: the point is measured again"
    assert sweeping.hashes(out) == sweeping.hashes(whole)


def test_what_a_killed_process_began_is_tidied_away(tmp_path: Path, whole: Path) -> None:
    out = swept(tmp_path)
    (out / "points" / ".000004.json.part").write_text("half")
    (out / ".nodeportsim-abc").mkdir()
    swept(tmp_path)
    assert {path.name for path in out.iterdir()} == {*sweeping.TABLES, "points", ".lock"}
    assert sweeping.hashes(out) == sweeping.hashes(whole)


@pytest.mark.parametrize(
    ("vary", "sets", "what"),
    [
        (("replicas=2,3,5", "proxy.mode=iptables,nftables"), (), "design"),
        (sweeping.VARY, ("rate=50/s",), "scenario_sha256"),
        (sweeping.VARY, ("seed=9",), "seed: 1 there, 9 here"),
        (sweeping.VARY, ("replications=3",), "replications: 2 there, 3 here"),
    ],
)
def test_the_folder_of_another_sweep_is_refused(
    tmp_path: Path, whole: Path, vary: Sequence[str], sets: tuple[str, ...], what: str
) -> None:
    before = sweeping.hashes(whole)
    with pytest.raises(InputError, match="the folder of another sweep") as refused:
        run_sweep(sweeping.sweep(tmp_path, *vary, sets=sets), whole, engine="simpy")
    assert what in str(refused.value)
    assert sweeping.hashes(whole) == before


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept(tmp_path)
    monkeypatch.setattr(sweep, "version", lambda _: "9.9.9")
    with pytest.raises(InputError, match=r'version: "0.1.0" there, "9.9.9" here'):
        swept(tmp_path)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds other files, and no sweep"):
        swept(tmp_path)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"


def test_two_processes_refuse_each_other(tmp_path: Path) -> None:
    plan = sweeping.sweep(tmp_path)
    with claimed(tmp_path / "out", plan.manifest):
        assert is_locked(tmp_path / "out")
        other = sweeping.process(
            tmp_path / "tiny.yaml", *(f"--vary={word}" for word in sweeping.VARY), "--out", tmp_path / "out"
        )
    assert (other.returncode, "another process sweeps there" in other.stderr) == (2, True)
    assert not is_locked(tmp_path / "out")


# -- going wrong ---------------------------------------------------------------------------------


def test_a_point_that_is_no_scenario_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    for _ in range(2):  # The second time the same points are tried again, and fail again.
        with pytest.raises(IncompleteError, match="1 of 3 points could not be simulated"):
            swept(tmp_path, "nodes=2,6000,3")
        found = table(tmp_path / "out" / "points.csv")
        assert [row["status"] for row in found] == ["done", "failed", "done"]
        assert "must be at most 5000" in found[1]["reason"]
        assert str(tmp_path) not in found[1]["reason"]
        assert {row["point"] for row in table(tmp_path / "out" / "results.csv")} == {"0", "2"}


def test_a_bug_in_one_point_is_recorded_and_tried_again(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = measure.replicate

    def bad(scenario: Any, *given: Any, **more: Any) -> Any:
        if scenario.service.replicas == 3:
            raise ZeroDivisionError("by nothing")
        return good(scenario, *given, **more)

    monkeypatch.setattr(measure, "replicate", bad)
    with pytest.raises(IncompleteError, match="2 of 6"):
        swept(tmp_path)
    monkeypatch.setattr(measure, "replicate", good)
    found = table(tmp_path / "out" / "points.csv")
    assert {row["reason"] for row in found if row["status"] == "failed"} == {
        "a bug in nodeportsim: ZeroDivisionError: by nothing"
    }
    assert sweeping.hashes(swept(tmp_path)) == sweeping.hashes(whole)


def test_a_sweep_of_which_no_point_is_a_scenario_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be at most 5000"):
        swept(tmp_path, "nodes=6000,7000")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("limit", "kept"), [(4_000, 0), (30_000, POINTS)])
def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, whole: Path, limit: int, kept: int) -> None:
    """A limit on the size of files stands for the disk: the first point does not fit, or the results."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(InputError, match="finished points are kept") as refused:
            swept(tmp_path, metrics=["all"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.strerror(errno.EFBIG) in str(refused.value)
    assert len(list((tmp_path / "out" / "points").glob("*"))) == kept
    assert not list(tmp_path.rglob("*.part"))
    assert sweeping.hashes(swept(tmp_path)) == sweeping.hashes(whole)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user without rights for a while: root may write everywhere."""
    before, nobody = os.geteuid(), 65534
    if before == 0:
        os.seteuid(nobody)
    yield
    os.seteuid(before)


def test_a_read_only_folder_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = sweeping.sweep(folder)
        run_sweep(plan, folder / "out", engine="simpy")  # What is imported late may be unreadable to others.
        folder.chmod(0o755)
        (folder / "read-only").mkdir(mode=0o555)
        with as_nobody(), pytest.raises(InputError, match="cannot be written: Permission denied"):
            run_sweep(plan, folder / "read-only", engine="simpy")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        swept(tmp_path)


def test_a_million_points_by_accident_are_refused_before_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1,000,000 points; more than 10,000 .* --yes"):
        sweeping.sweep(tmp_path, "nodes=lin:1:1000:1000", "replicas=lin:1:1000:1000")


def test_more_than_an_hour_is_refused_with_the_estimate_unless_it_is_meant(tmp_path: Path) -> None:
    """80,000/s for 10 h are 2.9e9 requests; 6 points x 2 replications x 0.4 us each are 3.8 hours."""
    long = ("run.duration=36000s", "rate=80000/s")
    with pytest.raises(InputError, match=r"would take some 4 hours, 1 at a time: .* with --yes"):
        run_sweep(sweeping.sweep(tmp_path, sets=long), tmp_path / "out", engine="compiled")
    plan = sweeping.sweep(tmp_path, sets=long)
    assert sweep._estimated(plan, "compiled", 1, yes=True) == "compiled"
    assert sweep._estimated(plan, "compiled", 8, yes=False) == "compiled"


# -- reading it ----------------------------------------------------------------------------------


def test_the_status_counts_what_is_there(tmp_path: Path) -> None:
    interrupted(tmp_path, 2)
    assert counts(opened(tmp_path / "out")) == {
        "points": POINTS,
        "done": 2,
        "failed": 0,
        "pending": 4,
        "running": False,
    }


def test_an_unfinished_sweep_can_be_exported(tmp_path: Path) -> None:
    interrupted(tmp_path, 2)
    assert {row[0] for row in rows(opened(tmp_path / "out"), "summary", ["failed_ratio"])} == {0, 1}


def test_the_manifest_is_the_question(whole: Path) -> None:
    found = json.loads((whole / "sweep.json").read_text())
    assert found["design"] == {"method": "grid", "samples": None, "vary": list(sweeping.VARY)}
    assert found["columns"] == ["replicas", "proxy.mode"]
    assert found["points"][:2] == [[2, "iptables"], [2, "ipvs"]]


def test_a_design_needs_a_scenario_that_is_one_itself(tmp_path: Path) -> None:
    file = sweeping.scenario(tmp_path, "service: {replicas: -1}\n")
    with pytest.raises(InputError, match="replicas"):
        designed(lambda more: read(file, sets=tuple(more)), ())
