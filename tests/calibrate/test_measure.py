"""What is measured, how often, which tables come out, and what ends a measurement."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from scipy import stats

from nodeportsim.calibrate.measuring import backends, measure, plans, scene, system, tables, testbed
from nodeportsim.cli import main
from nodeportsim.errors import InputError
from nodeportsim.kubeproxy import write_iptables

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FIRST_CAMPAIGN = {
    # Columns of the files of the first campaign, after the environment's: its readers read ours.
    tables.SERVICES: "mode services endpoints_per_service target service_position repetition connections "
    "connections_per_s process_user_s process_system_s CONNECT CYCLE",
    tables.ENDPOINTS: "mode services endpoints_per_service target service_position repetition connections "
    "connections_per_s CONNECT CYCLE",
    tables.COLD: "mode services endpoints_per_service target service_position repetition connections "
    "thrash_mib_before_connect CONNECT",
    tables.REQUESTS: "mode services target service_position repetition requests request_bytes response_bytes "
    "requests_per_s CYCLE",
    tables.PATHS: "mode repetition connections path CONNECT CYCLE REQUEST",
    tables.PROGRAMMING: "mode services endpoints_per_service repetition op seconds",
    tables.DISTRIBUTION: "mode scheduler endpoints endpoint_index weight connections_total "
    "connections_to_endpoint",
}


def rng() -> Random:
    return Random(1)  # noqa: S311  (an order, no secret)


QUANTILES = ("min", "p05", "p25", "p50", "p75", "p95", "p99", "tmean95")
TIMES = {"CONNECT": "connect", "CYCLE": "cycle", "REQUEST": "request_cycle"}
TINY = plans.Plan(
    services=(1, 400),
    distribution=(3,),
    affinity=(3,),
    endpoints=(1, 10),
    cold=(1,),
    one_rule=(1,),
    rounds=1,
    repetitions=2,
    connections=150,
    requests=100,
    cold_connections=5,
    split_connections=2000,
    changes=1,
)


def spelt(columns: str) -> set[str]:
    found = columns.split()
    return {c for c in found if c not in TIMES} | {
        f"{TIMES[c]}_{quantile}_ns" for c in found if c in TIMES for quantile in QUANTILES
    }


def test_the_first_campaigns_columns_are_among_ours() -> None:
    for file, columns in FIRST_CAMPAIGN.items():
        assert set(tables.ENVIRONMENT) | spelt(columns) <= set(tables.COLUMNS[file]), file


def test_the_columns_are_those_of_the_page() -> None:
    page = (ROOT / "docs/measure.md").read_text()
    shared = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert shared == set(tables.ENVIRONMENT) | set(tables.RULES)
    documented = dict(re.findall(r"^\| `(\w+\.csv)` \| [^|]* \| ([^|]*) \|$", page, re.MULTILINE))
    assert documented.keys() == tables.COLUMNS.keys()
    for file, words in documented.items():
        names = re.sub(r"`(\w+)_\*_ns`", lambda m: " ".join(f"`{m[1]}_{q}_ns`" for q in QUANTILES), words)
        assert set(re.findall(r"`(\w+)`", names)) | shared == set(tables.COLUMNS[file]), file


@pytest.mark.parametrize("name", list(plans.PLANS))
def test_a_plan_has_a_cell_per_round_backend_and_load_in_a_shuffled_order(name: str) -> None:
    plan = plans.PLANS[name]
    cells = plans.cells(plan, plan.backends, rng())
    wanted = 0
    for backend in plan.backends:
        most = plans.MOST_SERVICES.get(backend, plans.MOST_OTHERS)
        linear = backends.BACKENDS[backend] == "iptables"
        sizes = [n for n in plan.services if n <= most]
        wanted += len(sizes) + sum(n in plan.one_rule for n in sizes) * linear
        wanted += bool(plan.endpoints) + bool(plan.affinity) + plan.paths
    assert len(cells) == plan.rounds * wanted + len(plan.backends)  # Distributions once.
    assert [c.round for c in cells] == sorted(c.round for c in cells)
    other = plans.cells(plan, plan.backends, Random(2))  # noqa: S311  (an order, no secret)
    assert [(c.backend, c.scene) for c in other] != [(c.backend, c.scene) for c in cells]
    again = plans.cells(plan, plan.backends, rng())
    assert [(c.backend, c.scene) for c in again] == [(c.backend, c.scene) for c in cells]


def test_a_plan_leaves_out_what_the_machine_cannot() -> None:
    plan = plans.DEFAULT
    cells = plans.cells(plan, ["iptables-nft"], rng(), two_rules=False, affinity=False, overlay=False)
    assert {c.experiment for c in cells} == {"services", "endpoints", "paths", "distribution"}
    assert {c.scene.two_rules for c in cells} == {False}
    assert not any(s.where == "vxlan" for c in cells for s in c.scene.tested.values())
    # Up to 1.30 there was one rule, whatever is wanted.
    older = plans.cells(plan, ["iptables-nft"], rng(), version=(1, 30))
    assert {c.scene.view().shape.rules_per_node_port for c in older} == {1}


def test_connections_are_fewer_where_each_takes_long() -> None:
    counts = [plans.DEFAULT.count("iptables-legacy", n) for n in plans.DEFAULT.services]
    assert counts == [1500, 1500, 1500, 1500, 900, 450]
    assert plans.DEFAULT.count("nftables", 5000) == 1500


def test_sizes_of_the_users_stand_in_for_the_plans_and_are_not_capped() -> None:
    plan = measure.Request(plan=plans.DEFAULT, services=(1000, 20_000)).resolved()
    assert (plan.one_rule, plan.cold) == ((1000,), (1000,))
    sizes = {c.services for c in plans.cells(plan, ["nftables"], rng()) if c.experiment == "services"}
    assert sizes == {1000, 20_000}


@pytest.mark.parametrize("services", [1, 2, 3, 4, 10, 1000])
def test_a_scene_has_its_services_in_order_and_kubernetes_last(services: int) -> None:
    marks = scene.positions(services)
    view = scene.Scene(services=services, tested=dict.fromkeys(marks, scene.Subject(endpoints=3))).view()
    assert {marks[0], marks[-1]} == {0, services - 1}
    assert view.shape.cluster_ips == services + 1
    assert view.shape.node_ports == services
    assert view.shape.endpoints == services + 2 * len(marks) + 1
    assert view.ports[-1].full_name == "default/kubernetes:https"
    addresses = [e.address for port in view.ports for e in port.endpoints]
    assert len(set(addresses)) == len(addresses)
    assert all(list(p.endpoints) == sorted(p.endpoints, key=lambda e: e.address) for p in view.ports)


def test_new_clients_never_come_twice_nor_are_they_known_ones() -> None:
    view = scene.Scene(services=1, tested={0: scene.Subject(affinity=True)}).view()
    count = max(plan.connections for plan in plans.PLANS.values()) + 50
    runs = max(plan.repetitions for plan in plans.PLANS.values())
    for target in scene.targets(view, [0]):
        ranges = [scene.with_new_clients(target, run, count) for run in range(runs)]
        firsts = [*map(address, ranges), address(scene.with_known_clients(target))]
        assert all(after - before >= count for before, after in pairwise(firsts))
        assert firsts[-1] + scene.KNOWN_CLIENTS < 65_536


def address(target: scene.Target) -> int:
    parts = [int(part) for part in target.source.split(".")]
    return parts[2] * 256 + parts[3]


def test_the_summary_subtracts_the_first_place_from_the_last_in_quiet_times() -> None:
    def rows(
        mode: str, services: int, target: str, position: int, *p25: int, shape: int = 2
    ) -> Iterator[Any]:
        for quiet in p25:
            yield {
                "mode": mode,
                "services": services,
                "target": target,
                "service_position": position,
                "rules_per_node_port": shape,
                "connect_p25_ns": quiet,
                "connect_p50_ns": quiet + 1000,
            }

    mode = "iptables-nft"
    found = tables.summary(
        [
            *rows(mode, 1, "nodeport", 0, 12_000, 10_000),
            *rows(mode, 901, "nodeport", 0, 20_000, 90_000),
            *rows(mode, 901, "nodeport", 900, 74_000),
            *rows(mode, 901, "nodeport", 900, 1, shape=1),  # Of other rules: not mixed in.
            *rows(mode, 901, "clusterip", 0, 10_000),
            *rows(mode, 901, "clusterip", 900, 14_500),
            *rows(mode, 10_000, "nodeport", 0, 1),  # Beyond the hot range.
            *rows("none", 0, "podip", -1, 5000, shape=0),
        ]
    )
    none, ours = found
    assert (none["mode"], none["base us"], none["noise"]) == ("none", 5.0, 1.2)
    assert (ours["base us"], ours["services"]) == (10.0, 901)
    assert (ours["ns per NodePort"], ours["ns per ClusterIP"]) == (60.0, 5.0)


def test_a_noisy_machine_is_called_noisy() -> None:
    assert tables.noisy([{"noise": 1.05}, {"noise": tables.NOISY_RATIO}]) is None
    assert "noisy" in str(tables.noisy([{"noise": 1.05}, {"noise": tables.NOISY_RATIO + 0.01}]))


# -- on a real kernel ----------------------------------------------------------------------------


def read(folder: Path, file: str) -> list[dict[str, str]]:
    with (folder / file).open() as stream:
        reader = csv.DictReader(stream)
        assert tuple(reader.fieldnames or ()) == tables.COLUMNS[file]
        return list(reader)


@pytest.fixture(scope="module")
def measured(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001  (it skips)
    """A small measurement of the three modes that most kernels have."""
    out = tmp_path_factory.mktemp("measured") / "tables"
    wish = ("iptables-legacy", "iptables-nft", "nftables")
    answer = measure.measure(
        measure.Request(plan=replace(TINY, backends=wish), label="test"), out, say=lambda _: None
    )
    assert answer.refused == []
    if {row["mode"] for row in answer.summary} != {*wish, *backends.BASELINES}:
        pytest.skip("needs iptables-legacy, iptables-nft and nftables")
    return out


def test_all_tables_are_written_and_every_row_is_complete(measured: Path) -> None:
    assert {path.name for path in measured.iterdir()} == set(tables.COLUMNS)
    for file in tables.COLUMNS:
        rows = read(measured, file)
        assert rows
        assert all(row[name] for row in rows for name in row if name != "l2_bytes"), file
        assert {row["env_label"] for row in rows} == {"test"}


def test_every_target_is_timed_in_every_repetition(measured: Path) -> None:
    cells: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in read(measured, tables.SERVICES):
        if row["mode"] not in backends.BASELINES:
            place = ("mode", "services", "rules_per_node_port", "target", "service_position")
            cells[tuple(row[name] for name in place)].append(row["repetition"])
    assert all(sorted(found) == ["0", "1"] for found in cells.values())
    targets = Counter((mode, services, shape) for mode, services, shape, *_ in cells)
    assert set(targets.values()) == {3, 11}  # ClusterIP and NodePort at one place or five, and a pod.


def quiet(rows: list[dict[str, str]], mode: str, target: str, position: int) -> float:
    kept = [
        float(row["connect_p25_ns"])
        for row in rows
        if (row["mode"], row["services"], row["target"]) == (mode, "400", target)
        and row["service_position"] == str(position)
    ]
    return min(kept)


def test_iptables_costs_grow_with_the_place_in_the_rules_and_nftables_costs_do_not(measured: Path) -> None:
    """The shape only: a NodePort rule costs tens of ns, so hundreds cost as much as all else together."""
    rows = read(measured, tables.SERVICES)

    def growth(mode: str, target: str) -> float:
        return quiet(rows, mode, target, 399) / quiet(rows, mode, target, 0)

    for mode in ("iptables-legacy", "iptables-nft"):
        assert growth(mode, "nodeport") > 1.2 * growth("nftables", "nodeport")
        assert growth(mode, "nodeport") > growth(mode, "clusterip")


def test_iptables_and_nftables_spread_connections_evenly(measured: Path) -> None:
    counts: dict[str, list[int]] = defaultdict(list)
    for row in read(measured, tables.DISTRIBUTION):
        counts[row["mode"]].append(int(row["connections_to_endpoint"]))
    for mode, found in counts.items():
        assert sum(found) == TINY.split_connections
        assert stats.chisquare(found).pvalue > 1e-6, mode


def test_a_longer_way_costs_more(measured: Path) -> None:
    """A second node forwards every packet of a connection: its median over modes is dearer, in shape only."""
    times: dict[str, list[float]] = defaultdict(list)
    for row in read(measured, tables.PATHS):
        times[row["path"]].append(float(row["connect_p25_ns"]))
    assert median(times["nodeport_cluster_remote_pod_vxlan"]) > median(times["nodeport_cluster_local_pod"])


@pytest.mark.usefixtures("machine")
def test_rules_through_which_a_packet_walks_otherwise_are_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = write_iptables.restore
    wrong = "-A KUBE-MARK-MASQ -m mark --mark 1\n-A KUBE-MARK-MASQ"
    monkeypatch.setattr(
        write_iptables, "restore", lambda view: honest(view).replace("-A KUBE-MARK-MASQ", wrong, 1)
    )
    plan = replace(TINY, services=(1,), backends=("iptables-legacy",), paths=False, endpoints=(), one_rule=())
    plan = replace(plan, affinity=(), distribution=())
    answer = measure.measure(measure.Request(plan=plan), tmp_path / "out", say=lambda _: None)
    assert answer.refused == [
        "iptables-legacy, 1 Services, services: nodeport of Service 0 tests 2 rules of KUBE-MARK-MASQ for 1"
    ]
    assert answer.summary == []


@pytest.mark.usefixtures("machine")
def test_the_command_prints_a_summary_and_the_next_step(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--smoke", "--modes", "nftables,ipvs", "--services", "1,3", "--timer", "python", "--seed", "7"]
    answer = call("--out", str(out), "--kubernetes", "1.30", "--label", "lab-7", *options)
    assert answer.exit_code == 0, answer.output
    assert answer.stderr.splitlines()[-1] == f"tables in {out}; next: nodeportsim calibrate {out}"
    assert "nftables" in answer.stdout
    rows = read(out, tables.SERVICES)
    assert {row["timer"] for row in rows} == {"python"}
    assert {row["env_label"] for row in rows} == {"lab-7"}
    assert {row["services"] for row in rows} == {"0", "1", "3"}
    if {row["mode"] for row in rows} != {*backends.BASELINES, "nftables", "ipvs"}:
        assert "ipvs is left out: " in answer.stderr


@pytest.mark.usefixtures("machine")
def test_a_measurement_whose_network_is_removed_ends_with_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = measure.measure_cell

    def robbed(lab: Any, cell: Any) -> None:
        system.run("ip", "netns", "del", lab.beds[cell.backend].name("node"))
        real(lab, cell)

    monkeypatch.setattr(measure, "measure_cell", robbed)
    plan = replace(TINY, backends=("nftables",))
    with pytest.raises(InputError, match=r"lost its network|no mode"):
        measure.measure(measure.Request(plan=plan), tmp_path / "out", say=lambda _: None)
    assert list(tmp_path.iterdir()) == []


def call(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["measure", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modes", "userspace"], "--modes must be modes"),
        (["--services", "0"], "--services must be numbers in 1..60000"),
        (["--services", "1,many"], "--services must be numbers in 1..60000"),
        (["--kubernetes", "next"], "--kubernetes must be a Kubernetes version"),
    ],
)
def test_bad_options_are_refused_in_words(arguments: list[str], message: str, tmp_path: Path) -> None:
    answer = call("--out", str(tmp_path / "out"), *arguments)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lacking", ["Linux; this is Plan9", "root, or the capabilities CAP_NET_ADMIN"])
def test_a_machine_that_cannot_is_told_so_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lacking: str
) -> None:
    monkeypatch.setattr(system, "missing", lambda: lacking)
    monkeypatch.setattr(measure, "environment", None)  # It may not even be looked at.
    answer = call("--out", str(tmp_path / "out"))
    assert answer.exit_code == 2, answer.output
    assert f"measure needs {lacking}" in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("machine")
def test_without_any_mode_the_reasons_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backends, "refusal", lambda _, name, __: f"no {name} today")
    with pytest.raises(InputError, match=r"no mode .*\n.*nftables is left out: no nftables today"):
        measure.measure(measure.Request(plan=TINY), tmp_path / "out", say=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("machine")
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "_probe", None)  # The work; it must not be reached.
    (tmp_path / "in-the-way").write_text("a file")
    for out in ("in-the-way", "in-the-way/below"):
        answer = call("--out", str(tmp_path / out))
        assert answer.exit_code == 2, answer.output


@pytest.mark.usefixtures("machine")
def test_a_size_that_cannot_be_loaded_is_left_out_with_all_larger_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load = backends.load

    def limited(bed: testbed.Bed, backend: str, view: Any) -> dict[str, float]:
        if len(view.ports) > 3:
            raise system.CommandError("not done within 180 s")
        return load(bed, backend, view)

    monkeypatch.setattr(backends, "load", limited)
    plan = replace(
        TINY, services=(1, 4, 5, 6, 7, 8), backends=("iptables-legacy",), paths=False, endpoints=()
    )
    plan = replace(plan, affinity=(), distribution=(), cold=(), one_rule=())
    said: list[str] = []
    measure.measure(measure.Request(plan=plan), tmp_path / "out", say=said.append)
    sizes = [int(sentence.split()[1]) for sentence in said]
    assert sizes == sorted(set(sizes), reverse=True)
    assert sizes[-1] == 4
    assert all(
        re.fullmatch(r"iptables-legacy: [4-8] Services or more are left out: not done .*", s) for s in said
    )
    assert {row["services"] for row in read(tmp_path / "out", tables.SERVICES)} == {"0", "1"}


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("machine")
def test_a_signal_ends_a_measurement_and_nothing_is_left(tmp_path: Path, stop: int) -> None:
    command = [sys.executable, "-m", "nodeportsim", "measure", "--smoke", "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            prefix = f"nps-*-{running.pid}-*"
            while not list(testbed.NAMESPACES.glob(prefix)):  # The work begins.
                assert running.poll() is None
                time.sleep(0.05)
            time.sleep(1)
            running.send_signal(stop)
            _, stderr = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130
    assert stderr.endswith("interrupted; nothing was written\n")
    assert list(tmp_path.iterdir()) == []
    assert list(testbed.NAMESPACES.glob(prefix)) == []
