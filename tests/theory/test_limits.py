"""Walls against published figures, enumerated choices, and the kernel measurements they are priced by."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.theory import limits


@pytest.mark.parametrize(
    ("cores", "entries"),
    [(1, 131_072), (4, 131_072), (5, 163_840), (8, 262_144), (32, 1_048_576), (96, 1_048_576)],
)
def test_kube_proxy_sizes_the_table_by_cores_between_a_floor_and_a_cap(cores: int, entries: int) -> None:
    # k8s:pkg/proxy/conntrack/sysctls.go getConntrackMax.
    assert limits.conntrack_max(cores) == entries


@pytest.mark.parametrize(("nodes", "policy"), [(1, "Cluster"), (3, "Cluster"), (5, "Cluster"), (3, "Local")])
def test_a_connection_takes_an_entry_at_every_node_it_crosses(nodes: int, policy: str) -> None:
    paths = [
        (entry, pod)
        for entry, pod in itertools.product(range(nodes), repeat=2)
        if policy == "Cluster" or entry == pod
    ]
    crossed = sum(len(set(path)) for path in paths) / len(paths)
    assert limits.entries_per_connection(nodes, policy) == pytest.approx(crossed)  # type: ignore[arg-type]


@pytest.mark.parametrize(("cores", "rps"), [(4, 1_092), (8, 2_184)])
def test_short_connections_fill_a_default_table_at_the_published_rates(cores: int, rps: int) -> None:
    # 131,072 entries / 120 s of TIME_WAIT; published without decimals.
    assert math.floor(limits.conntrack_wall_rps(1, cores, 120.0, "Local")) == rps


def test_policy_local_nearly_doubles_what_the_tables_carry() -> None:
    cluster, local = (limits.conntrack_wall_rps(10, 4, 120.0, policy) for policy in ("Cluster", "Local"))
    assert local / cluster == pytest.approx(2 - 1 / 10)


@pytest.mark.parametrize(("ports", "rps"), [(limits.LOCAL_PORTS, 235), (limits.SNAT_PORTS, 538)])
def test_source_ports_run_out_at_the_published_rates(ports: int, rps: int) -> None:
    assert round(limits.wall_rps(ports, 120.0)) == pytest.approx(rps, abs=0.5)


def test_the_port_counts_are_those_of_their_ranges() -> None:
    assert len(range(1024, 65535 + 1)) == limits.SNAT_PORTS
    assert len(range(32768, 60999 + 1)) == limits.LOCAL_PORTS
    assert len(range(30000, 32767 + 1)) == limits.NODE_PORTS


@given(rate_rps=st.integers(1, 50), lifetime_s=st.integers(1, 20), ceiling=st.integers(1, 400))
def test_a_table_fills_when_counting_entries_says_so(rate_rps: int, lifetime_s: int, ceiling: int) -> None:
    # One arrival every 1/rate s, each held for the lifetime; the first instant at which `ceiling` are held.
    held = [n - max(0, n - rate_rps * lifetime_s) for n in range(rate_rps * (lifetime_s + 2))]
    full = next((Fraction(n, rate_rps) for n, entries in enumerate(held) if entries == ceiling), None)
    expected_s = math.inf if full is None or rate_rps * lifetime_s == ceiling else float(full)
    assert limits.fill_time_s(rate_rps, lifetime_s, ceiling) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("ports", "static"), [(2_768, 86), (64, 16), (17, 16), (16, 0), (1, 0), (20_000, 128)]
)
def test_the_static_band_is_the_api_servers(ports: int, static: int) -> None:
    # k8s:pkg/registry/core/service/portallocator/allocator.go calculateRangeOffset; two were observed.
    assert limits.static_band(ports) == static


@pytest.mark.parametrize(("automatic", "wanted"), [(0, 3), (3, 0), (3, 2), (7, 2), (8, 1), (0, 8), (1, 8)])
def test_a_wanted_port_is_taken_as_often_as_in_every_allocation(automatic: int, wanted: int) -> None:
    # 24 ports: 16 static, 8 for automatic allocation.
    allocations = list(itertools.combinations(range(8), automatic))
    taken = sum(any(port < wanted for port in allocation) for allocation in allocations)
    assert limits.taken_ratio(automatic, wanted, ports=24) == pytest.approx(taken / len(allocations))


def test_twenty_three_people_share_a_birthday_with_the_chance_everybody_knows() -> None:
    assert limits.birthday_ratio(23, 365) == pytest.approx(0.5073, abs=5e-5)  # Feller I, II.3.
    assert limits.birthday_ratio(87, 86) == 1
    assert limits.birthday_ratio(0, 1) == 0


@pytest.mark.parametrize(
    ("services", "first", "last"),
    [(1, 21, 21), (10, 30, 48), (100, 120, 318), (1000, 1020, 3018), (2000, 2020, 6018)],
)
def test_unit_prices_count_the_rules_of_kube_proxy_1_36(services: int, first: int, last: int) -> None:
    # Rules tested for the first endpoint of the first and of the last NodePort; 16 of them at any size.
    # The API server's own Service is one more service port.
    ones = limits.Prices(base_s=16.0, services_rule_s=1.0, node_ports_rule_s=1.0, endpoint_rule_s=1.0)
    for position, rules in ((1, first), (services, last)):
        assert limits.first_packet_s(ones, service_ports=services + 1, position=position, endpoint=1) == rules


@pytest.mark.parametrize(
    ("services", "position", "measured_us"),
    [(1, 1, 12.0), (1000, 1, 16.7), (1000, 1000, 56.6), (2000, 2000, 104.0)],
)
def test_fitted_prices_give_the_measured_connect_times_below_the_knee(
    services: int, position: int, measured_us: float
) -> None:
    # iptables-legacy on kernel 6.18, one rule per NodePort there; the fit's own hold-out p90 is 8 %.
    # The 2,000 were held out of the fit.
    fitted = limits.Prices(base_s=11.97e-6, services_rule_s=5.06e-9, node_ports_rule_s=38.98e-9)
    cost_s = limits.first_packet_s(
        fitted, service_ports=services, position=position, endpoint=1, rules_per_node_port=1
    )
    assert cost_s == pytest.approx(measured_us * 1e-6, rel=0.08)


def test_flat_look_ups_cost_the_same_for_any_number_of_services() -> None:
    flat = limits.Prices(base_s=11.63e-6)
    costs = {limits.first_packet_s(flat, service_ports=s, position=s, endpoint=1) for s in (1, 1000, 30_000)}
    assert costs == {11.63e-6}


def test_every_core_is_busy_at_the_cpu_wall() -> None:
    # CPU per second by counting: of 1000 connections per second on 4 nodes, 3 in 4 cost the pod's node too.
    wall_rps = limits.cpu_wall_rps(nodes=4, cores=2, entry_s=20e-6, pod_node_s=12e-6)
    busy_s = (
        sum(20e-6 + (12e-6 if entry != pod else 0) for entry, pod in itertools.product(range(4), repeat=2))
        / 16
    )
    assert wall_rps * busy_s == pytest.approx(4 * 2)
    assert limits.cpu_wall_rps(nodes=4, cores=2, entry_s=20e-6) == pytest.approx(4 * 2 / 20e-6)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("cores", lambda: limits.conntrack_max(0)),
        ("policy", lambda: limits.entries_per_connection(3, "local")),  # type: ignore[arg-type]  # That is the point.
        ("lifetime_s", lambda: limits.wall_rps(100, 0.0)),
        ("automatic", lambda: limits.taken_ratio(2_683, 1)),
        ("wanted", lambda: limits.taken_ratio(1, 2_683)),
        ("ports", lambda: limits.birthday_ratio(2, 0)),
        (
            "position",
            lambda: limits.first_packet_s(
                limits.Prices(base_s=1.0), service_ports=1, position=-1, endpoint=1
            ),
        ),
        ("entry_s", lambda: limits.cpu_wall_rps(1, 1, 0.0)),
    ],
)
def test_an_argument_outside_its_domain_is_named(field: str, call: object) -> None:
    with pytest.raises(InputError) as refusal:
        call()  # type: ignore[operator]  # Lambdas of different result types.
    assert refusal.value.field == field
