"""An experiment is its grid: every cell once, alike, in one tidy table; what is said follows from it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from nodeportsim.engine import simulate as engine
from nodeportsim.errors import InputError
from nodeportsim.metrics.intervals import t_factor
from nodeportsim.scenario.documents import Source
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.read import read
from nodeportsim.scenario.spec import Run, Scenario
from nodeportsim.study.experiment import (
    Experiment,
    cells,
    conclusions,
    experiments,
    find,
    read_experiment,
    run_experiment,
)
from nodeportsim.study.findings import Findings, flattened
from nodeportsim.study.phases import state
from nodeportsim.study.uncertainty import sample

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.scenario.profile import Profile

GRID = """\
apiVersion: nodeportsim/v1
kind: Experiment
question: Does it matter?
scenario: base.yaml
variants: {few: {replicas: 2}, many: {replicas: 5}}
vary: {clients.count: [5, 20], proxy.mode: [iptables, ipvs]}
metrics: [requests.failed, latency_s.p50]
"""


def experiment(extra: str = "") -> Experiment:
    return read_experiment(Source(file="experiment.yaml", text=GRID + extra))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base scenario, and an engine that makes its replications up: slower with more pods."""

    def simulate(scenario: Any, replication: int = 0, **_: Any) -> synthetic.Replication:
        service_s = 0.001 * scenario.service.replicas
        return synthetic.replication(replication, duration_s=5, fault=(1.0, 2.0), service_s=service_s)

    monkeypatch.setattr(engine, "simulate", simulate)
    (tmp_path / "base.yaml").write_text("run: {duration: 5s, replications: 12}\n")
    return tmp_path


def test_the_cells_are_the_product_of_variants_and_values() -> None:
    expected = list(itertools.product(("few", "many"), (5, 20), ("iptables", "ipvs")))
    assert [(c.variant, *c.point.values()) for c in cells(experiment())] == expected
    assert next(cells(experiment())).sets == ("replicas=2", "clients.count=5", "proxy.mode=iptables")


def test_cases_are_crossed_with_variants_and_have_a_column_of_their_own() -> None:
    plan = Experiment(
        kind="Experiment",
        question="Why?",
        scenario="x",
        variants={"few": {"replicas": 2}, "many": {"replicas": 5}},
        cases={"calm": {}, "cut": {"connect": "1s"}},
        vary={"nodes": (3,)},
    )
    labels = [cell.labels for cell in cells(plan)]
    assert labels == [
        {"variant": variant, "case": case, "nodes": 3}
        for variant in ("few", "many")
        for case in ("calm", "cut")
    ]
    assert [cell.sets for cell in cells(plan)][1] == ("replicas=2", "connect=1s", "nodes=3")


def test_the_table_has_one_row_a_cell_and_metric(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    findings = run_experiment(experiment(), folder, progress=lambda done, total: told.append((done, total)))
    table = findings.table
    assert list(table) == [
        "variant",
        "clients.count",
        "proxy.mode",
        "metric",
        "estimate",
        "low",
        "high",
        "closed_form",
    ]
    assert len(table) == 8 * 2
    assert not table.duplicated(["variant", "clients.count", "proxy.mode", "metric"]).any()
    assert told == [(cell, 8) for cell in range(1, 9)]


def test_a_curve_is_the_table_in_the_figure_s_own_words(folder: Path) -> None:
    shape = "name: hottest_pod, x: clients.count, xColumn: connections, variants: [few]"
    panels = "[{metric: latency_s.p50, scale: 1e3, where: {proxy.mode: ipvs}}]"
    findings = run_experiment(experiment(f"figures: [{{{shape}, panels: {panels}}}]\n"), folder)
    curve, table = findings.figures["hottest_pod"], findings.table
    few = table[(table["metric"] == "latency_s.p50") & (table["variant"] == "few")]
    rows = few[few["proxy.mode"] == "ipvs"].reset_index()
    assert list(curve) == ["series", "connections", "kind", "estimate", "low", "high"]
    assert curve["estimate"].tolist() == pytest.approx((rows["estimate"] * 1e3).tolist(), rel=1e-8)
    assert curve["connections"].tolist() == rows["clients.count"].tolist() == [5, 20]


def test_a_panel_with_minus_is_the_paired_difference(folder: Path) -> None:
    """Service takes 1 ms a replica and wire the rest, so the same draws give a difference of exactly 0."""
    shape = "name: hottest_pod, x: clients.count, xColumn: connections"
    panel = "{metric: latency_mean_s, where: {proxy.mode: ipvs}, minus: {proxy.mode: iptables}}"
    curve = run_experiment(experiment(f"figures: [{{{shape}, panels: [{panel}]}}]\n"), folder).figures
    assert len(curve["hottest_pod"]) == 2 * 2
    assert (curve["hottest_pod"][["estimate", "low", "high"]] == 0).all(axis=None)


def test_a_figure_over_seconds_counts_from_the_first_event(folder: Path) -> None:
    base = "run: {duration: 5s, replications: 12}\nevents: [{at: 2s, fault: power-off, node: node-1}]\n"
    (folder / "base.yaml").write_text(base)
    shape = "name: failure_retry, x: second, xColumn: since_fault_s, variants: [many]"
    panels = "[{metric: failed_ratio, scale: 100}, {metric: latency_mean_s}]"
    plan = experiment(f"figures: [{{{shape}, panels: {panels}}}]\n".replace("many]", "few]"))
    curve = run_experiment(plan, folder).figures["failure_retry"]
    assert sorted(set(curve["since_fault_s"])) == [-2, -1, 0, 1, 2]
    assert set(curve["panel"]) == {0, 1}
    # The made-up engine's own fault lasts from 1 s to 2 s, and nothing fails outside.
    failed = curve[(curve["panel"] == 0) & (curve["kind"] == "simulated")].groupby("since_fault_s")[
        "estimate"
    ]
    assert failed.max().to_dict() == pytest.approx({-2: 0, -1: failed.max()[-1], 0: 0, 1: 0, 2: 0})
    assert failed.max()[-1] > 0


def test_with_uncertainty_every_interval_of_an_experiment_holds_the_errors_of_the_prices(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests of 1 ns for every ns and pod: effects are prices times pods, and differ by 3 pods' worth."""

    def simulate(scenario: Any, replication: int = 0, *, profile: Profile, **_: Any) -> Any:
        every_ns = int(profile.host.connect_ns.value * 1000) * scenario.service.replicas
        return synthetic.replication(replication, duration_s=5, every_ns=every_ns)

    monkeypatch.setattr(engine, "simulate", simulate)
    (folder / "base.yaml").write_text("run: {duration: 5s, replications: 12, uncertainty: true}\n")
    minus = "panels: [{metric: latency_mean_s, minus: {clients.count: 5}}]"
    plan = experiment(
        f"figures:\n  - {{name: rotation, x: clients.count, xColumn: n, {minus}}}\n"
        "  - {name: failure_retry, x: second, xColumn: t, panels: [{metric: latency_mean_s}]}\n"
    ).model_copy(update={"metrics": ("latency_mean_s",)})
    found = run_experiment(plan, folder)
    base = Scenario(run=Run(replications=12, uncertainty=True))
    profile = load_profile("kernel-6.18")
    prices_s = [sample(base, profile, k).host.connect_ns.value * 1e-6 for k in range(12)]
    half_s = t_factor(12) * np.std(prices_s, ddof=1) * np.sqrt(1 + 1 / 12)
    rows = found.table[found.table["proxy.mode"] == "iptables"]
    for variant, pods in (("few", 2), ("many", 5)):
        row = rows[rows["variant"] == variant].iloc[0]
        assert row["high"] - row["estimate"] == pytest.approx(pods * half_s, rel=1e-3)
        seconds = found.figures["failure_retry"].query("series == @variant")
        # A ratio of totals: replications with more requests in that second weigh more.
        assert (seconds["high"] - seconds["estimate"]).to_numpy() == pytest.approx(pods * half_s, rel=0.05)
    assert (found.figures["rotation"][["estimate", "low", "high"]] == 0).all(axis=None)


def test_pairs_compare_cells_at_the_same_point(folder: Path) -> None:
    extra = "paired: {baseline: few, metrics: [latency_mean_s]}\n"
    pairs = run_experiment(experiment(extra), folder).figures["paired"]
    assert list(pairs["variant"]) == [
        f"many, clients.count {count}, proxy.mode {mode}"
        for count in (5, 20)
        for mode in ("iptables", "ipvs")
    ]
    # 2 ms of service against 5 ms, the same draws, so every pair differs by the same.
    assert pairs["difference"].max() == pairs["difference"].min() > 0
    assert (pairs["low_ratio"] > 0).all()


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        ("paired: {baseline: nobody}\n", "must be one of few, many"),
        ("paired: {baseline: few, metrics: [speed]}\n", "must be of failed_ratio"),
        ("figures: [{name: x, x: nodes, xColumn: y, panels: [{metric: m}]}]\n", "must be a path of vary"),
        (
            "figures: [{name: x, x: second, xColumn: y, panels: [{metric: m}], variants: [all]}]\n",
            "be of few, many",
        ),
        ("figure: []\n", "did you mean figures?"),
        (
            "figures: [{name: x, x: second, xColumn: y, panels: [{metric: m, where: {clients.count: 9}}]}]\n",
            "must be case or paths of vary, with a value of theirs",
        ),
        ("question: again\n", "twice"),
    ],
)
def test_a_wrong_experiment_is_refused_with_its_place(extra: str, rule: str) -> None:
    with pytest.raises(InputError, match=r"experiment.yaml:\d+:\d+: ") as error:
        experiment(extra)
    assert rule in str(error.value)


def test_a_wrong_cell_stops_the_experiment_before_the_first_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "simulate", None)
    wrong = GRID.replace("[iptables, ipvs]", "[iptables, ebpf]")
    with pytest.raises(InputError, match="ebpf"):
        run_experiment(read_experiment(Source(file="e.yaml", text=wrong)), folder)


@pytest.mark.usefixtures("folder")
def test_metrics_that_no_run_has_are_refused(folder: Path) -> None:
    none = GRID.replace("requests.failed, latency_s.p50", "speed")
    with pytest.raises(InputError, match="name no measure"):
        run_experiment(read_experiment(Source(file="e.yaml", text=none)), folder)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("figure", "rule"),
    [
        ("x: clients.count, panels: [{metric: speed}]", "must be a measure of these runs"),
        ("x: second, panels: [{metric: latency_s.p50}]", "must be of failed_ratio, latency_mean_s"),
        (
            "x: clients.count, panels: [{metric: latency_s.p50, minus: {proxy.mode: ipvs}}]",
            "must be of attempts_per_request",
        ),
    ],
)
def test_a_figure_of_what_no_run_has_is_refused_after_the_first_cell(
    folder: Path, figure: str, rule: str
) -> None:
    told: list[int] = []
    plan = experiment(f"figures: [{{name: hottest_pod, xColumn: connections, {figure}}}]\n")
    with pytest.raises(InputError, match=rule):
        run_experiment(plan, folder, progress=lambda done, _: told.append(done))
    assert told == []


def test_measures_are_the_numbers_of_a_summary() -> None:
    summary = {
        "attempts": 3,
        "latency_s": {"p50": {"estimate": 0.1, "low": None, "high": None, "reason": "few"}},
        "nodes": [{"rank": 1}],
        "ok": True,
        "provenance": {"seed": 1},
    }
    assert list(flattened(summary)) == [
        {"metric": "attempts", "estimate": 3.0, "low": None, "high": None},
        {"metric": "latency_s.p50", "estimate": 0.1, "low": None, "high": None},
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [(1.0, 0.9, 1.1), (2.0, 1.9, 2.1)],
            "from 1 [0.9, 1.1] (few) to 2 [1.9, 2.1] (many); the 95 % intervals do not",
        ),
        (
            [(2.0, 1.0, 3.0), (1.0, 0.5, 1.5)],
            "from 1 [0.5, 1.5] (many) to 2 [1, 3] (few); the 95 % intervals overlap",
        ),
        ([(1.0, None, None), (2.0, None, None)], "from 1 (few) to 2 (many); there are no intervals"),
        ([(0.0, None, None), (0.0, None, None)], "0 in every cell"),
    ],
)
def test_conclusions_say_what_the_table_says(rows: list[tuple[float, Any, Any]], said: str) -> None:
    plan = Experiment(kind="Experiment", question="Why?", scenario="x", variants={"few": {}, "many": {}})
    table = pd.DataFrame(rows, columns=["estimate", "low", "high"], dtype=float)
    table = table.assign(variant=["few", "many"], metric="m")
    text = conclusions(plan, Findings(table=table, figures={}))
    assert text.startswith("# Why?\n\n- `m`: ")
    assert said in text


def test_our_experiments_are_usable_in_every_cell() -> None:
    assert experiments() == [
        "affinity_sources",
        "capacity_sizing",
        "client_choice",
        "conntrack_wall",
        "load_test",
        "newborn_pods",
        "node_failure_retry",
        "proxy_mode_latency",
        "proxy_mode_sync",
        "rolling_update",
        "traffic_policy",
        "uneven_distribution",
    ]
    for name in experiments():
        plan, home = find(name)
        for cell in cells(plan):
            read(home / plan.scenario, sets=cell.sets)


def test_an_experiment_that_is_not_there_is_suggested() -> None:
    with pytest.raises(InputError, match="did you mean node_failure_retry"):
        find("node_failure_retries")


MAP = """\
apiVersion: nodeportsim/v1
kind: Experiment
question: Where do retries keep the service down?
scenario: base.yaml
variants: {none: {retry.attempts: 1}, four: {retry.attempts: 4}}
vary: {clients.rate: [100/s, 300/s]}
metrics: [recovered_ratio]
"""


def mapped(diagram: str) -> Experiment:
    return read_experiment(Source(file="experiment.yaml", text=f"{MAP}phaseDiagram: {{{diagram}}}\n"))


def test_the_phase_diagram_has_a_cell_for_every_load_and_policy(folder: Path) -> None:
    """The made-up engine answers all it is offered: every cell comes back."""
    result = run_experiment(mapped("x: clients.rate, y: variant, xLabel: load"), folder)
    diagram = result.figures["phase_diagram"]
    assert diagram[["x", "y"]].to_numpy().tolist() == [
        ["100/s", "none"],
        ["300/s", "none"],
        ["100/s", "four"],
        ["300/s", "four"],
    ]
    told = result.table.set_index(["variant", "clients.rate"])["estimate"]
    assert diagram["estimate"].tolist() == told.tolist()
    assert set(diagram["state"]) == {"recovers"}
    assert (diagram["x_label"] == "load").all()
    assert (diagram["y_label"] == "variant").all()


@pytest.mark.parametrize(
    ("ends", "before", "recovered", "expected"),
    [
        ("for: 10s", 1.0, 0.5, "metastable"),
        ("for: 10s", 1.0, 0.9, "recovers"),
        ("for: 10s", 0.8, 0.0, "overloaded before"),
        ("for: 30s", 1.0, 0.5, "trigger still there"),  # 20 s + 30 s is after 45 s of 60 s.
        ("for: 25s", 1.0, 0.5, "metastable"),
        ("", 1.0, 0.5, "trigger still there"),
    ],
)
def test_metastable_is_what_outlives_its_trigger(
    ends: str, before: float, recovered: float, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "scenario.yaml"
    event = f"{{at: 20s, fault: cut, node: node-1, {ends}}}"
    file.write_text(f"run: {{duration: 60s}}\nevents: [{event}]\n")
    assert state(read(str(file)), before, recovered) == expected


@pytest.mark.parametrize(
    ("diagram", "rule"),
    [
        ("x: clients.rate, y: clients.rate", "must be two of: a path of vary, variant, case"),
        ("x: clients.rate, y: case", "must be two of: a path of vary, variant, case"),
        ("x: proxy.mode, y: variant", "must be two of: a path of vary, variant, case"),
    ],
)
def test_a_phase_diagram_of_what_does_not_vary_is_refused(diagram: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        mapped(diagram)


def test_a_phase_diagram_that_leaves_an_axis_out_is_refused() -> None:
    text = (
        MAP.replace("vary: {", "vary: {clients.count: [5, 20], ")
        + "phaseDiagram: {x: clients.rate, y: variant}\n"
    )
    with pytest.raises(InputError, match="must have one value"):
        read_experiment(Source(file="experiment.yaml", text=text))
