"""What is written down when a request arrives, connects, ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import AFTER, BASE, BUCKETS, COPIES, STANDING, SUB, SUCCEEDED
from .machine import float_bits, rare, step

if TYPE_CHECKING:
    from .records import World

ATTEMPTS, ANSWERS, ORPHANS, LATE = range(4)  # Columns of `World.load`.


@step
def bucket(x_s: float) -> int:
    """Bucket of a time: the leading bits of the float itself, 256 buckets an octave."""
    return max(0, min((float_bits(x_s) >> (52 - SUB)) - BASE, BUCKETS - 1))


@step
def nanoseconds(x_s: float) -> int:
    """Whole nanoseconds, so that sums merge exactly in any order."""
    return int(x_s * 1e9 + 0.5)


@step
def second_of(w: World, t: float) -> int:
    """Row of the series that instant `t` belongs to."""
    return min(int(t), len(w.series) - 1)


@step
def count_offered(w: World, r: int) -> None:
    """A request was wanted: it belongs to the second and phase of its intended arrival."""
    request = w.requests[r]
    if request.born_s >= w.config.warmup_s:
        w.counts.offered += 1
        w.clients[request.client].offered += 1
        w.series[second_of(w, request.born_s)][0] += 1
        w.phases[request.phase][0] += 1


@step
def happened(w: World, t: float, what: int) -> None:
    """Count something in the second in which it happens, whenever its request was to arrive."""
    w.load[min(int(t), len(w.load) - 1)][what] += 1


@step
def count_attempt(w: World, t: float) -> None:
    """An attempt began."""
    w.counts.attempts += 1
    happened(w, t, ATTEMPTS)


@step
def count_orphan(w: World, t: float) -> None:
    """An answer came for which nobody waits any more: work done for nobody."""
    w.counts.orphans += 1
    happened(w, t, ORPHANS)


@step
def count_connection(w: World, t: float, r: int, k: int) -> None:
    """A connection was established."""
    request = w.requests[r]
    connection = w.connections[k]
    w.nodes[connection.node].connections += 1
    w.pods[connection.pod].connections += 1
    if request.born_s >= w.config.warmup_s:
        w.first_packet[bucket(t - request.syn_s)] += 1


@step
def count_attempt_error(w: World, r: int, cause: int) -> None:
    """One attempt failed."""
    if w.requests[r].born_s >= w.config.warmup_s:
        w.errors[1][cause] += 1


@step
def count_success(w: World, t: float, r: int, f: int) -> None:
    """A request was answered: its latency, and where the time went."""
    request = w.requests[r]
    flight = w.flights[f]
    if request.born_s < w.config.warmup_s:
        return
    total = nanoseconds(t - request.born_s)
    b = bucket(t - request.born_s)
    w.counts.succeeded += 1
    happened(w, t, ANSWERS)
    if request.phase != w.config.phase:
        count_late(w, t, r)
    w.latency[request.phase][b] += 1
    w.latency_ns[request.phase] += total
    w.phases[request.phase][1] += 1
    w.nodes[flight.node].requests += 1
    w.pods[flight.pod].requests += 1
    series = w.series[second_of(w, request.born_s)]
    series[1] += 1
    series[len(series) - 1] += total
    pool_wait = nanoseconds(request.pool_wait_s)
    syn_backoff = nanoseconds(request.syn_backoff_s)
    rules = nanoseconds(request.rules_s)
    node_queue = nanoseconds(request.node_queue_s + flight.node_queue_s)
    pod_queue = nanoseconds(flight.pod_queue_s)
    service = nanoseconds(flight.demand_s)
    failed = nanoseconds(request.failed_s)
    backoff = nanoseconds(request.backoff_s)
    # The wire is what remains: propagation, wake-ups and the CPU of established packets.
    wire = total - pool_wait - syn_backoff - rules - node_queue - pod_queue - service - failed - backoff
    stages = w.stage_ns[b]
    stages[0] += pool_wait
    stages[1] += syn_backoff
    stages[2] += wire
    stages[3] += rules
    stages[4] += node_queue
    stages[5] += pod_queue
    stages[6] += service
    stages[7] += failed
    stages[8] += backoff


@rare
def count_late(w: World, t: float, r: int) -> None:
    """Born before every node's rules were right, answered since, by a SYN sent again or a further attempt."""
    request = w.requests[r]
    if w.config.phase == AFTER and (request.syn > 0 or request.attempt > 0):
        happened(w, t, LATE)


@rare
def count_failure(w: World, r: int, cause: int) -> None:
    """A request failed for good."""
    request = w.requests[r]
    if request.born_s < w.config.warmup_s:
        return
    w.counts.failed += 1
    w.phases[request.phase][2] += 1
    w.errors[0][cause] += 1
    w.clients[request.client].failed += 1
    if request.node >= 0:
        w.nodes[request.node].failed += 1
    w.series[second_of(w, request.born_s)][2 + cause] += 1


@rare
def note_fate(w: World, t: float, k: int, fate: int) -> None:
    """A connection ended for its client; the first fate counts."""
    connection = w.connections[k]
    if connection.fate == STANDING:
        connection.fate = fate
        if t >= w.config.fault_s and connection.established_s < w.config.fault_s:
            w.fates[min(int(t - w.config.fault_s), len(w.fates) - 1)][fate] += 1


@rare
def trace(w: World, t: float, r: int, pod: int, cause: int) -> None:
    """Keep the resolved request itself."""
    if w.counts.traced >= len(w.trace):
        return
    request = w.requests[r]
    row = w.trace[w.counts.traced]
    w.counts.traced += 1
    row.born_s = request.born_s
    row.ended_s = t
    row.number = request.number
    row.client = request.client
    row.node = request.node
    row.pod = pod
    row.attempts = request.attempt % COPIES + 1
    row.cause = cause


@step
def note_end(w: World, t: float, r: int, pod: int, cause: int) -> None:
    """Trace, where a trace is wanted."""
    if w.config.tracing:
        trace(w, t, r, pod if cause == SUCCEEDED else -1, cause)
