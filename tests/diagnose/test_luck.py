"""Chances of measured counts against enumeration, simulation and the published cases."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.diagnose import luck
from nodeportsim.diagnose.case import Case
from nodeportsim.diagnose.luck import Measured
from nodeportsim.diagnose.verdict import verdict
from nodeportsim.errors import InputError
from nodeportsim.scenario.spec import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

ZALANDO = (977.0, 995.0, 585.0, 993.0)  # mCPU of four pods behind one Service.
CURLS = (60.0, 10.0, 7.0, 3.0, 6.0, 4.0, 10.0)  # kubernetes#37932, 100 requests.


@pytest.mark.parametrize(("connections", "published"), [(16, 0.68), (40, 0.37), (100, 0.08)])
def test_four_pods_of_which_one_has_two_thirds_are_luck_as_published(
    connections: int, published: float
) -> None:
    chance = luck.at_random(Measured(counts=ZALANDO, connections=connections))
    assert chance.coldest_p == pytest.approx(published, abs=0.005)
    assert "luck explains this" in chance.verdict


def test_with_400_connections_they_are_not() -> None:
    # Published, simulated: 0.008 %. The counts say 0.659 of the mean, 65 of 400; 0.66 would be 66.
    rounded = luck.at_random(Measured(counts=(3.34 / 3,) * 3 + (0.66,), connections=400))
    chance = luck.at_random(Measured(counts=ZALANDO, connections=400))
    assert chance.coldest_p < 8e-5 < rounded.coldest_p
    assert chance.verdict == "not luck: p = 6e-05"


def test_sixty_of_a_hundred_on_one_of_seven_pods_are_not_luck_as_published() -> None:
    told = verdict(Measured(counts=CURLS))
    assert told["rules"][0]["hottest_p"] == pytest.approx(4e-25, rel=0.2)
    assert told["verdict"].startswith("not luck: p = 4e-25 (iptables, nftables)")
    assert told["verdict"].endswith("look for reused connections or affinity")
    assert told["explained_up_to"] < 10  # Six reused connections would do.


def test_eight_rotating_nodes_cannot_give_19_of_400_to_one_of_30_pods() -> None:
    # kubernetes#88580: 12 to 19 each. 50 a node is one turn and 20 more: from 8 to 16 a pod.
    counts = (19.0, 12.0, *(13.0,) * 18, *(14.0,) * 9, 9.0)
    measured = Measured(counts=counts)
    assert measured.choices == 400
    rotation = luck.by_rotation(measured, 8)
    assert rotation.hottest_p == 0.0
    assert rotation.verdict == "impossible: no pod can get so much"
    assert "luck explains this" in luck.at_random(measured).verdict
    most = Measured(counts=(16.0, 8.0, *(13.0,) * 16, *(14.0,) * 12))
    assert luck.by_rotation(most, 8).hottest_p > 0


def every_rotation(turns: Sequence[int], pods: int) -> list[list[int]]:
    """Counts of every combination of starting places."""
    found = []
    for starts in itertools.product(range(pods), repeat=len(turns)):
        pairs = zip(starts, turns, strict=True)
        count = Counter((start + k) % pods for start, turn in pairs for k in range(turn))
        found.append([count[pod] for pod in range(pods)])
    return found


@pytest.mark.parametrize(("connections", "nodes", "pods"), [(7, 2, 3), (10, 3, 4), (5, 1, 4), (11, 4, 3)])
def test_rotations_are_as_likely_as_among_all_starting_places(
    connections: int, nodes: int, pods: int
) -> None:
    turns = [connections // nodes + (node < connections % nodes) for node in range(nodes)]
    found = every_rotation(turns, pods)
    for hot in range(connections // pods, connections + 1):
        counts = (float(hot), *(0.0,) * (pods - 2), float(connections - hot))
        chance = luck.by_rotation(Measured(counts=counts), nodes)
        exact = sum(max(way) >= max(hot, connections - hot) for way in found) / len(found)
        half_width = 4.5 * math.sqrt(exact * (1 - exact) / 20_000)
        assert abs(chance.hottest_p - exact) <= half_width + 1e-12


def test_a_run_counts_as_a_hit_with_a_pod_at_either_end() -> None:
    # One node, 3 pods, 4 connections: every run gives 2, 1, 1, that is 1 and one more for one pod.
    ends = [luck._hits([4], 3, 50, luck._rotated, hot, cold) for hot, cold in ((1, 0), (2, -1))]
    assert ends == [(50, 50), (0, 0)]


def test_what_is_too_rare_to_be_simulated_is_bounded_by_one_pod_s_law() -> None:
    # 3 nodes give one connection each to one of 100 pods: all to the same with 1/100^2.
    chance = luck.by_rotation(Measured(counts=(3.0, *(0.0,) * 99)), 3)
    assert chance.how == "bound"
    assert chance.hottest_p == pytest.approx(100 * 100.0**-3)
    assert chance.verdict == "not luck: p = at most 0.0001"


def test_rotations_with_too_many_pods_to_simulate_are_bounded_by_one_pod_s_law() -> None:
    counts = tuple(float(n) for n in range(1, 1001))
    chance = luck.by_rotation(Measured(counts=counts), 500)
    assert chance.how in {"bound", "exact"}
    assert 0 <= chance.hottest_p <= 1


def test_least_connections_keep_every_node_even_to_one() -> None:
    # 2 nodes, 3 pods, 4 connections each: every pod has 2, and each node gives one more to one of them.
    ways = list(itertools.product(range(3), repeat=2))
    exact = sum(a == b for a, b in ways) / len(ways)  # Both to the same pod: 4, 2, 2.
    chance = luck.by_least(Measured(counts=(4.0, 2.0, 2.0)), 2)
    assert abs(chance.hottest_p - exact) <= 4.5 * math.sqrt(exact * (1 - exact) / 20_000)
    assert luck.by_least(Measured(counts=(5.0, 2.0, 1.0)), 2).hottest_p == 0.0


def test_affinity_makes_an_address_the_choice() -> None:
    # 3 addresses on 2 pods, all equal: all on one pod in 2 of 8 ways.
    chance = luck.by_affinity(Measured(counts=(3000.0, 0.0)), 3)
    assert chance.hottest_p == pytest.approx(2 / 8)
    assert luck.at_random(Measured(counts=(3000.0, 0.0))).hottest_p < 1e-300


def test_policy_local_expects_what_it_gives() -> None:
    # kubernetes#97147: 25, 25 and 50 % are its shares; one of 200 connections on the lone pod is not.
    local = (0.25, 0.25, 0.5)
    assert "luck explains" in luck.by_local(Measured(counts=(25.0, 25.0, 50.0)), local).verdict
    assert "not luck" in luck.at_random(Measured(counts=(50.0, 50.0, 100.0))).verdict
    assert "not luck" in luck.by_local(Measured(counts=(100.0, 99.0, 1.0)), local).verdict


@given(counts=st.lists(st.integers(0, 60), min_size=2, max_size=8).filter(any), nodes=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_every_chance_is_one_and_the_order_of_the_pods_does_not_matter(counts: list[int], nodes: int) -> None:
    def rows(given: list[int]) -> list[tuple[float, ...]]:
        told = verdict(Measured(counts=tuple(map(float, given))), nodes=nodes, addresses=5)
        return [(row["hottest_p"], row["coldest_p"], row["p"]) for row in told["rules"]]

    found = rows(counts)
    assert all(0 <= p <= 1 for row in found for p in row)
    assert found == rows(sorted(counts))


def test_the_most_choices_that_explain_it_have_a_rare_end_of_five_per_cent() -> None:
    measured = Measured(counts=ZALANDO, connections=400)
    most = luck.explained_up_to(measured)
    assert luck.at_random(Measured(counts=ZALANDO, connections=most)).p >= 0.1
    assert all(
        luck.at_random(Measured(counts=ZALANDO, connections=k)).p < 0.1 for k in range(2 * most, 6 * most)
    )


def case(**fields: object) -> Case:
    return Case(scenario=Scenario.model_validate(fields, context={"file": True}))


def test_the_verdict_is_on_the_rule_in_force() -> None:
    measured = Measured(counts=(60.0, 20.0, 20.0))

    def in_force(given: Case | None, **more: int) -> list[str]:
        return [row["rule"] for row in verdict(measured, given, **more)["rules"] if row["in_force"]]

    assert in_force(None) == []
    assert in_force(case()) == ["iptables, nftables"]
    assert in_force(case(cluster={"proxy": {"mode": "ipvs"}})) == ["ipvs rr, 3 nodes"]
    assert in_force(case(cluster={"proxy": {"mode": "ipvs", "scheduler": "lc"}})) == ["ipvs lc, 3 nodes"]
    assert in_force(case(service={"externalTrafficPolicy": "Local"})) == ["policy Local"]
    assert in_force(case(service={"sessionAffinity": "ClientIP"})) == ["sessionAffinity ClientIP"]
    told = verdict(measured, case(cluster={"proxy": {"mode": "ipvs"}}))
    assert "impossible" in told["verdict"]
    assert "move a node's rotation" in told["verdict"]


def test_other_pods_than_the_scenario_s_are_not_held_against_its_placement() -> None:
    told = verdict(Measured(counts=(6.0, 4.0)), case(service={"externalTrafficPolicy": "Local"}))
    assert "policy Local" not in [row["rule"] for row in told["rules"]]


@pytest.mark.parametrize(
    ("counts", "connections", "word"),
    [
        ((5.0,), None, "must be of 2 to 5000 pods"),
        ((1.0,) * 5001, None, "must be of 2 to 5000 pods"),
        ((1.0, -2.0), None, "at least 0"),
        ((1.0, math.nan), None, "at least 0"),
        ((0.0, 0.0), None, "must not all be 0"),
        ((1e308, 1e308), None, "overflow"),
        ((0.5, 0.6), None, "whole numbers of connections"),
        ((1e9, 1e9), None, "--connections must be from 1 to 1000000"),
        ((1.0, 1.0), 10**7, "--connections must be from 1 to 1000000"),
    ],
)
def test_counts_that_cannot_be_judged_are_refused(
    counts: tuple[float, ...], connections: int | None, word: str
) -> None:
    with pytest.raises(InputError, match=word):
        Measured(counts=counts, connections=connections)


def test_scaled_counts_are_rounded_outwards_and_whole_ones_stay() -> None:
    measured = Measured(counts=(1.0, 2.0, 4.0), connections=70)
    assert (measured.hottest, measured.coldest) == (40, 10)
    measured = Measured(counts=(1.0, 2.0, 4.0), connections=71)
    assert (measured.hottest, measured.coldest) == (41, 10)
    assert Measured(counts=(0.1, 0.2, 0.3), connections=18).coldest == 3  # Floats say 2.9999999999999996,
    assert Measured(counts=(0.1, 0.3, 0.3), connections=7).hottest == 3  # and 3.0000000000000004.
    for total in range(1, 300):  # No hair beside a whole number.
        exact = Measured(counts=(float(total), float(2 * total)), connections=3 * total)
        assert (exact.hottest, exact.coldest) == (2 * total, total)


def test_the_simulated_extras_are_as_many_as_asked() -> None:
    random = np.random.default_rng(1)
    for make in (luck._rotated, luck._odd_ones):
        assert set(make(random, 50, 7, 3).sum(axis=1)) == {3}
    rows = luck._rotated(random, 200, 7, 3)
    assert all("111" in "".join(map(str, row)) * 2 for row in rows)
