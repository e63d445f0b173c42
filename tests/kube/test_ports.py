"""The NodePort allocator gives what a real API server 1.36.2 gave, and never the same port twice."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError, RefusedError
from nodeportsim.kube.allocator import PortRange
from nodeportsim.kube.ports import DEFAULT_RANGE, Registry, allocate
from nodeportsim.kube.service import Service
from nodeportsim.kube.status import StatusError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "nodeport_allocation_cases.json").read_text())
CASES = {case["id"]: case for case in GOLDEN["cases"]}


def seeded(seed: int = 1) -> random.Random:
    return random.Random(seed)  # noqa: S311 # Reproducible, not secret.


def node_port(name: str, *ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": list(ports) or [{"port": 80}], **spec},
    }


def message(call: Any, *args: Any, **kwargs: Any) -> tuple[int, str]:
    with pytest.raises(StatusError) as caught:
        call(*args, **kwargs)
    return caught.value.code, caught.value.message


def filled(node_port_range: str, *, seed: int = 1) -> Registry:
    registry = Registry(node_port_range=node_port_range, rng=seeded(seed))
    for port in range(registry.range.first, registry.range.last + 1):
        registry.create(node_port(f"s{port}"))
    return registry


def answer(registry: Registry, case: dict[str, Any]) -> Service | StatusError:
    """Send a recorded request, after what was done on the real server between the requests."""
    if "free again after delete" in case["case"]:
        registry.delete("hold")
    if "one freed" in case["case"]:
        registry.delete(f"s{registry.range.first}")
    updates = case["op"] == "update"
    document = {"metadata": {"name": "g"}} | case["manifest"] if updates else case["manifest"]
    try:
        send = registry.update if updates else registry.create
        service = send(document, dry_run="dryRun" in case["op"])
    except StatusError as error:
        return error
    if case["op"] == "create" and "holder" not in case["case"]:
        registry.delete(service.name)
    return service


@pytest.fixture(scope="module")
def answers() -> dict[int, Service | StatusError]:
    """All recorded requests in their order, each on the registry of its range."""
    registries = {
        text: filled(text) if text != DEFAULT_RANGE else Registry(rng=seeded())
        for text in {case["node_port_range"] for case in CASES.values()}
    }
    return {n: answer(registries[case["node_port_range"]], case) for n, case in CASES.items()}


@pytest.mark.parametrize("n", CASES, ids=lambda n: CASES[n]["case"])
def test_the_answer_is_the_real_servers(n: int, answers: dict[int, Service | StatusError]) -> None:
    case, got = CASES[n], answers[n]
    if not case["accepted"]:
        assert isinstance(got, StatusError)
        assert (got.code, got.message) == (case["http"], case["message"])
        return
    assert isinstance(got, Service)
    want = case["result"]
    ports = [(p["name"] or "", p["protocol"], p["port"], p["targetPort"]) for p in want["ports"]]
    assert [(p.name, p.protocol, p.port, p.target_port) for p in got.ports] == ports
    affinity = want["sessionAffinityConfig"]
    assert got.affinity_timeout_s == (affinity and affinity["clientIP"]["timeoutSeconds"])
    assert (
        got.type,
        got.external_traffic_policy or None,
        got.internal_traffic_policy,
        got.session_affinity,
        got.allocate_load_balancer_node_ports,
    ) == (
        want["type"],
        want["externalTrafficPolicy"],
        want["internalTrafficPolicy"],
        want["sessionAffinity"],
        want["allocateLoadBalancerNodePorts"],
    )
    assert bool(got.health_check_node_port) == bool(want["healthCheckNodePort"])


@pytest.mark.parametrize("n", [n for n in CASES if CASES[n]["accepted"]], ids=lambda n: CASES[n]["case"])
def test_named_ports_are_equal_and_automatic_ones_of_the_same_kind(
    n: int, answers: dict[int, Service | StatusError]
) -> None:
    case, got = CASES[n], answers[n]
    assert isinstance(got, Service)
    mine, real = [p.node_port or None for p in got.ports], case["allocated_port"]
    asked = [p.get("nodePort") for p in case["manifest"]["spec"]["ports"]]
    dynamic = PortRange.parse(case["node_port_range"]).dynamic
    for mine_port, real_port, asked_port in zip(mine, real, asked, strict=True):
        if asked_port or real_port is None or "dryRun" in case["op"]:
            assert mine_port == real_port
        elif "one freed" not in case["case"]:
            assert mine_port in dynamic
            assert real_port in dynamic
    # Ports that share a number on the real server share one here.
    assert [mine.index(port) for port in mine] == [real.index(port) for port in real]


@pytest.mark.parametrize(
    ("text", "static", "dynamic"),
    [
        # min(max(16, size / 32), 128), and no split up to 16 ports (KEP-3668).
        ("30000-30015", range(30000, 30000), range(30000, 30016)),
        ("30000-30016", range(30000, 30016), range(30016, 30017)),
        ("30000-30063", range(30000, 30016), range(30016, 30064)),
        ("30000-32767", range(30000, 30086), range(30086, 32768)),
        ("1024-65535", range(1024, 1152), range(1152, 65536)),
    ],
)
def test_bands_follow_the_formula(text: str, static: range, dynamic: range) -> None:
    ports = PortRange.parse(text)
    assert (list(ports.static), ports.dynamic) == (list(static), dynamic)


@pytest.mark.parametrize(
    "text", ["", "30000", "32767-30000", "0-10", "30000-65536", "a-b", "30000-32767 ", 30000]
)
def test_a_range_that_is_none_is_refused(text: Any) -> None:
    with pytest.raises(InputError, match="two ports"):
        PortRange.parse(text)


def fills(order: list[int], ports: PortRange) -> tuple[set[int], set[int]]:
    return set(order[: len(ports.dynamic)]), set(order[len(ports.dynamic) :])


@pytest.mark.parametrize("record", GOLDEN["meta"]["fill_order"], ids=lambda record: record["range"])
def test_the_dynamic_band_is_full_before_the_static_one_is_touched(record: dict[str, Any]) -> None:
    ports = PortRange.parse(record["range"])
    mine = [s.ports[0].node_port for s in filled(record["range"]).services]
    assert fills(mine, ports) == fills(record["order"], ports) == (set(ports.dynamic), set(ports.static))
    assert mine != sorted(mine)


def test_the_next_free_port_after_a_random_place_is_taken() -> None:
    # With one gap at the start of the band, every place leads to it: the scan wraps round.
    registry = filled("30000-30063")
    for gap in (30016, 30040, 30063):
        registry.delete(f"s{gap_owner(registry, gap)}")
        assert registry.create(node_port(f"gap{gap}")).ports[0].node_port == gap


def gap_owner(registry: Registry, port: int) -> str:
    return next(str(row["name"])[1:] for row in registry.table() if row["node_port"] == port)


def test_a_run_of_taken_ports_makes_its_successor_likelier() -> None:
    # The band 30016..30063 is free but for 24 in a row: a start in that run or on its successor leads to it.
    # Chance of fewer than 60 or more than 150 hits in 200 draws of p = 25/48 is below 1e-9 (binomial).
    hits = 0
    for seed in range(200):
        named = [node_port(f"n{port}", {"port": 80, "nodePort": port}) for port in range(30020, 30044)]
        registry = allocate(named, node_port_range="30000-30063", rng=seeded(seed))
        hits += registry.create(node_port("auto")).ports[0].node_port == 30044
    assert 60 <= hits <= 150


def test_automatic_ports_cover_the_dynamic_band_evenly() -> None:
    # 400 draws, as recorded: uniform on 30086..32767, so the mean is 31426.5 with a standard error of 38.7.
    registry = Registry(rng=seeded(7))
    drawn = [registry.create(node_port(f"s{n}")).ports[0].node_port for n in range(400)]
    spread = (32767 - 30086 + 1) / 12**0.5
    error = 4 * spread / 400**0.5
    real = GOLDEN["meta"]["auto_allocation_statistics_400_creates"]
    for mean, least, distinct in (
        (sum(drawn) / 400, min(drawn), len(set(drawn))),
        (real["mean"], real["min"], real["distinct"]),
    ):
        assert abs(mean - (30086 + 32767) / 2) < error
        assert least >= 30086
        assert distinct == 400


def test_the_random_source_alone_decides_automatic_ports() -> None:
    assert filled("30000-30063", seed=3).table() == filled("30000-30063", seed=3).table()
    assert filled("30000-30063", seed=3).table() != filled("30000-30063", seed=4).table()


@pytest.mark.parametrize("named_first", [True, False])
def test_protocols_of_one_port_share_the_node_port_that_one_of_them_names(*, named_first: bool) -> None:
    ports = [{"name": "t", "port": 53, "nodePort": 30053}, {"name": "u", "port": 53, "protocol": "UDP"}]
    registry = allocate([node_port("dns", *(ports if named_first else ports[::-1]))], rng=seeded())
    assert {row["node_port"] for row in registry.table()} == {30053}


def test_a_refused_request_gives_back_all_it_took() -> None:
    registry = Registry(node_port_range="30000-30015", rng=seeded())
    taken_twice = node_port("a", {"name": "x", "port": 1}, {"name": "y", "port": 2, "nodePort": 80})
    assert message(registry.create, taken_twice)[0] == 422
    assert not registry.taken
    registry.create(node_port("b"))
    before = registry.taken
    assert message(registry.create, node_port("b")) == (409, 'services "b" already exists')
    assert registry.taken == before


def test_a_service_is_deleted_once() -> None:
    registry = allocate([node_port("a")], rng=seeded())
    registry.delete("a")
    assert message(registry.delete, "a") == (404, 'services "a" not found')


def test_namespaces_share_the_ports_and_not_the_names() -> None:
    other = node_port("a", {"port": 80, "nodePort": 30001})
    other["metadata"]["namespace"] = "shop"
    registry = allocate([node_port("a", {"port": 80, "nodePort": 30000}), other], rng=seeded())
    assert [(row["namespace"], row["name"]) for row in registry.table()] == [("default", "a"), ("shop", "a")]
    clash = message(registry.create, node_port("c", {"port": 80, "nodePort": 30001}))
    assert clash[1].endswith("provided port is already allocated")


def test_an_update_to_an_exhausted_range_changes_nothing() -> None:
    registry = filled("30000-30015")
    two = node_port("s30000", {"name": "x", "port": 1}, {"name": "y", "port": 2})
    before = registry.table()
    full = (500, "Internal error occurred: failed to allocate a nodePort: range is full")
    assert message(registry.update, two) == full
    assert registry.table() == before


def test_an_update_keeps_node_ports_by_port_name() -> None:
    ports = [{"name": "a", "port": 1, "nodePort": 30001}, {"name": "b", "port": 2, "nodePort": 30002}]
    registry = allocate([node_port("web", *ports)], rng=seeded())
    service = registry.update(node_port("web", {"name": "b", "port": 20}, {"name": "c", "port": 30}))
    kept, new = (port.node_port for port in service.ports)
    assert kept == 30002
    assert registry.taken == {kept, new}
    assert new != 30001


def test_an_update_may_not_swap_the_protocols_of_one_number_into_one() -> None:
    ports = [{"name": "a", "port": 1, "nodePort": 30001}, {"name": "b", "port": 2, "nodePort": 30002}]
    registry = allocate([node_port("web", *ports)], rng=seeded())
    for port in ports:
        port["nodePort"] = 30001
    assert message(registry.update, node_port("web", *ports)) == (500, "duplicate nodePort: {TCP 30001}")


def test_an_update_may_name_one_new_number_for_two_protocols() -> None:
    registry = allocate([node_port("dns")], rng=seeded())
    both = [{"name": p, "port": 53, "protocol": p.upper(), "nodePort": 30053} for p in ("tcp", "udp")]
    registry.update(node_port("dns", *both))
    assert registry.taken == {30053}


def test_an_update_does_not_fill_in_a_number_that_moved_to_another_port() -> None:
    ports = [{"name": "a", "port": 1, "nodePort": 30001}, {"name": "b", "port": 2, "nodePort": 30002}]
    registry = allocate([node_port("web", *ports)], rng=seeded())
    moved = registry.update(node_port("web", {"name": "a", "port": 1}, ports[1] | {"nodePort": 30001}))
    assert moved.ports[1].node_port == 30001
    assert registry.taken == {30001, moved.ports[0].node_port}
    assert moved.ports[0].node_port not in {30001, 30002}


def test_a_change_of_type_clears_the_fields_that_were_left_as_they_were() -> None:
    fields = {"loadBalancerClass": "acme/lb", "allocateLoadBalancerNodePorts": False, "clusterIP": "10.0.0.1"}
    registry = allocate([local_balancer("lb", healthCheckNodePort=30400, **fields)], rng=seeded())
    same = local_balancer("lb", healthCheckNodePort=30400, **fields)
    same["spec"]["type"] = "ClusterIP"
    inside = registry.update(same)
    assert (inside.load_balancer_class, inside.allocate_load_balancer_node_ports) == (None, None)
    assert (inside.health_check_node_port, inside.external_traffic_policy) == (0, "")
    assert not registry.taken
    outside = node_port("lb", type="ExternalName", externalName="db.example", clusterIP="10.0.0.1")
    assert registry.update(outside).cluster_ips == ()


def test_a_cluster_ip_stays() -> None:
    registry = allocate([node_port("web", clusterIP="10.0.0.1")], rng=seeded())
    assert registry.update(node_port("web")).cluster_ip == "10.0.0.1"
    moved = message(registry.update, node_port("web", clusterIP="10.0.0.2"))
    rule = 'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
    assert moved == (422, f'Service "web" is invalid: {rule}')


def test_a_put_without_a_service_creates_it() -> None:
    registry = Registry(rng=seeded())
    assert registry.update(node_port("new")) in registry.services


def local_balancer(name: str, **spec: Any) -> dict[str, Any]:
    return node_port(name, type="LoadBalancer", externalTrafficPolicy="Local", **spec)


def test_a_health_check_port_lives_as_long_as_it_is_needed() -> None:
    registry = allocate([local_balancer("lb", healthCheckNodePort=30400)], rng=seeded())
    assert [(row["port_name"], row["node_port"]) for row in registry.table()][1:] == [
        ("(healthCheckNodePort)", 30400)
    ]
    changed = local_balancer("lb", healthCheckNodePort=30401)
    immutable = 'Service "lb" is invalid: spec.healthCheckNodePort: Forbidden: field is immutable'
    assert message(registry.update, changed) == (422, immutable)
    assert 30400 in registry.taken
    kept = registry.update(local_balancer("lb"))
    assert kept.health_check_node_port == 30400
    registry.update(node_port("lb", type="LoadBalancer"))
    assert 30400 not in registry.taken
    registry.update(local_balancer("lb"))
    assert len(registry.taken) == 2
    registry.delete("lb")
    assert not registry.taken


def test_a_health_check_port_from_a_full_range_is_an_internal_error() -> None:
    registry = filled("30000-30015")
    registry.delete("s30000")
    full = "Internal error occurred: failed to allocate a HealthCheck NodePort 0: range is full"
    assert message(registry.create, local_balancer("lb")) == (500, full)
    assert len(registry.taken) == 15


def test_a_dry_run_leaves_the_ports_alone_even_where_its_placeholder_is_taken() -> None:
    holder = node_port("hold", {"port": 80, "nodePort": 32769})
    registry = allocate([holder], node_port_range="30000-40000", rng=seeded())
    assert registry.create(node_port("dry"), dry_run=True).ports[0].node_port == 32769
    assert message(registry.create, node_port("Bad"), dry_run=True)[0] == 422
    twice = [{"name": name, "port": port, "nodePort": 30001} for name, port in (("a", 1), ("b", 2))]
    assert "already allocated" in message(registry.create, node_port("two", *twice), dry_run=True)[1]
    assert registry.taken == {32769}
    assert len(registry.services) == 1


def test_an_external_name_keeps_its_node_port_in_name_only() -> None:
    outside = node_port(
        "out", {"port": 80, "nodePort": 30001}, type="ExternalName", externalName="db.example"
    )
    registry = allocate([outside], rng=seeded())
    assert registry.services[0].ports[0].node_port == 30001
    assert not registry.taken
    assert not registry.table()
    registry.create(node_port("in", {"port": 80, "nodePort": 30001}))
    registry.delete("out")
    assert registry.taken == {30001}


def test_allocate_refuses_as_the_server_would() -> None:
    with pytest.raises(RefusedError) as caught:
        allocate([node_port("a", {"port": 80, "nodePort": 80})], rng=seeded())
    assert caught.value.message.endswith("The range of valid ports is 30000-32767")


def held(registry: Registry) -> list[int]:
    """List the node ports of all Services, once per Service."""
    return [
        port
        for service in registry.services
        for port in {p.node_port for p in service.ports if p.node_port and service.uses_node_ports}
    ]


actions = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "delete", "dry run"]),
        st.integers(0, 9),
        st.sampled_from(["NodePort", "LoadBalancer", "ClusterIP"]),
        st.lists(
            st.tuples(st.integers(1, 3), st.sampled_from([0, 0, 30000, 30003, 30017])), min_size=1, max_size=3
        ),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(actions=actions, seed=st.integers(0, 99))
def test_no_port_is_ever_held_twice_or_lost(actions: Any, seed: int) -> None:
    registry = Registry(node_port_range="30000-30017", rng=seeded(seed))
    for verb, n, kind, ports in actions:
        spec = [{"name": f"p{i}", "port": port, "nodePort": number} for i, (port, number) in enumerate(ports)]
        document = node_port(f"s{n}", *spec, type=kind)
        try:
            if verb == "delete":
                registry.delete(f"s{n}")
            elif verb == "update":
                registry.update(document)
            else:
                registry.create(document, dry_run=verb == "dry run")
        except StatusError:
            pass
        assert sorted(held(registry)) == sorted(registry.taken)


@settings(max_examples=40, deadline=None)
@given(first=st.integers(1, 65000), size=st.integers(1, 90), seed=st.integers(0, 99))
def test_a_range_of_n_ports_serves_exactly_n_services(first: int, size: int, seed: int) -> None:
    registry = filled(f"{first}-{first + size - 1}", seed=seed)
    assert registry.taken == set(range(first, first + size))
    assert message(registry.create, node_port("more"))[0] == 500
    registry.delete(f"s{first}")
    assert len(registry.taken) == size - 1
    registry.create(node_port("more"))
    assert registry.taken == set(range(first, first + size))
