"""What keeps a world of 5,000 nodes and 150,000 pods small and quick: said in counts, seen in small ones."""

from __future__ import annotations

from dataclasses import fields
from math import ceil
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import CLOCKS, scenarios

from nodeportsim.engine import simulate as replication
from nodeportsim.engine.build import Plain, Structs, world_of
from nodeportsim.engine.control import Control
from nodeportsim.engine.interpreter import Interpreter
from nodeportsim.engine.records import Client, Config, Group, Node, Pod
from nodeportsim.engine.slices import Conditions, Slices
from nodeportsim.kubeproxy.endpoints import usable
from nodeportsim.scenario.profile import Profile, load_profile
from nodeportsim.scenario.spec import Background, Cluster, Event, Proxy, Run, Scenario, Service

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.walk import Mode, Policy

NODES, PODS = 7, 23
NAMES = ("node-1", "node-2", "node-3")
POLICIES: tuple[Policy, ...] = ("Cluster", "Local")


def scenario(**changes: Any) -> Scenario:
    policy = changes.pop("policy", "Cluster")
    cluster = Cluster(nodes=NODES, control_plane=CLOCKS, **changes)
    return Scenario(cluster=cluster, service=Service(replicas=PODS, external_traffic_policy=policy))


def control_of(case: Scenario) -> Control:
    plane = Interpreter(world_of(case, 0, Plain, warmup_s=0.0, trace=0))
    return Control(scenario=case, profile=load_profile("kernel-6.18"), plane=plane, key0=1, key1=0)


@pytest.mark.parametrize("policy", POLICIES)
def test_nodes_that_program_one_version_store_every_endpoint_once(policy: Policy) -> None:
    control = control_of(scenario(policy=policy))
    assert len(control.world.endpoints) == PODS

    for n in range(NODES):
        control._program(n)

    assert len(control.world.endpoints) == PODS


def test_a_new_version_stores_one_list_or_under_policy_local_that_of_the_changed_node() -> None:
    on_first_node = ceil(PODS / NODES)
    added = {}
    for policy in POLICIES:
        control = control_of(scenario(policy=policy))
        control.set_pod(0, ready=False)
        control.slices.publish()
        for proxy in control.proxies:
            proxy.wanted = control.slices.latest
        for n in range(NODES):
            control._program(n)
        added[policy] = len(control.world.endpoints) - PODS

    assert added == {"Cluster": PODS - 1, "Local": on_first_node - 1}


def test_a_version_that_lists_the_same_endpoints_stores_nothing() -> None:
    control = control_of(scenario())
    control.set_pod(0, ready=False)
    control.slices.publish()
    stored = len(control.world.endpoints)
    control.set_pod(0, ready=False, terminating=True)
    control.slices.publish()

    assert len(control.world.endpoints) == stored


flags = st.fixed_dictionaries({name: st.booleans() for name in ("ready", "serving", "terminating")})
conditions = st.builds(
    lambda node, said: Conditions(name="pod", node=node, **said), st.sampled_from((*NAMES, None)), flags
)


@given(
    st.lists(conditions, max_size=8),
    st.lists(st.lists(st.tuples(st.integers(0, 7), conditions), max_size=4), max_size=4),
    st.sampled_from(POLICIES),
)
def test_every_version_says_for_ever_what_kube_proxy_would_use_of_all_pods(
    pods: list[Conditions], writes: list[list[tuple[int, Conditions]]], policy: Policy
) -> None:
    stored: list[int] = []

    def store(given_pods: Any) -> int:
        stored.extend(given_pods)
        return len(stored) - len(given_pods)

    slices = Slices(pods, policy, store)
    versions = [(slices.latest, tuple(pods))]
    for batch in writes:
        for p, said in batch:
            if p < len(pods):
                slices.write(p, said)
        slices.publish()
        versions.append((slices.latest, tuple(slices.pods)))

    for version, then in versions:
        for node in NAMES:
            listed, everywhere, here = version.listing(node)
            expected = usable(then, node=node, policy=policy)
            assert listed.pods == tuple(stored[listed.first : listed.first + len(expected)]) == expected
            assert listed.members == set(expected)
            assert [listed.rank(p) for p in expected] == list(range(len(expected)))
            assert everywhere == len(usable(then, node=node, policy="Cluster"))
            assert here == len(usable(then, node=node, policy="Local"))
            assert (node in version.ready) == any(c.ready and c.node == node for c in then)


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "nftables"])
def test_nodes_that_see_the_same_are_priced_once(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    priced: list[float | None] = []
    walk_price = Profile.walk_price

    def counted(self: Profile, *args: Any, **kwargs: Any) -> tuple[float, float]:
        priced.append(kwargs["position"])
        return walk_price(self, *args, **kwargs)

    monkeypatch.setattr(Profile, "walk_price", counted)
    background = Background(services=5, node_ports=5)
    control = control_of(scenario(proxy=Proxy(mode=mode), background=background))
    # PODS over NODES: some nodes have one pod more. Nodes differ by that and, in one mode, by position.
    views, transits = {PODS // NODES, ceil(PODS / NODES)}, priced.count(None)
    assert transits == len(views)
    positions = background.node_ports + 1 if mode == "iptables" else 1
    once = len(priced)
    assert once - transits <= len(views) * positions

    for n in range(NODES):
        control.proxies[n].syncs = 0
        control._program(n)

    assert len(priced) == once


def test_the_pods_of_a_node_are_those_the_world_has_there_after_an_eviction_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Control] = []

    class Kept(Control):
        def __post_init__(self) -> None:
            super().__post_init__()
            made.append(self)

    monkeypatch.setattr(replication, "Control", Kept)
    events = (Event(at_s=0.5, fault="power-off", node="node-3"),)
    case = scenario().model_copy(update={"events": events, "run": Run(duration_s=4.0)})
    result = replication.simulate(case, engine="simpy")

    assert sum(name == "pod evicted" for _, name, _ in result.milestones) == len(range(2, PODS, NODES))
    for n in range(NODES):
        there = [p for p, pod in enumerate(made[0].world.pods) if pod.node == n and not pod.gone]
        assert made[0].pods_of(n) == there
        assert there  # On the lost node too: nobody is there to end the pods that were evicted.


@settings(max_examples=20)
@given(scenarios())
def test_both_shapes_begin_with_the_same_world(case: Scenario) -> None:
    plain, structs = (world_of(case, 3, shape, warmup_s=0.0, trace=2) for shape in (Plain, Structs))
    rows = {"nodes": Node, "pods": Pod, "clients": Client, "groups": Group}
    for name, record in rows.items():
        for column in fields(record):
            mine, theirs = (replication.column(getattr(w, name), column.name) for w in (plain, structs))
            assert mine == theirs.tolist()
    for column in fields(Config):
        assert getattr(plain.config, column.name) == getattr(structs.config, column.name)
    remembered = [[sticky.pod for sticky in row] for row in plain.sticky]
    assert remembered == cast("Any", structs.sticky)["pod"].tolist()
