"""Sizing: what is asked is read or refused, screens are sound, the search finds what trying all finds."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import synthetic
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.cli import main
from nodeportsim.errors import InputError
from nodeportsim.metrics.intervals import Estimate
from nodeportsim.scenario.spec import Scenario
from nodeportsim.study import slo, space, survive, trial
from nodeportsim.study.highest import STEP, highest
from nodeportsim.study.search import smallest
from nodeportsim.study.size import Question, screened, search
from nodeportsim.study.slo import Limit, parse_slo
from nodeportsim.study.trial import Bench, replicate

if TYPE_CHECKING:
    from click.testing import Result

    from nodeportsim.study.space import Design

ROOT = Path(__file__).parents[2]


def small(**more: Any) -> Scenario:
    """A scenario whose trial takes milliseconds."""
    fields: dict[str, Any] = {
        "cluster": {"nodes": 3, "zones": 3},
        "service": {"replicas": 4},
        "pods": {"workers": 1, "service_time": {"dist": "exponential", "mean_s": 0.01}},
        "clients": [{"rate_rps": 100.0, "count": 10}],
        "run": {"duration_s": 5.0, "replications": 10},
    }
    return Scenario.model_validate(fields | more, by_name=True)


def asked(
    scenario: Scenario, limits: str, *, nodes: range, pods: range, loss: str | None = "node=1"
) -> Question:
    group = scenario.clients[0]
    return Question(
        scenario=scenario,
        space=space.Space(
            nodes=nodes,
            pods=pods,
            workers=(scenario.pods.workers,),
            modes=(scenario.cluster.proxy.mode,),
            policies=(scenario.service.external_traffic_policy,),
            entries=(group.entry.policy,),
        ),
        cost=space.Cost(node=1.0, pod=0.3),
        bench=Bench(slo=parse_slo(limits), loss=None if loss is None else survive.parse_loss(loss)),
    )


# Limits, as they are written.


def test_limits_are_read_in_their_units() -> None:
    found = parse_slo("p99<50ms, errors <= 0.1% and max_over_mean<1.3")
    assert [(one.name, one.bound, one.allowed) for one in found] == [
        ("p99", 0.05, False),
        ("errors", 0.001, True),
        ("max_over_mean", 1.3, False),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p9<50ms", "did you mean p99"),
        ("latency<50ms", "is not a metric"),
        ("p99", "must be a measure"),
        ("", "must be limits"),
        (" , ", "must be limits"),
        ("p99<50", "one of the units"),
        ("errors<1", "one of the units"),
        ("max_over_mean<even", "must be a number"),
        ("max_over_mean<nan", "must be finite"),
        ("errors<0%", "contradicts itself: nothing is below 0"),
        ("errors<0", "contradicts itself"),
        ("p99<=0", "contradicts itself"),
        ("max_over_mean<1", "contradicts itself: nothing is below 1"),
        ("p99<10ms and p99>20ms", "nothing is <10ms and >20ms"),
        ("p99>20ms", "must be limited from above"),
        ("p99<10ms,p99<20ms", "is limited twice"),
        ("p99<50ms," * 60, "must be limits"),
    ],
)
def test_a_limit_that_nothing_keeps_to_or_nobody_knows_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_slo(text)


@pytest.mark.parametrize(
    ("estimate", "verdict"),
    [
        (Estimate(estimate=9.0, low=8.0, high=9.9), "holds"),
        (Estimate(estimate=9.0, low=8.0, high=10.0), "open"),
        (Estimate(estimate=11.0, low=10.0, high=12.0), "fails"),
        (Estimate(estimate=11.0), "open"),  # Too few replications, and near.
        (Estimate(estimate=20.1), "fails"),  # ... and far.
        (Estimate(estimate=0.0, low=0.0), "holds"),  # No failure was seen.
        (Estimate(estimate=None, reason="none"), "open"),
    ],
)
def test_the_upper_end_of_the_interval_decides(estimate: Estimate, verdict: str) -> None:
    limit = Limit(name="x", text="<10", bound=10.0, allowed=False, measure=lambda _: estimate)
    assert limit.judge([]).verdict == verdict


def test_every_measure_is_that_of_the_summary() -> None:
    from nodeportsim.metrics.summarise import summarise

    runs = [synthetic.replication(n, duration_s=20, fault=(5.0, 8.0)) for n in range(12)]
    summary = summarise(runs, **synthetic.NAMES)  # type: ignore[arg-type]
    said = {
        "p50": summary["latency_s"]["p50"],
        "p99": summary["latency_s"]["p99"],
        "mean": summary["latency_s"]["mean"],
        "max_over_mean": summary["balance"]["pods"]["max_over_mean"],
    }
    for name, row in said.items():
        estimate = slo.MEASURES[name][0](runs)  # type: ignore[arg-type]
        assert estimate.estimate == pytest.approx(row["estimate"], rel=1e-8)
        assert estimate.high == pytest.approx(row["high"], rel=1e-8)
    failed, offered = (sum(getattr(run, name) for run in runs) for name in ("failed", "offered"))
    assert slo.MEASURES["errors"][0](runs).estimate == pytest.approx(failed / offered)  # type: ignore[arg-type]
    assert slo.DURING["lost"][0](runs).estimate == pytest.approx(failed / len(runs))  # type: ignore[arg-type]


# Space, cost, loss.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--nodes", "5..2"], "is empty"),
        (["--nodes", "0..2"], "must be within 1..5,000"),
        (["--pods", "many"], "must be a range"),
        (["--workers", ","], "is empty"),
        (["--modes", "iptabels"], "must be of iptables, ipvs, nftables"),
        (["--policies", ""], "must be of Cluster, Local"),
        (["--cost", "node=0,pod=1"], "must be above 0"),
        (["--cost", "node=1e999"], "must be above 0 and finite"),
        (["--cost", "rack=1"], "must be prices"),
        (["--survive", "rack=1"], "must be node=N or zone=N"),
        (["--survive", "node=0"], "must be node=N or zone=N"),
        (["--survive", "node=4", "--nodes", "2..4"], "leaves none of at most 4 nodes"),
        (["--survive", "zone=1"], "leaves none of at most 1 zones"),
        (["--slo-during", "lost<5"], "needs --survive"),
        (["--slo-during", "p99<5ms", "--survive", "node=1"], "is not a metric"),
        (["--nodes", "1..5000"], "at most 2,000 are looked at"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_before_the_work(
    options: list[str], words: str
) -> None:
    answer = call("size", "--example", "guide", "--slo", "p99<50ms", *options)
    assert answer.exit_code == 2, answer.output
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_groups_keep_their_own_entry_policies_unless_another_is_asked_for() -> None:
    groups = [{"entry": {"policy": policy, "ttl_s": 3.0}} for policy in ("random", "dns-round-robin")]
    scenario = small(clients=groups)
    for typed, expected in ((None, ["random", "dns-round-robin"]), ("balancer", ["balancer"] * 2)):
        (family, *_) = space.space_of(scenario, {"entries": typed}).families()
        assert [group.entry.policy for group in family.applied(scenario).clients] == expected


def test_a_design_costs_its_parts() -> None:
    design = space.Design(nodes=3, pods=10, workers=4, mode="iptables", policy="Cluster", entry="random")
    assert space.parse_cost("node=2,pod=0.5").of(design) == 11
    assert space.parse_cost("node=2, worker=0.1").of(design) == 10


@given(nodes=st.integers(2, 9), pods=st.integers(2, 20), zones=st.integers(1, 3), lost=st.integers(1, 3))
@settings(max_examples=50)
def test_what_is_left_is_the_cluster_without_its_worst_nodes(
    nodes: int, pods: int, zones: int, lost: int
) -> None:
    scenario = small(cluster={"nodes": nodes, "zones": zones}, service={"replicas": pods})
    gone = survive.lost_nodes(scenario, survive.Loss(kind="node", count=lost))
    assert len(gone) == min(lost, nodes)
    held = {name: sum(pod.node == name for pod in scenario.placement) for name in scenario.cluster.names}
    kept = set(held) - set(gone)
    assert not kept or min(held[name] for name in gone) >= max(held[name] for name in kept)
    rest = survive.without(scenario, gone)
    if rest is None:
        assert sum(held[name] for name in kept) == 0
        return
    assert set(rest.cluster.names) == kept
    assert rest.service.replicas == sum(held[name] for name in kept)
    assert {pod.name for pod in rest.placement} <= {pod.name for pod in scenario.placement}
    zone_of = dict(zip(scenario.cluster.names, scenario.cluster.zone_names, strict=True))
    assert [zone_of[name] for name in rest.cluster.names] == list(rest.cluster.zone_names)
    Scenario.model_validate(rest.model_dump(mode="json", by_alias=True), by_alias=True, strict=False)


def test_the_zone_with_most_pods_is_lost() -> None:
    scenario = small(cluster={"nodes": 5, "zones": 2}, service={"replicas": 5})
    assert survive.lost_nodes(scenario, survive.parse_loss("zone=1")) == ("node-1", "node-3", "node-5")


# Search.


@pytest.mark.parametrize("high", range(1, 14))
def test_the_smallest_that_does_is_found_wherever_one_begins(high: int) -> None:
    for low, edge, guess in itertools.product(range(1, high + 1), range(16), range(16)):
        tried: list[int] = []

        def does(n: int, edge: int = edge, tried: list[int] = tried) -> bool:
            tried.append(n)
            return n >= edge

        expected = None if edge > high else max(low, edge)
        assert smallest(low, high, guess, does) == expected
        assert len(tried) == len(set(tried)) <= 2 + 2 * math.ceil(math.log2(high - low + 2))
        assert all(low <= n <= high for n in tried)


def every_design(question: Question) -> dict[Design, bool]:
    """Simulate all designs."""
    return {
        design: question.bench.trial(design.applied(question.scenario)).is_feasible
        for family in question.space.families()
        for design in (replace(family, pods=n) for n in question.space.pods)
    }


def random_case(number: int) -> Question:
    """A small question with a frontier somewhere."""
    draw = random.Random(number)  # noqa: S311  (cases, no secrets)
    law = draw.choice(["constant", "exponential", "uniform"])
    kept = draw.random() < 0.4
    scenario = small(
        pods={"workers": draw.choice([1, 2]), "service_time": {"dist": law, "mean_s": 0.01}},
        clients=[
            {
                "rate_rps": draw.choice([80.0, 150.0, 250.0]),
                "count": draw.choice([20, 60]),
                "connections": {"reuse": "lifo"} if kept else {},
                "timeouts": {"request_s": draw.choice([1.0, 10.0])},
            }
        ],
        run={"duration_s": 5.0, "replications": 10, "seed": number},
    )
    limits = f"p99<{draw.choice([40, 60, 90, 200])}ms"
    limits += draw.choice(["", ", errors<0.5%", ", p50<15ms", ", max_over_mean<1.9"])
    return asked(scenario, limits, nodes=range(2, 4), pods=range(2, 8))


@pytest.mark.long
@pytest.mark.parametrize("number", range(20))
def test_the_search_answers_as_trying_every_design_does(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LOOKS", (2, 10, 20))  # Both sides look as often.
    question = random_case(number)
    found = search(question)
    all_of_them = every_design(question)
    fewest: dict[int, Design] = {}
    for design in sorted(design for design, feasible in all_of_them.items() if feasible):
        fewest.setdefault(design.nodes, design)
    expected = sorted(fewest.values(), key=lambda design: (question.cost.of(design), design))
    assert [sized.design for sized in found.designs] == expected
    assert (found.infeasible_because is None) == bool(expected)
    # Closed forms screen out no design that the simulator accepts.
    for design, feasible in all_of_them.items():
        if screened(question.bench.trial(design.applied(question.scenario))):
            assert not feasible, design


def test_a_design_is_as_good_as_what_is_left_of_it() -> None:
    """All up it does, with a node lost it does not: 100/s of 10 ms on 2 of 3 pods of one worker are half."""
    question = asked(small(), "p99<80ms", nodes=range(3, 4), pods=range(2, 9))
    alone = replace(question, bench=replace(question.bench, loss=None))
    (with_loss,), (without_loss,) = search(question).designs, search(alone).designs
    assert with_loss.design.pods > without_loss.design.pods
    assert with_loss.p99_degraded_s is not None
    assert with_loss.p99_s is not None
    assert with_loss.p99_s < with_loss.p99_degraded_s < 0.08
    assert without_loss.p99_degraded_s is None


def test_pods_may_be_too_few_for_the_latency_and_too_many_for_an_even_load() -> None:
    """Twenty kept connections: the more pods, the less even; the fewest that are fast enough are asked."""
    clients = [{"rate_rps": 150.0, "count": 20, "connections": {"reuse": "lifo"}}]
    scenario = small(clients=clients)
    loose = asked(scenario, "p99<300ms", nodes=range(3, 4), pods=range(2, 13), loss=None)
    (fewest,) = search(loose).designs
    tried = loose.bench.trial(fewest.design.applied(scenario))
    hottest = slo.MEASURES["max_over_mean"][0](replicate(tried.scenario, range(10), loose.bench)).high
    assert hottest is not None
    for bound, expected in ((1.05 * hottest, (fewest.design,)), (1.02, ())):
        limits = f"p99<300ms, max_over_mean<{bound}"
        answer = search(asked(scenario, limits, nodes=range(3, 4), pods=range(2, 13), loss=None))
        assert tuple(one.design for one in answer.designs) == expected


def test_infeasible_says_which_limit_at_the_largest_design() -> None:
    answer = search(asked(small(), "p99<1ms", nodes=range(2, 4), pods=range(2, 9)))
    assert answer.designs == ()
    assert answer.tried == ()  # The work itself takes longer: nothing was simulated.
    reason = str(answer.infeasible_because)
    assert "3 nodes, 8 pods" in reason
    assert "p99 <1ms: at least 0.0461 s" in reason  # 10 ms x ln 100.


def test_a_full_conntrack_table_is_no_design_however_fast_the_pods() -> None:
    scenario = small(cluster={"nodes": 3, "conntrack": {"max": 3000}})
    question = asked(scenario, "p99<1s", nodes=range(2, 5), pods=range(4, 9), loss=None)
    answer = search(question)
    # 100/s live 120 s: 12,000 entries, (2 - 1/n) / n of them on each node.
    assert "conntrack 175 %" in str(answer.infeasible_because)  # n = 4: 12,001 x 0.4375 / 3000.
    # A trial says so without the search's screen.
    assert "conntrack" in str(question.bench.trial(question.space.largest().applied(scenario)).reason)


def test_lost_requests_of_a_failure_decide_too() -> None:
    question = asked(small(), "p99<1s", nodes=range(2, 4), pods=range(6, 7))
    limits = parse_slo("lost<1", field="--slo-during", during=True)
    answer = search(replace(question, bench=replace(question.bench, during=limits)))
    assert answer.designs == ()
    assert "lost is" in str(answer.infeasible_because)
    assert "per failure" in str(answer.infeasible_because)


# The highest load.


def test_the_highest_load_keeps_to_the_limits_and_the_next_does_not() -> None:
    bench = Bench(slo=parse_slo("p99<80ms"))
    found = highest(small(), bench)
    assert found.rate_rps is not None
    assert found.fails_at_rps == pytest.approx(found.rate_rps * STEP)
    assert "p99" in str(found.because)
    # M/M/1 at each of 4 pods: P(T > t) = exp(-(mu - lambda) t), so mu - lambda = ln 100 / (80 ms - path).
    exact = 4 * (100 - math.log(100) / 0.0785)
    assert found.expected_rps == pytest.approx(exact, rel=0.02)
    assert found.rate_rps == pytest.approx(exact, rel=0.06)


# Commands.


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="nodeportsim")


QUICK = ["--set", "duration=5s", "--set", "workers=1", "--nodes", "2..3", "--pods", "2..6"]


def test_size_prints_the_promised_json() -> None:
    answer = call(
        "size", "--example", "guide", "--slo", "p99<1s", "--survive", "node=1", *QUICK, "-o", "json"
    )
    assert answer.exit_code == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert set(told) == {"designs", "infeasible_because"}
    promised = {"nodes", "pods", "mode", "cost", "p99_s", "p99_degraded_s", "headroom", "binding"}
    assert all(promised <= set(row) for row in told["designs"])
    assert [row["cost"] for row in told["designs"]] == sorted(row["cost"] for row in told["designs"])


def test_size_writes_what_a_cluster_can_be_patched_with(tmp_path: Path) -> None:
    words = ["--slo", "p99<1s", "--policies", "Local", "--survive", "node=1", *QUICK]
    answer = call("size", "--example", "guide", *words, "--out", str(tmp_path / "out"))
    assert answer.exit_code == 0, answer.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    patches = {"deployment-patch.yaml", "service-patch.yaml"}
    assert written == patches | {"size.json", "size.csv", "frontier.csv", "frontier.svg", "frontier.png"}
    best = json.loads((tmp_path / "out/size.json").read_text())["designs"][0]
    deployment, service = (yaml.safe_load((tmp_path / "out" / name).read_text()) for name in sorted(patches))
    assert deployment["spec"]["replicas"] == best["pods"]
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["maxSkew"], spread["topologyKey"]) == (1, "kubernetes.io/hostname")
    assert service["spec"] == {"externalTrafficPolicy": "Local"}


def test_infeasible_is_an_answer_and_ends_with_1() -> None:
    answer = call("size", "--example", "guide", "--slo", "p99<1ms", *QUICK, "-o", "json")
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["designs"] == []
    assert "infeasible: 3 nodes, 6 pods" in answer.stderr


@pytest.mark.parametrize("kind", ["table", "csv", "markdown"])
def test_both_commands_speak_every_format(kind: str) -> None:
    sized = call("size", "--example", "guide", "--slo", "p99<1s", *QUICK, "-o", kind)
    limits = call("capacity", "--example", "guide", "-o", kind)
    assert sized.exit_code == limits.exit_code == 0
    assert "nodes" in sized.stdout
    assert "conntrack" in limits.stdout


def test_capacity_says_what_breaks_first_second_third() -> None:
    answer = call("capacity", "--example", "guide", "--survive", "node=1", "-o", "json")
    assert answer.exit_code == 0, answer.stderr
    told = json.loads(answer.stdout)["resources"]
    limits = [row["breaks_at_rps"] for row in told if row["breaks_at_rps"] is not None]
    assert limits == sorted(limits)
    assert told[0]["resource"] == "conntrack"
    # 131,072 entries of 120.004 s, 9 of 25 connections cross each of 5 nodes, 7 of 16 each of 4.
    assert told[0]["breaks_at_rps"] == pytest.approx(131_072 / (120.004 * 9 / 25), rel=1e-5)
    assert told[0]["breaks_at_rps_degraded"] == pytest.approx(131_072 / (120.004 * 7 / 16), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--link", "fast"], "must be a number"),
        (["--request", "0"], "must be above 0"),
        (["--slo", "p99"], "must be a measure"),
        (["--survive", "node=5"], "no node with a pod is left"),
        (["--set", "clients.loop=closed"], "must be open"),
        (["--set", "replicas=0"], "nobody answers"),
    ],
)
def test_capacity_refuses_what_it_cannot_answer(words: list[str], message: str) -> None:
    answer = call("capacity", "--example", "guide", *words)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr


def test_the_same_question_has_the_same_answer_with_any_number_of_threads() -> None:
    words = ["size", "--example", "guide", "--slo", "p99<1s", "--survive", "node=1", *QUICK, "-o", "json"]
    assert call(*words, "-j", "1").stdout == call(*words, "-j", "2").stdout


PAGE = ROOT / "experiments" / "capacity_sizing"
ASKED = ["--slo", "p99<100ms, errors<0.1%", "--survive", "node=1", "--nodes", "2..8", "--pods", "4..24"]


def test_the_page_of_the_experiment_says_the_stored_frontier() -> None:
    said = re.findall(
        r"^\| (\d+) \| (\d+) \| ([\d.]+) \| (.*) \|$", (PAGE / "README.md").read_text(), re.MULTILINE
    )
    stored = json.loads((ROOT / "results" / "capacity_frontier" / "size.json").read_text())["designs"]
    assert len(said) == len(stored) == 5
    for (nodes, pods, cost, rest), row in zip(said, stored, strict=True):
        assert [int(nodes), int(pods), float(cost)] == [row["nodes"], row["pods"], row["cost"]]
        times = [f"{1000 * row[name]:.1f}" for name in ("p99_s", "p99_degraded_s")]
        assert rest == " | ".join([*times, row["binding"], f"{100 * row['headroom']:.1f} %"])


@pytest.mark.long
def test_the_published_frontier_is_the_same_bytes_when_made_again(tmp_path: Path) -> None:
    answer = call("size", str(PAGE / "scenario.yaml"), *ASKED, "--out", str(tmp_path / "out"))
    assert answer.exit_code == 0, answer.stderr
    again = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    stored = ROOT / "results" / "capacity_frontier"
    assert again == {path.name: path.read_bytes() for path in stored.iterdir()}


def test_numbers_are_plain() -> None:
    """JSON has neither nan nor infinity; numpy's numbers are none of Python's."""
    answer = call("capacity", "--example", "keep-alive", "-o", "json")
    rows = json.loads(answer.stdout)["resources"]
    assert all(
        isinstance(row["utilisation"], float | int) and np.isfinite(row["utilisation"]) for row in rows
    )
