"""What a run will take, from its scenario alone: refused before the work rather than killed in it.

The estimates are coarse, from below: declared load times a measured cost, and the arrays whose size a
scenario decides. A user who really wants more runs several scenarios.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.spec import Scenario

REQUEST_CPU_S = {"compiled": 0.4e-6, "simpy": 53e-6}
"""CPU time of a request with its own connection on a server core: one over the rates of `new connection` in
results/benchmarks/ratios.json and of SimPy in start.json, rounded up. Only the order counts."""

REPLICATION_CPU_S = 0.02
"""CPU time of building a small world and reading it again. Only the order counts."""

LONGEST_CPU_S = 24 * 3600.0
MOST_BYTES = 4 * 2**30

_NUMBER_BYTES = 8
_CLIENT_BYTES = 48  # Of engine/records.py, as are the next.
_STICKY_BYTES = 16
_OUTLIER_BYTES = 16
_NODE_BYTES = 184 + 256 * _NUMBER_BYTES  # 256 seconds of closing conntrack entries.
_POD_BYTES = 80
_REPLICATION_BYTES = 2**20  # Histograms and stage sums: (3 + 1 + 9) x 9216 buckets x 8 bytes.
_SECOND_BYTES = 12 * _NUMBER_BYTES
_MEMBER_BYTES = 4 * _NUMBER_BYTES
_INTERPRETED = 4  # A Python number and its place in a list, against 8 bytes in an array.


def expected_requests(scenario: Scenario) -> float:
    """Estimate how many requests all replications offer, from the declared load alone."""
    return _runs(scenario) * sum(_offered(group, scenario) for group in scenario.clients)


def expected_cpu_s(scenario: Scenario, engine: Engine) -> float:
    """Estimate the CPU time of all replications; coarse, and rather too little."""
    return expected_requests(scenario) * REQUEST_CPU_S[engine] + _runs(scenario) * REPLICATION_CPU_S


def _runs(scenario: Scenario) -> int:
    """Count the runs, at most: with drawn prices, each replication runs at the profile's values too."""
    run = scenario.run
    most = run.max_replications if run.precision else run.replications
    return most * (1 + run.uncertainty)


def _offered(group: Clients, scenario: Scenario) -> float:
    if group.arrivals == "trace":
        return float(len(group.trace_s))
    if group.loop == "open":
        return group.rate_rps * scenario.run.duration_s
    cycle_s = group.think_time.mean_s + scenario.pods.service_time.mean_s
    # A closed loop without any pause is bounded by the network's round trip.
    round_trip_s = 2 * (scenario.cluster.network.client_node_s + scenario.cluster.network.wake_up_s)
    return group.count * scenario.run.duration_s / max(cycle_s + round_trip_s, 1e-6)


def expected_bytes(scenario: Scenario, engine: Engine) -> float:
    """Estimate the memory that one world and the counts of all replications take."""
    nodes, pods = scenario.cluster.nodes, scenario.service.replicas
    clients = sum(group.count for group in scenario.clients)
    proxy = scenario.cluster.proxy
    world = nodes * (_NODE_BYTES + scenario.cluster.cores * _NUMBER_BYTES) + clients * _CLIENT_BYTES
    world += pods * (_POD_BYTES + scenario.pods.workers * _NUMBER_BYTES)
    if any(group.entry.policy == "custom" for group in scenario.clients):
        world += nodes * clients * _NUMBER_BYTES
    if any(group.ejection.failures for group in scenario.clients):
        world += nodes * clients * _OUTLIER_BYTES
    if scenario.service.session_affinity == "ClientIP":
        world += nodes * clients * _STICKY_BYTES
    if proxy.mode == "ipvs" and proxy.scheduler in {"lc", "wlc"}:
        world += nodes * pods * 2 * _NUMBER_BYTES
    counts = _REPLICATION_BYTES + scenario.run.duration_s * _SECOND_BYTES + (nodes + pods) * _MEMBER_BYTES
    return world * (_INTERPRETED if engine == "simpy" else 1) + _runs(scenario) * counts


def assert_bounded(scenario: Scenario, engine: Engine) -> None:
    """Refuse what would take more than a day of one core or 4 GiB.

    Raises
    ------
    InputError
        With the estimate.
    """
    requests, gibibytes = expected_requests(scenario), expected_bytes(scenario, engine) / 2**30
    hours = requests * REQUEST_CPU_S[engine] / 3600
    hint = "a lower rate, a shorter run, fewer replications, nodes or pods give the same answer for less"
    if hours > LONGEST_CPU_S / 3600:
        rule = f"offers some {requests:.2g} requests: {hours:,.0f} hours of one core, at most 24 are taken on"
        raise InputError(rule, field=f"scenario {scenario.name}", hint=hint)
    if gibibytes > MOST_BYTES / 2**30:
        rule = f"takes some {gibibytes:,.0f} GiB of memory, at most {MOST_BYTES / 2**30:.0f} are taken on"
        raise InputError(rule, field=f"scenario {scenario.name}", hint=hint)
