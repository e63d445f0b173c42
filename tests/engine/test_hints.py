"""Topology hints in a run: who may use which endpoint, what that does to shares, and when they fall away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.engine.build import Plain, world_of
from nodeportsim.engine.control import Control
from nodeportsim.engine.interpreter import Interpreter
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.engine.slices import Conditions, Slices
from nodeportsim.kubeproxy.endpoints import usable
from nodeportsim.scenario.clients import Clients, Entry
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import Cluster, Event, Placement, Pods, Run, Scenario, Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.kubeproxy.walk import Policy

ZONES = {"node-1": "a", "node-2": "a", "node-3": "b", "node-4": "b", "node-5": "c"}
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")


def scenario(pods: dict[str, int], **changes: Any) -> Scenario:
    """Five nodes in zones a, a, b, b, c; so many pods on each node."""
    placement = [(node, k) for node, count in pods.items() for k in range(count)]
    return Scenario(
        cluster=Cluster(nodes=5, node_zones=tuple(ZONES.values()), zones=3),
        service=Service(replicas=len(placement), **changes.pop("service", {})),
        pods=Pods(placement=tuple(Placement(name=f"{node}-{k}", node=node) for node, k in placement)),
        clients=(Clients(rate_rps=500.0, entry=Entry(policy=changes.pop("entry", "dns-round-robin"))),),
        run=Run(duration_s=4.0),
        **changes,
    )


def control_of(case: Scenario) -> Control:
    plane = Interpreter(world_of(case, 0, Plain, warmup_s=0.0, trace=0))
    return Control(scenario=case, profile=load_profile("kernel-6.18"), plane=plane, key0=1, key1=0)


def given_to(control: Control, node: str) -> list[str]:
    """Names of the pods that the latest slices leave to a node."""
    return [control.slices.pods[p].name for p in control.slices.latest.listing(node).listed.pods]


def ran(case: Scenario) -> Replication:
    return simulate(case, engine="simpy", trace=10_000)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_what_enters_a_zone_that_has_a_pod_stays_in_it(distribution: str) -> None:
    case = scenario({"node-1": 3, "node-3": 1, "node-5": 1}, service={"traffic_distribution": distribution})
    result = ran(case)
    zones = list(ZONES.values())
    home = [zones[["node-1", "node-2", "node-3", "node-4", "node-5"].index(p.node)] for p in case.placement]
    entered = [zones[node] for node in result.trace["node"]]
    assert [home[pod] for pod in result.trace["pod"]] == entered


def test_the_hottest_pod_stands_where_entries_are_many_and_pods_are_few() -> None:
    """A zone's pods get its part of the entries: c_z P / p_z times the mean each, for p_z of P pods.

    Round robin enters by every node alike, so c = 2/5, 2/5, 1/5; with p = 3, 1, 1 of 5 the one pod of zone b
    has 2/5 * 5 / 1 = 2 times the mean. What a zone's pods have together is exact, for it is counted alike.
    """
    case = scenario(
        {"node-1": 3, "node-3": 1, "node-5": 1}, service={"traffic_distribution": "PreferSameZone"}
    )
    result = ran(case)
    nodes, pods = result.nodes[:, 0], result.pods[:, 0]
    assert pods[:3].sum() == nodes[:2].sum()
    assert pods[3] == nodes[2:4].sum()
    assert pods[4] == nodes[4]
    rounds = 1 / nodes.min()  # Each node's turn comes once a round: counts differ by one at most.
    assert pods[3] / pods.mean() == pytest.approx(2 / 5 * 5, rel=2 * rounds)


def test_prefer_same_node_takes_the_node_first_then_its_zone() -> None:
    control = control_of(
        scenario({"node-1": 2, "node-2": 1, "node-3": 1}, service={"traffic_distribution": "PreferSameNode"})
    )
    assert given_to(control, "node-1") == ["node-1-0", "node-1-1"]
    assert given_to(control, "node-2") == ["node-2-0"]
    assert given_to(control, "node-4") == ["node-3-0"]
    assert len(given_to(control, "node-5")) == 4  # No pod in zone c: all of them.


def test_a_zone_whose_last_pod_is_not_ready_falls_back_to_all_and_returns() -> None:
    control = control_of(
        scenario({"node-1": 1, "node-3": 1, "node-5": 1}, service={"traffic_distribution": "PreferClose"})
    )
    assert given_to(control, "node-5") == ["node-5-0"]
    control.set_pod(2, ready=False)
    control.slices.publish()
    assert given_to(control, "node-5") == ["node-1-0", "node-3-0"]
    assert given_to(control, "node-4") == ["node-3-0"]
    control.set_pod(2, ready=True)
    control.slices.publish()
    assert given_to(control, "node-5") == ["node-5-0"]


def test_policy_local_does_not_heed_hints() -> None:
    pods = {"node-1": 2, "node-3": 1}
    plain, hinted = (
        control_of(scenario(pods, service={"external_traffic_policy": "Local"} | more))
        for more in ({}, {"traffic_distribution": "PreferSameZone"})
    )
    assert [given_to(plain, node) for node in ZONES] == [given_to(hinted, node) for node in ZONES]


def test_auto_refuses_four_four_three_and_says_so() -> None:
    """kubernetes/kubernetes#122437: with 11 pods every node may use all of them, with 12 only its zone's."""
    even = tuple("abcabc")
    spread: dict[int, set[int]] = {}
    notes = {}
    for replicas in (11, 12):
        case = Scenario(
            cluster=Cluster(nodes=6, node_zones=even, zones=3),
            service=Service(replicas=replicas, topology_mode="Auto"),
        )
        control = control_of(case)
        spread[replicas] = {len(given_to(control, name)) for name in case.cluster.names}
        notes[replicas] = [(name, subject) for _, name, subject in control.milestones]
    assert spread == {11: {11}, 12: {4}}
    assert notes == {
        11: [("topology hints refused", "the least allotment exceeds the overload threshold")],
        12: [],
    }


def test_auto_counts_only_nodes_that_are_ready() -> None:
    """A lost zone has no cores: two zones share what is left, 3 and 3 of 6 pods, and none is refused."""
    case = scenario({"node-1": 3, "node-3": 3, "node-5": 2}, service={"topology_mode": "Auto"})
    control = control_of(case)
    control.unknown.add(4)
    for p in (6, 7):
        control.set_pod(p, ready=False)
    control.slices.publish()
    assert [len(given_to(control, node)) for node in ("node-1", "node-3")] == [3, 3]


def test_hints_follow_the_slices_when_a_zone_dies() -> None:
    """All pods of zone c are lost: its rules are gone with it, and the others never leave their own zones."""
    case = scenario(
        {"node-1": 2, "node-3": 2, "node-5": 1},
        service={"traffic_distribution": "PreferSameZone"},
        events=(Event(at_s=1.0, fault="power-off", node="node-5"),),
    )
    result = ran(case)
    answered = result.trace[result.trace["pod"] >= 0]
    home = np.array([0, 0, 1, 1, 2])
    assert (home[answered["pod"]] == np.array([0, 0, 1, 1, 2])[answered["node"]]).all()


said = st.builds(
    lambda node, zones, nodes, **flags: Conditions(
        name="pod", node=node, zone_hints=zones, node_hints=nodes, **flags
    ),
    st.sampled_from((*ZONES, None)),
    st.sampled_from(((), ("a",), ("b",), ("a", "c"))),
    st.sampled_from(((), ("node-1",), ("node-3",))),
    ready=st.booleans(),
    serving=st.booleans(),
    terminating=st.booleans(),
)


@given(st.lists(st.lists(said, max_size=6), min_size=1, max_size=4), st.sampled_from(("Cluster", "Local")))
def test_every_version_says_for_ever_what_kube_proxy_would_use_of_hinted_pods(
    rounds: list[list[Conditions]], policy: Policy
) -> None:
    """Whatever hints a controller might write: nodes get what `usable` says, from where it is stored."""
    stored: list[int] = []

    def store(pods: Sequence[int]) -> int:
        stored.extend(pods)
        return len(stored) - len(pods)

    slices = Slices(rounds[0], policy, store, hint=list, zones=ZONES)
    versions = [(slices.latest, tuple(slices.pods))]
    for pods in rounds[1:]:
        for p, conditions in enumerate(pods[: len(slices.pods)]):
            slices.write(p, conditions)
        slices.publish()
        versions.append((slices.latest, tuple(slices.pods)))

    for version, then in versions:
        for node, zone in ZONES.items():
            listed, everywhere, _ = version.listing(node)
            expected = usable(then, node=node, zone=zone, policy=policy)
            assert listed.pods == tuple(stored[listed.first : listed.first + len(expected)]) == expected
            assert everywhere == len(usable(then, node=node, zone=zone, policy="Cluster"))
