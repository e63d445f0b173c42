"""Which endpoints a node may use, and what it tells a balancer."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.kubeproxy.endpoints import Endpoint, HealthCheck, health_check, healthz_status, usable

HERE, THERE = "node-1", "node-2"


def ready(node: str, zones: tuple[str, ...] = (), nodes: tuple[str, ...] = ()) -> Endpoint:
    return Endpoint(name="ready", node=node, zone_hints=zones, node_hints=nodes)


def draining(node: str) -> Endpoint:
    return Endpoint(name="draining", node=node, ready=False, serving=True, terminating=True)


def dead(node: str) -> Endpoint:
    return Endpoint(name="dead", node=node, ready=False, serving=False, terminating=True)


def test_ready_endpoints_come_first_and_terminating_ones_only_when_none_is_ready() -> None:
    assert usable((ready(HERE), draining(HERE), dead(HERE)), node=HERE, policy="Cluster") == (0,)
    assert usable((dead(HERE), draining(THERE)), node=HERE, policy="Cluster") == (1,)
    assert usable((dead(HERE),), node=HERE, policy="Cluster") == ()


def test_policy_local_looks_only_at_its_own_node() -> None:
    """A draining local pod goes on answering although another node has a ready one."""
    endpoints = (ready(THERE), draining(HERE))
    assert usable(endpoints, node=HERE, policy="Local") == (1,)
    assert usable(endpoints, node=HERE, policy="Cluster") == (0,)
    assert usable(endpoints, node="node-3", policy="Local") == ()


def test_a_starting_pod_that_is_not_ready_never_gets_traffic() -> None:
    starting = Endpoint(name="starting", node=HERE, ready=False, serving=False)
    serving = Endpoint(name="serving", node=HERE, ready=False, serving=True)
    assert usable((starting, serving), node=HERE, policy="Local") == ()


def test_zone_hints_narrow_the_choice_only_if_all_have_them_and_one_is_for_this_zone() -> None:
    hinted = (ready(HERE, ("a",)), ready(THERE, ("b",)))
    assert usable(hinted, node=HERE, zone="b", policy="Cluster") == (1,)
    assert usable(hinted, node=HERE, zone="c", policy="Cluster") == (0, 1)
    assert usable(hinted, node=HERE, policy="Cluster") == (0, 1)
    assert usable((*hinted, ready(HERE)), node=HERE, zone="b", policy="Cluster") == (0, 1, 2)


def test_node_hints_come_before_zone_hints() -> None:
    hinted = (ready(HERE, ("a",), (HERE,)), ready(THERE, ("a",), (THERE,)))
    assert usable(hinted, node=HERE, zone="a", policy="Cluster") == (0,)
    assert usable(hinted, node="node-3", zone="a", policy="Cluster") == (0, 1)


def test_hints_do_not_narrow_policy_local() -> None:
    assert usable((ready(HERE, ("b",)),), node=HERE, zone="a", policy="Local") == (0,)


conditions = st.builds(
    Endpoint,
    name=st.just("e"),
    node=st.sampled_from([HERE, THERE, None]),
    ready=st.booleans(),
    serving=st.booleans(),
    terminating=st.booleans(),
)


@given(st.lists(conditions, max_size=8))
def test_local_is_a_part_of_cluster_while_any_local_endpoint_is_ready(endpoints: list[Endpoint]) -> None:
    local = usable(endpoints, node=HERE, policy="Local")
    cluster = usable(endpoints, node=HERE, policy="Cluster")
    assert all(endpoints[i].node == HERE for i in local)
    if any(endpoints[i].ready for i in local):
        assert set(local) <= set(cluster)
    assert len({endpoints[i].ready for i in cluster}) <= 1


def test_the_health_check_port_answers_as_kube_proxy_did(behaviour: dict[str, Any]) -> None:
    cases = {
        "two ready local endpoints": (ready(HERE), ready(HERE)),
        "no local endpoint": (ready(THERE), ready(THERE)),
        "one local terminating (serving), one ready elsewhere": (draining(HERE), ready(THERE)),
    }
    for name, endpoints in cases.items():
        real = behaviour["health_check_node_port"][name]
        answer = health_check(endpoints, node=HERE)
        assert answer == HealthCheck(status=real["status"], weight=real["weight_header"])
    assert health_check((ready(HERE),), node=HERE, proxy_healthy=False).status == 503


def test_the_draining_pod_stays_in_the_local_chain(behaviour: dict[str, Any]) -> None:
    """The real KUBE-SVL chain forwards to the draining local pod, KUBE-SVC to the ready one elsewhere."""
    rules = behaviour["rules_of_service_with_local_terminating_endpoint"]
    local = next(rule for rule in rules if rule.startswith("-A KUBE-SVL"))
    assert "10.244.200.153" in local
    assert usable((draining(HERE), ready(THERE)), node=HERE, policy="Local") == (0,)


def test_healthz_fails_on_a_node_about_to_be_deleted(behaviour: dict[str, Any]) -> None:
    real = behaviour["healthz"]
    assert healthz_status(proxy_healthy=True, being_deleted=False) == real["normal"]
    tainted = real["node tainted ToBeDeletedByClusterAutoscaler"]
    assert healthz_status(proxy_healthy=True, being_deleted=True) == tainted
    assert healthz_status(proxy_healthy=False, being_deleted=False) == 503
