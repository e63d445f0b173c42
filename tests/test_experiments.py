"""The published results: still what the code gives, and still what the pages say they are."""

from __future__ import annotations

import re
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nodeportsim.cli import main
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.read import read
from nodeportsim.study.expected import closed_forms
from nodeportsim.study.experiment import Experiment, cells, experiments, find
from nodeportsim.study.findings import digest
from nodeportsim.study.run import run
from nodeportsim.theory.balance import local_shares

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "docs" / "five-figures.md",
    *(page.with_name("README.md") for page in sorted(ROOT.glob("experiments/*/experiment.yaml"))),
]
UNITS = {"": 1.0, "%": 0.01, "s": 1.0, "ms": 1e-3, "µs": 1e-6}
EVIDENCE = r"^\| ([^|]+) \| (?:`(\w+)` \| )?`([^|`]+)` \| `([\w.]+)` \| (\w+) \|$"
MEBIBYTE = 2**20


@cache
def table(name: str) -> pd.DataFrame:
    """An experiment's stored table, its cells named as `cell_name` does."""
    rows = pd.read_csv(ROOT / "results" / name / "table.csv")
    labels = rows.columns[: list(rows.columns).index("metric")]
    return rows.assign(cell=[", ".join(map(str, row)) for row in rows[labels].to_numpy()])


def cell_name(labels: dict[str, Any]) -> str:
    return ", ".join(map(str, labels.values()))


def stored(name: str, cell: str, metric: str) -> pd.Series[Any]:
    rows = table(name)
    found = rows[(rows["cell"] == cell) & (rows["metric"] == metric)]
    assert len(found) == 1, (name, cell, metric)
    return found.iloc[0]


def quoted(page: Path) -> list[tuple[str, str, str, str, str]]:
    """Rows of a page's tables of evidence: what is said, experiment, cell, metric, column."""
    own = page.parent.name
    rows = re.findall(EVIDENCE, page.read_text(), flags=re.MULTILINE)
    return [(said, name or own, cell, metric, column) for said, name, cell, metric, column in rows]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: "/".join(page.parts[-2:]))
def test_a_page_says_the_numbers_of_the_tables_as_precisely_as_it_says_them(page: Path) -> None:
    rows = quoted(page)
    assert len(rows) == page.read_text().count("| estimate |") + page.read_text().count("| closed_form |") > 0
    prose = "\n".join(line for line in page.read_text().splitlines() if not line.startswith("|"))
    for said, name, cell, metric, column in rows:
        number, _, unit = said.partition(" ")
        decimals = len(number.partition(".")[2])
        value = stored(name, cell, metric)[column] / UNITS[unit]
        assert f"{value:,.{decimals}f}" == number, (said, name, cell, metric, value)
        assert re.search(rf"(?<![\d.,]){re.escape(said)}(?![\d])", prose), (
            f"{said} is not said in {page.name}"
        )


def test_every_experiment_has_its_results_and_they_fit_into_a_repository() -> None:
    for name in experiments():
        files = {path.name: path for path in (ROOT / "results" / name).iterdir()}
        plan, _ = find(name)
        pictures = {f"{curve.name}.{kind}" for curve in plan.figures for kind in ("svg", "png", "csv")}
        assert {"table.csv", "conclusions.md", *pictures} <= files.keys()
        assert all(path.stat().st_size < 2 * MEBIBYTE for path in files.values())


def test_a_stored_table_has_every_cell_of_its_experiment_and_no_other() -> None:
    for name in experiments():
        plan, _ = find(name)
        assert list(table(name)["cell"].unique()) == [cell_name(cell.labels) for cell in cells(plan)]


def test_the_stored_closed_forms_are_what_theory_says_of_the_cells() -> None:
    for name in experiments():
        plan, home = find(name)
        for cell in cells(plan):
            forms = closed_forms(read(home / plan.scenario, sets=cell.sets))
            for metric, form in forms.items():
                rows = table(name)
                if metric in set(rows["metric"]):
                    said = stored(name, cell_name(cell.labels), metric)["closed_form"]
                    assert said == pytest.approx(form, rel=1e-8)


# A cell of each experiment that one replication answers within a second or two.
QUICK = [
    ("client_choice", "latency aware", "failed_requests"),
    ("conntrack_wall", "Local, 50/s", "conntrack_peak"),
    ("node_failure_retry", "no retry, power-off", "failed_requests"),
    ("node_failure_retry", "keep-alive, power-off", "failed_requests"),
    ("proxy_mode_latency", "iptables, 10000, node-2", "rules_s"),
    ("traffic_policy", "PreferSameZone, 5 on 6 nodes", "balance.pods.max_over_mean"),
    ("uneven_distribution", "balancer, iptables, 20", "balance.pods.max_over_mean"),
]


def once(name: str, cell: str, metric: str) -> tuple[float, int]:
    """Run replication 0 of a cell, and say how many the stored table has."""
    plan, home = find(name)
    chosen = next(each for each in cells(plan) if cell_name(each.labels) == cell)
    replications = read(home / plan.scenario, sets=chosen.sets).run.replications
    scenario = read(home / plan.scenario, sets=(*chosen.sets, "run.replications=1"))
    plain = Experiment(kind="Experiment", question="", scenario="")
    rows = digest(plain, chosen, run(scenario, engine="simpy")).rows
    return rows[metric]["estimate"], replications


@pytest.mark.parametrize(("name", "cell", "metric"), QUICK)
def test_one_replication_lies_where_the_stored_interval_predicts_it(
    name: str, cell: str, metric: str
) -> None:
    """One more value lies within mean ± t s sqrt(1 + 1/n); s comes from the half-width t95 s / sqrt(n)."""
    value, n = once(name, cell, metric)
    row = stored(name, cell, metric)
    deviation = (row["high"] - row["low"]) / 2 * sqrt(n) / stats.t.ppf(0.975, n - 1)
    reach = stats.t.ppf(1 - 1e-4 / 2, n - 1) * deviation * sqrt(1 + 1 / n)
    assert abs(value - row["estimate"]) <= reach + 1e-8 * abs(row["estimate"])


# Simulated against closed form where the form is exact, not a bound: (experiment, metric, its cells).
EXACT = [
    ("client_choice", "phases.during.failed_ratio", "DNS round robin|random"),
    ("client_choice", "failed_requests", "DNS round robin|random"),
    ("node_failure_retry", "phases.during.failed_ratio", "no retry, power-off"),
    ("node_failure_retry", "failed_requests", "(no retry|retry, .*|next node.*|keep-alive), power-off"),
    ("affinity_sources", "balance.pods.idle", "one entry node, (1|3|10|30)"),
    ("traffic_policy", "routes.other_node_ratio", "Cluster, .*"),
    ("uneven_distribution", "balance.pods.max_over_mean", "balancer, iptables, .*"),
    ("uneven_distribution", "saturated_ratio", "balancer, iptables, .*"),
]


@pytest.mark.parametrize(("name", "metric", "pattern"), EXACT)
def test_closed_forms_lie_within_four_standard_errors(name: str, metric: str, pattern: str) -> None:
    """At 40 replications and more, twice a 95 % half-width is 4 standard errors: 1 in 5,000 lies outside."""
    rows = table(name)
    rows = rows[(rows["metric"] == metric) & rows["cell"].str.fullmatch(pattern)].dropna()
    assert len(rows) >= 1
    half = (rows["high"] - rows["low"]) / 2
    middle = (rows["high"] + rows["low"]) / 2
    assert (abs(rows["closed_form"] - middle) <= 2 * half + 1e-9).all()


def test_who_knows_the_dead_node_loses_the_share_of_its_pods_and_who_learns_lies_in_between() -> None:
    """Four standard errors, as above; 4 dead pods of 20, and 3 of 19 for the last part of the phase.

    How large a part follows from round robin's closed form, which has the same two steps.
    """
    rows = table("client_choice").query("metric == 'phases.during.failed_ratio'").set_index("variant")
    half = (rows["high"] - rows["low"]) / 2
    early, late = (1 - 0.8 * (1 - share) for share in (4 / 20, 3 / 19))
    part = (early - rows["closed_form"]["DNS round robin"]) / (early - late)
    expected = (1 - part) * 4 / 20 + part * 3 / 19
    assert abs(rows["estimate"]["all-knowing"] - expected) <= 2 * half["all-knowing"]
    order = ["all-knowing", "latency aware", "power of two", "DNS round robin"]
    assert (rows["high"][order[:-1]].to_numpy() < rows["low"][order[1:]].to_numpy()).all()


def test_rules_cost_what_the_lines_say_until_the_cache_ends() -> None:
    """Up to 1,000 Services the walk is 244 kB of rules, far below the 2.7 MB at which half of it is cold.

    At 30,000 it is 7.3 MB: all but the base costs the cold price, and the base is less than a tenth.
    """
    rows = table("proxy_mode_latency").query("metric == 'rules_s'")
    hot = rows[rows["background.services"] <= 1000]
    assert np.allclose(hot["estimate"], hot["closed_form"], rtol=2e-3)
    prices = load_profile("kernel-6.18").prices("iptables-nft")
    colder = prices.address_mismatch_cold_ns.value / prices.address_mismatch_hot_ns.value
    cold = rows[(rows["background.services"] == 30_000) & (rows["variant"] == "iptables")]
    ratio = cold["estimate"] / cold["closed_form"]
    assert len(ratio) == 2
    assert ((ratio > 1 + 0.9 * (colder - 1)) & (ratio <= colder)).all()


PODS_BY_NODE = {
    "2+1 on 2 nodes": (2, 1),
    "3 on 6 nodes": (1, 1, 1, 0, 0, 0),
    "5 on 6 nodes": (1, 1, 1, 1, 1, 0),
    "1 each": (1,) * 6,
    "6+2+1+1+1+1": (6, 2, 1, 1, 1, 1),
    "5 each": (5,) * 6,
}


@pytest.mark.parametrize("case", PODS_BY_NODE)
def test_where_one_pod_answers_a_node_or_zone_its_load_is_the_part_that_enters_there(case: str) -> None:
    """Local, even over the nodes with pods: the largest of its shares, times P, is the hottest over the mean.

    With hints the same of zones: a pod gets c_z / k_z of all, c_z of the entries and k_z pods in its zone.
    Entries are counted out in turn, so only chance among pods of one node or zone is left: it only adds, and
    in 10,000 requests of at least 333 a pod it adds less than 4 standard deviations of the luckiest.
    """
    pods = PODS_BY_NODE[case]
    zones = min(3, len(pods))
    by_zone = [sum(pods[z::zones]) for z in range(zones)]
    expected = {
        "Local": max(local_shares(pods)) * sum(pods),
        "PreferSameZone": max(sum(pods) / zones / k for k in by_zone),
    }
    for policy, hottest in expected.items():
        seen = stored("traffic_policy", f"{policy}, {case}", "balance.pods.max_over_mean")["estimate"]
        luck = 4 * sqrt(sum(pods) / 10_000)
        assert hottest * (1 - 1e-3) <= seen <= hottest * (1 + luck)


def test_what_enters_a_node_without_a_pod_is_lost_under_local() -> None:
    for case, pods in PODS_BY_NODE.items():
        row = stored("traffic_policy", f"Local by DNS, {case}", "failed_ratio")
        assert row["closed_form"] == pytest.approx(pods.count(0) / len(pods))
        assert row["estimate"] == pytest.approx(
            row["closed_form"], abs=1 / 10_000
        )  # The turn's first and last.


def test_no_more_short_connections_than_the_conntrack_wall_get_through() -> None:
    """The fluid limit is a bound: entries go at whole seconds, so a freed place stays empty for a while."""
    rows = table("conntrack_wall").query("metric == 'failed_ratio'")
    assert (rows["high"] >= rows["closed_form"]).all()
    assert (rows["estimate"] - rows["closed_form"] < 0.02).all()


@pytest.mark.long
@pytest.mark.parametrize("name", experiments())
def test_the_published_results_are_the_same_bytes_when_made_again(name: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["experiment", name, "--out", str(tmp_path / name), "--quiet"])
    assert ended.value.code == 0
    again = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    assert again == {path.name: path.read_bytes() for path in (ROOT / "results" / name).iterdir()}
