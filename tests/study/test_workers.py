"""Wherever points are measured, the bytes are the same; whoever is killed, nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sweeping

from nodeportsim.errors import IncompleteError, InputError
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.read import read
from nodeportsim.study.measure import Task, VersionError, assert_same, measured, versions
from nodeportsim.study.sweep import run_sweep
from nodeportsim.study.workers import DIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARY = ("replicas=2,3,5,7", "proxy.mode=iptables,ipvs,nftables")
POINTS = 12


def arguments(folder: Path, *more: str | Path) -> list[str]:
    """Say the sweep on a command line."""
    words = [sweeping.scenario(folder), *(f"--vary={word}" for word in VARY), "--engine=simpy", *more]
    return sweeping.command(*words)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the results that nothing happened to."""
    folder = tmp_path_factory.mktemp("expected")
    run_sweep(sweeping.sweep(folder, *VARY), folder / "out", engine="simpy")
    return sweeping.hashes(folder / "out")


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("jobs", [2, 4])
def test_several_processes_give_the_same_bytes(tmp_path: Path, expected: dict[str, str], jobs: int) -> None:
    run_sweep(sweeping.sweep(tmp_path, *VARY), tmp_path / "out", engine="simpy", jobs=jobs)
    assert sweeping.hashes(tmp_path / "out") == expected


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "nothing happens"
        time.sleep(0.002)


def finished(folder: Path) -> int:
    return len(list((folder / "out" / "points").glob("[0-9]*.json")))


def killed_again_and_again(folder: Path, kills: int, draw: random.Random) -> None:
    """Kill a sweep at random instants until it has been killed so often, then let it end.

    An instant is drawn as a number of points that must be finished, and a time after that; so kills fall into
    every part of the work: before the first point, within one, between two, and into the writing of results.
    """
    command = arguments(folder, "--quiet", "--out", folder / "out")
    for _ in range(kills):
        begun = finished(folder)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        after = begun + draw.choice([0, 0, 1, 1, 2])
        wait_for(lambda: finished(folder) >= after or process.poll() is not None)  # noqa: B023  (waits at once)
        time.sleep(draw.uniform(0.0, 0.05) if after > begun else draw.uniform(0.0, 1.0))
        process.send_signal(signal.SIGKILL)
        _, problem = process.communicate()
        assert process.returncode in {-signal.SIGKILL, 0}, problem.decode()
    subprocess.run(command, check=True, capture_output=True)


def trial(folder: Path, expected: dict[str, str], kills: int, seed: int) -> None:
    folder.mkdir()
    killed_again_and_again(folder, kills, random.Random(seed))  # noqa: S311  (no secret)
    assert sweeping.hashes(folder / "out") == expected
    assert {path.name for path in (folder / "out").iterdir()} == {*sweeping.TABLES, "points", ".lock"}


@pytest.mark.long
def test_thirty_kills_at_random_moments_leave_the_same_bytes(
    tmp_path: Path, expected: dict[str, str]
) -> None:
    for seed in range(3):
        trial(tmp_path / str(seed), expected, 10, seed)


@pytest.mark.soak
def test_a_hundred_kills_at_random_moments_leave_the_same_bytes(
    tmp_path: Path, expected: dict[str, str]
) -> None:
    for seed in range(100, 120):
        trial(tmp_path / str(seed), expected, 5, seed)


@pytest.mark.long
def test_workers_end_with_a_killed_sweep_and_the_next_one_goes_on(
    tmp_path: Path, expected: dict[str, str]
) -> None:
    command = arguments(tmp_path, "-j2", "--quiet", "--out", tmp_path / "out")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: finished(tmp_path) >= 2)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(workers) >= 2
    wait_for(lambda: not any(map(is_there, workers)))
    subprocess.run(command, check=True, capture_output=True)
    assert sweeping.hashes(tmp_path / "out") == expected


def children(parent: int) -> list[int]:
    """List the processes whose parent this is (proc(5))."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    fields = [(stat.split()[0], stat.rpartition(")")[2].split()[1]) for stat in stats]
    return [int(pid) for pid, of in fields if int(of) == parent]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


DEADLY = '''
import os
from nodeportsim import policy


@policy(cells=1)
def deadly(memory, nodes, last, u1, u2, now_s):
    """Kill whoever asks, where there are three nodes."""
    if nodes == 3:
        os.kill(os.getpid(), 9)
    return 0
'''


@pytest.mark.long
def test_a_point_that_kills_its_process_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    """Its neighbours die with it and are measured again."""
    (tmp_path / "policies.py").write_text(DEADLY)
    entry = "clients.entry={policy: custom, function: policies.py:deadly}"
    plan = sweeping.sweep(tmp_path, "nodes=2,3,4,5", sets=(entry,))
    with pytest.raises(IncompleteError, match=f"1 of 4 points .*{DIED}"):
        run_sweep(plan, tmp_path / "out", engine="simpy", jobs=2)
    lines = (tmp_path / "out" / "points.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in lines] == ["status", "done", "failed", "done", "done"]


# -- versions ------------------------------------------------------------------------------------


def test_other_versions_are_named_on_both_sides() -> None:
    own = {"nodeportsim": "0.1.0", "python": "3.11"}
    assert_same(own, dict(own))
    with pytest.raises(VersionError, match=r"nodeportsim 0\.2\.0 there, 0\.1\.0 here; python 3\.13 there, 3"):
        assert_same(own, {"nodeportsim": "0.2.0", "python": "3.13"})


def test_a_task_of_other_sources_is_not_measured(tmp_path: Path) -> None:
    """The same version number with another engine, as between two checkouts."""
    scenario = read(sweeping.scenario(tmp_path))
    task = Task(
        number=0,
        scenario=scenario,
        profile=load_profile(scenario.cluster.profile),
        engine="simpy",
        made_by=versions() | {"engine": "0123456789abcdef"},
    )
    with pytest.raises(VersionError, match=r"engine .* there, 0123456789abcdef here"):
        measured(task)


# -- a cluster -----------------------------------------------------------------------------------


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start a scheduler and workers on loopback; give its address, and the processes, the scheduler first."""
    pytest.importorskip("distributed")
    file = folder / "scheduler.json"
    where = ["--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1"]
    place = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
    started = [_started("dask_scheduler", *where, "--port", "0")]
    try:
        wait_for(lambda: file.exists() and bool(file.read_text()))
        started += [_started("dask_worker", *where, *place) for _ in range(workers)]
        yield json.loads(file.read_text())["address"], started
    finally:
        for process in started:
            process.kill()
            process.wait()


def _started(module: str, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{module}", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.long
def test_a_cluster_gives_the_same_bytes_though_a_worker_is_killed_half_way(
    tmp_path: Path, expected: dict[str, str]
) -> None:
    with cluster(tmp_path, 2) as (address, processes):
        wait_for_workers(address, 2)

        def kill(done: int, total: int) -> None:
            if done == total // 2:
                processes[1].kill()

        plan, out = sweeping.sweep(tmp_path, *VARY), tmp_path / "out"
        run_sweep(plan, out, scheduler=address, engine="simpy", progress=kill)
        assert processes[1].wait() == -signal.SIGKILL
    assert sweeping.hashes(out) == expected


def wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


@pytest.mark.long
def test_a_scheduler_that_goes_away_leaves_what_is_finished(tmp_path: Path, expected: dict[str, str]) -> None:
    plan, out = sweeping.sweep(tmp_path, *VARY), tmp_path / "out"
    with cluster(tmp_path, 1) as (address, processes):

        def kill(done: int, _: int) -> None:
            if done == 2:
                processes[0].kill()

        with pytest.raises(InputError, match=r"went away[^|]*finished points are kept"):
            run_sweep(plan, out, scheduler=address, engine="simpy", progress=kill)
    assert 2 <= finished(tmp_path) < POINTS
    run_sweep(plan, out, engine="simpy")
    assert sweeping.hashes(out) == expected


@pytest.mark.long
def test_a_scheduler_without_workers_is_bad_input_within_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeportsim.study.workers.PATIENCE_S", 3)
    plan = sweeping.sweep(tmp_path, *VARY)
    with cluster(tmp_path, 0) as (address, _), pytest.raises(InputError, match="has no workers"):
        run_sweep(plan, tmp_path / "out", scheduler=address, engine="simpy")


def test_an_unreachable_scheduler_is_bad_input_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("nodeportsim.study.workers.PATIENCE_S", 1)
    with socket.socket() as taken:  # Bound, and nobody listens.
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=r"does not answer within 1 s[^|]*dask scheduler"):
            run_sweep(sweeping.sweep(tmp_path, *VARY), tmp_path / "out", scheduler=address, engine="simpy")


@pytest.mark.parametrize("address", ["", "nonsense://x", "10.0.0.1", "tcp://"])
def test_an_address_that_is_none_is_bad_input(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("nodeportsim.study.workers.PATIENCE_S", 1)
    plan: Any = sweeping.sweep(tmp_path, *VARY)
    with pytest.raises(InputError, match=r"does not answer|is no address"):
        run_sweep(plan, tmp_path / "out", scheduler=address, engine="simpy")
