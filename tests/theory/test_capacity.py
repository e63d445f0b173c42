"""Stations against exact laws and sampled queues; resources against paths counted one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.theory import balance, capacity, limits, queues, stations

LAWS = [
    stations.Law(dist="constant", mean_s=0.004),
    stations.Law(dist="uniform", mean_s=0.004),
    stations.Law(dist="exponential", mean_s=0.004),
    stations.Law(dist="lognormal", mean_s=0.004, p99_s=0.02),
]
by_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.dist)


def alone(law: stations.Law, load: float, workers: int = 1) -> stations.Pods:
    """One pod whose workers are busy this share of their time."""
    return stations.Pods(law=law, workers=workers, loads_rps=(load * workers / law.mean_s,))


# Laws of service times.


@by_law
def test_a_law_has_its_mean_its_spread_and_its_quantiles(law: stations.Law) -> None:
    times_s = np.linspace(0, 1, 2_000_001)  # Far beyond the longest: 1 s is 250 means.
    later = law.later(times_s)
    mean_s = float(np.trapezoid(later, times_s))
    square = float(np.trapezoid(2 * times_s * later, times_s))
    assert mean_s == pytest.approx(law.mean_s, rel=1e-3)
    assert square / mean_s**2 - 1 == pytest.approx(law.scv, abs=3e-3)
    if law.scv > 0:
        assert law.later(np.array([law.quantile_s(0.9)]))[0] == pytest.approx(0.1)


# Waits.


@given(load=st.floats(0.05, 0.95), servers=st.integers(1, 12))
def test_kimuras_wait_is_exact_at_both_ends_of_the_spread(load: float, servers: int) -> None:
    rate = load * servers
    assert stations.mgc_wait_s(rate, 1.0, 1.0, servers) == pytest.approx(
        queues.mmc_wait_s(rate, 1.0, servers)
    )
    exact = queues.mdc_wait_s(rate, 1.0, servers)
    if exact > 1e-6:
        assert stations.mgc_wait_s(rate, 1.0, 0.0, servers) == pytest.approx(exact)


@given(load=st.floats(0.05, 0.95), scv=st.floats(0, 4))
def test_kimuras_wait_at_one_server_is_pollaczek_khinchine(load: float, scv: float) -> None:
    assert stations.mgc_wait_s(load, 1.0, scv) == pytest.approx(queues.mg1_wait_s(load, 1.0, scv), rel=1e-6)


@pytest.mark.parametrize(("load", "workers"), [(0.3, 1), (0.8, 1), (0.8, 4), (0.85, 8)])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_the_latency_of_exponential_service_is_exact(load: float, workers: int, quantile: float) -> None:
    pods = alone(LAWS[2], load, workers)
    exact = queues.mmc_response_quantile_s(quantile, pods.loads_rps[0], 0.004, workers)
    cell_s = pods._law[0]
    assert pods.quantile_s(quantile) == pytest.approx(exact, abs=cell_s)
    assert pods.mean_s == pytest.approx(
        0.004 + queues.mmc_wait_s(pods.loads_rps[0], 0.004, workers), abs=cell_s
    )


@pytest.mark.parametrize("load", [0.2, 0.6, 0.85])
@pytest.mark.parametrize("quantile", [0.9, 0.99])
def test_the_latency_of_constant_service_at_one_worker_is_exact(load: float, quantile: float) -> None:
    pods = alone(LAWS[0], load)
    exact = queues.md1_response_quantile_s(quantile, pods.loads_rps[0], 0.004)
    # The lattice moves the work by half a cell at most, and each residual of the sum, of which the slowest
    # hundredth holds some ln 100 / (1 - load).
    terms = 1 + math.log(100) / (1 - load)
    assert pods.quantile_s(quantile) == pytest.approx(exact, abs=terms / 2 * pods._law[0])


def sampled(law: stations.Law, load: float, workers: int, runs: int, requests: int) -> np.ndarray:
    """Sample latencies of so many independent queues: Kiefer and Wolfowitz's recursion."""
    rng = np.random.default_rng(7)
    free_s = np.zeros((runs, workers))
    now_s, found = np.zeros(runs), []
    for k in range(requests):
        now_s += rng.exponential(law.mean_s / (load * workers), runs)
        first = free_s.argmin(axis=1)
        start_s = np.maximum(now_s, free_s[np.arange(runs), first])
        work_s = law._inverse(rng.random(runs))
        free_s[np.arange(runs), first] = start_s + work_s
        if k >= requests // 2:
            found.append(start_s + work_s - now_s)
    return np.array(found)  # (requests / 2, runs)


@pytest.mark.long
@by_law
@pytest.mark.parametrize(("load", "workers"), [(0.5, 1), (0.8, 1), (0.7, 4)])
def test_the_p99_of_a_pod_is_within_five_percent_of_sampled_queues(
    law: stations.Law, load: float, workers: int
) -> None:
    times_s = sampled(law, load, workers, 200, 2000)
    pods = alone(law, load, workers)
    assert pods.claim is None
    each = np.quantile(times_s, 0.99, axis=0)  # One a queue: their spread gives the error of the mean.
    error = 4 * float(each.std(ddof=1)) / math.sqrt(len(each))
    whole = float(np.quantile(times_s, 0.99))
    assert abs(pods.quantile_s(0.99) - whole) <= 0.05 * whole + error


@by_law
def test_a_fuller_pod_is_slower_and_an_overloaded_one_never_answers(law: stations.Law) -> None:
    p99 = [alone(law, load).quantile_s(0.99) for load in (0.2, 0.5, 0.8, 0.95)]
    assert p99 == sorted(p99)
    assert alone(law, 1.01).quantile_s(0.5) == math.inf
    assert alone(law, 1.01).mean_s == math.inf
    assert not alone(law, 1.01).is_stable
    assert "101 % busy" in str(alone(law, 1.01).claim)


# Kept connections.


def test_kept_connections_load_pods_as_balls_load_bins() -> None:
    """A request's pod holds its own connection and Binomial(k - 1, 1/n) others."""
    pods = stations.shared_by_connections(LAWS[2], workers=8, rate_rps=90.0, pods=3, connections=9)
    held = [round(load / 10) for load in pods.loads_rps]
    exact = [math.comb(8, k - 1) * (1 / 3) ** (k - 1) * (2 / 3) ** (9 - k) for k in held]
    assert pods.weights == pytest.approx(exact, rel=1e-4)
    assert held == list(range(1, 10))


def test_many_kept_connections_are_as_good_as_new_ones() -> None:
    kept = stations.shared_by_connections(LAWS[2], workers=4, rate_rps=5000.0, pods=10, connections=200_000)
    even = stations.Pods(law=LAWS[2], workers=4, loads_rps=(500.0,))
    assert kept.quantile_s(0.99) == pytest.approx(even.quantile_s(0.99), rel=0.01)


def test_a_connection_is_a_queue_of_its_own() -> None:
    """With a pod that never waits and no path it is M/G/1 at the connection."""
    own = stations.Pods(law=LAWS[2], workers=1000, loads_rps=(100.0,), connection_rps=125.0)  # Half busy.
    exact = queues.mmc_response_quantile_s(0.99, 125.0, 0.004)
    assert own.quantile_s(0.99) == pytest.approx(exact, rel=2e-3)
    assert "busy" in str(own.claim)
    assert stations.Pods(law=LAWS[2], workers=1000, loads_rps=(1.0,), connection_rps=251.0).mean_s == math.inf


# Resources.

SHARES = st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(lambda pods: sum(pods) > 0)


@given(pods=SHARES, entry=st.lists(st.integers(0, 4), min_size=5, max_size=5))
def test_work_visits_and_crossings_are_those_of_all_paths(pods: list[int], entry: list[int]) -> None:
    weights = [1 + share for share in entry[: len(pods)]]
    ratios = [weight / sum(weights) for weight in weights]
    work, visits, crossings = ([0.0] * len(pods) for _ in range(3))
    for (n, enter), (m, there) in itertools.product(enumerate(ratios), enumerate(pods)):
        chance = enter * there / sum(pods)
        visits[n] += chance
        if n == m:
            work[n] += chance * (5.0 + 3.0)
            crossings[n] += chance
        else:
            work[n] += chance * (5.0 + 1.0)
            work[m] += chance * (2.0 + 3.0 + 1.0)
            visits[m] += chance
            crossings[n] += 2 * chance
            crossings[m] += chance
    spread = capacity.Spread(entry_ratios=ratios, pods_by_node=pods)
    assert spread.work_s(entry_s=5, transit_s=2, accept_s=3, overlay_s=1) == pytest.approx(max(work))
    assert spread.visits() == pytest.approx(max(visits))
    assert spread.crossings() == pytest.approx(max(crossings))


@given(nodes=st.integers(1, 20), each=st.integers(1, 4))
def test_an_even_spread_gives_the_limits_of_the_whole_cluster(nodes: int, each: int) -> None:
    spread = capacity.Spread(entry_ratios=[1 / nodes] * nodes, pods_by_node=[each] * nodes)
    assert spread.visits() * nodes == pytest.approx(limits.entries_per_connection(nodes, "Cluster"))
    work_s = spread.work_s(entry_s=3e-5, transit_s=1e-5, accept_s=0.0)
    cpu = capacity.node_cpu(1.0, connect_s=work_s, request_s=0.0, connections=1.0, cores=4)
    assert cpu.breaks_at_rps == pytest.approx(limits.cpu_wall_rps(nodes, 4, 3e-5, 1e-5))
    table = capacity.conntrack(
        1.0, visits=spread.visits(), connections=1.0, standing=0, lifetime_s=120.0, entries=131_072
    )
    assert table.breaks_at_rps == pytest.approx(limits.conntrack_wall_rps(nodes, 4, 120.0))


def test_policy_local_loads_the_pod_that_shares_its_node_with_fewest() -> None:
    spread = capacity.Spread(entry_ratios=[0.5, 0.5], pods_by_node=[2, 1], policy="Local")
    assert spread.hottest_pod_ratio == pytest.approx(max(balance.local_shares([2, 1]))) == 0.5
    assert spread.visits() == 0.5
    assert spread.crossings() == 0.5


@given(
    fixed=st.floats(0, 200),
    each=st.just(0.0) | st.floats(1e-9, 1),
    rate=st.floats(0, 1000),
    ceiling=st.floats(1, 100),
)
@settings(max_examples=200)
def test_a_resource_is_full_at_the_rate_at_which_it_breaks(
    fixed: float, each: float, rate: float, ceiling: float
) -> None:
    one = capacity.Resource(
        name="x", unit="y", fixed=fixed, per_rps=each, rate_rps=rate, ceiling=ceiling, source="z"
    )
    assert one.headroom == pytest.approx(1 - one.utilisation)
    if fixed >= ceiling:
        assert one.breaks_at_rps == 0
    elif each > 0:
        assert fixed + each * one.breaks_at_rps == pytest.approx(ceiling)
    else:
        assert one.breaks_at_rps == math.inf


def test_what_breaks_first_binds_and_what_requests_do_not_use_comes_last() -> None:
    ports = capacity.node_ports(2000)
    sync = capacity.programming(0.5, sync_s=0.03, min_sync_period_s=1.0)
    pods = capacity.workers(100.0, service_s=0.01, hottest_ratio=0.1, workers=1)
    cpu = capacity.node_cpu(100.0, connect_s=1e-4, request_s=0.0, connections=1.0, cores=1)
    assert [r.name for r in capacity.in_order([ports, sync, cpu, pods])] == [
        "pod workers",
        "node CPU",
        "NodePorts",
        "rule programming",
    ]
    assert capacity.binding([ports, cpu, pods]).breaks_at_rps == pytest.approx(1000.0)
    assert sync.ceiling == pytest.approx(1 / 1.03)


def test_a_link_carries_the_longer_direction_and_every_packet() -> None:
    sizes = {"request_bytes": 1000.0, "response_bytes": 3 * 1448.0}
    wide = capacity.link_bytes(10.0, crossings=0.5, link_bytes_per_s=1e6, **sizes)
    assert wide.load == pytest.approx(10 * 0.5 * 3 * 1448)
    busy = capacity.link_packets(10.0, crossings=1.0, connections=1.0, packets_per_s=1e5, **sizes)
    assert busy.per_rps == 6 + 1.5 * (
        1 + 3
    )  # Two handshakes and closes of three; 4 segments, 2 acknowledgements.
    assert not wide.simulated
    assert not busy.simulated


@pytest.mark.parametrize(
    "build",
    [
        lambda: capacity.Spread(entry_ratios=[1.0], pods_by_node=[1, 1]),
        lambda: capacity.Spread(entry_ratios=[1.0], pods_by_node=[0]),
        lambda: capacity.Spread(entry_ratios=[1.5], pods_by_node=[1]),
        lambda: capacity.workers(1.0, service_s=0.0, hottest_ratio=1.0, workers=1),
        lambda: capacity.node_cpu(1.0, connect_s=-1.0, request_s=0.0, connections=1.0, cores=1),
        lambda: stations.mgc_wait_s(1.0, 1.0, 1.0, 1),
        lambda: alone(LAWS[0], 0.5).quantile_s(1.0),
    ],
)
def test_an_argument_outside_its_domain_is_refused(build: object) -> None:
    with pytest.raises(InputError):
        build()  # type: ignore[operator]
