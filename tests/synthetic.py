"""Made-up replications with the attributes that the engine's have, for tests of what reads them.

Consistent (everything is counted from one list of requests) but not a simulation: requests spend
exponential times in a few stages; during a fault one in `nodes` fails or is saved by a second SYN.
The bucket rule and the names are written out again on purpose: this module imports only numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator

CAUSES = (
    "connect_timeout",
    "no_route",
    "refused",
    "reset",
    "request_timeout",
    "pool_timeout",
    "rejected",
    "total_timeout",
    "connection_lost",
    "server_error",
    "no_ports",
    "circuit_open",
)
STAGES = (
    "pool_wait",
    "syn_backoff",
    "wire",
    "rules",
    "node_queue",
    "pod_queue",
    "service",
    "failed_attempts",
    "backoff",
)
PHASES = ("before", "during", "after")
BUCKETS = 36 << 8
NAMES = {"causes": CAUSES, "stages": STAGES, "phases": PHASES}


@dataclass(frozen=True, kw_only=True)
class Replication:
    number: int
    offered: int
    succeeded: int
    failed: int
    in_flight: int
    attempts: int
    errors: np.ndarray
    attempt_errors: np.ndarray
    latency: np.ndarray
    latency_sum_ns: np.ndarray
    first_packet: np.ndarray
    stage_sum_ns: np.ndarray
    timeline: np.ndarray
    second_latency_ns: np.ndarray
    phases: np.ndarray
    nodes: np.ndarray
    pods: np.ndarray
    lasting: np.ndarray
    conntrack_peak: np.ndarray
    pod_utilisation: np.ndarray
    node_utilisation: np.ndarray
    conntrack_drops: int
    backlog_drops: int
    snat_drops: int
    retransmissions: int
    milestones: tuple[tuple[float, str, str], ...]
    orphans: int
    load: np.ndarray
    clients: np.ndarray
    groups: tuple[tuple[str, str], ...]
    node_names: tuple[str, ...]
    node_failed: np.ndarray
    fates: np.ndarray
    standing: np.ndarray
    programming: np.ndarray
    newborns: np.ndarray
    pod_nodes: np.ndarray
    node_zones: tuple[str, ...]
    trace: np.ndarray


def bucket(times_s: np.ndarray) -> np.ndarray:
    bits = np.asarray(times_s, dtype=np.float64).view(np.int64)
    return np.clip((bits >> 44) - ((1023 - 24) << 8), 0, BUCKETS - 1)


def replications(count: int = 20, **what: Any) -> list[Replication]:
    """Make replications 0 .. count - 1 of one synthetic scenario (see `replication`)."""
    return [replication(number, **what) for number in range(count)]


def replication(
    number: int = 0,
    *,
    seed: int = 1,
    rate_rps: float = 200.0,
    duration_s: int = 60,
    nodes: int = 5,
    pods: int = 10,
    connections: int | None = None,
    fault: tuple[float, float] | None = None,
    service_s: float = 0.005,
    every_ns: int | None = None,
    zones: int = 1,
) -> Replication:
    """Make one replication.

    `fault` is (start, detected): between these instants the last node is dead. `connections` is the
    size of the connection pool; None means a connection per request. `every_ns`
    is what each request takes, in place of exponential times. Nodes stand in `zones` in turn.
    """
    rng = np.random.default_rng([seed, number])
    offered = int(rng.poisson(rate_rps * duration_s))
    arrival_s = np.sort(rng.uniform(0, duration_s, offered))
    phase = np.zeros(offered, dtype=int) if fault is None else np.searchsorted(fault, arrival_s, side="right")
    hurt = (phase == 1) & (rng.random(offered) < 1 / nodes)
    failed = hurt & (rng.random(offered) < 0.8)
    cause = rng.choice([0, 4], p=[0.75, 0.25], size=offered)  # connect_timeout, request_timeout
    stages_ns = _stages_ns(rng, offered, hurt, service_s)
    if every_ns is not None:
        stages_ns[:] = 0
        stages_ns[:, STAGES.index("service")] = every_ns
    ok = ~failed
    live = nodes - 1 if fault is not None and nodes > 1 else nodes
    return Replication(
        number=number,
        offered=offered,
        succeeded=int(ok.sum()),
        failed=int(failed.sum()),
        in_flight=0,
        attempts=offered + int(hurt.sum()),
        errors=np.bincount(cause[failed], minlength=len(CAUSES)),
        attempt_errors=np.bincount(cause[hurt], minlength=len(CAUSES)),
        **_times(stages_ns[ok], phase[ok]),
        timeline=_timeline(arrival_s, ok, cause, duration_s),
        second_latency_ns=np.bincount(
            arrival_s[ok].astype(int), weights=stages_ns[ok].sum(axis=1), minlength=duration_s
        ).astype(np.int64),
        phases=np.stack(
            [np.bincount(phase[which], minlength=3) for which in (phase >= 0, ok, failed)], axis=1
        ),
        nodes=_members(rng, nodes, connections or offered, offered),
        pods=_members(rng, pods, connections or offered, offered),
        lasting=np.ones(pods, np.bool_),
        conntrack_peak=rng.poisson(rate_rps * 120 / nodes, size=nodes),
        pod_utilisation=rng.uniform(0.1, 0.4, pods),
        node_utilisation=rng.uniform(0.01, 0.05, nodes),
        conntrack_drops=0,
        backlog_drops=0,
        snat_drops=0,
        retransmissions=int(hurt.sum()),
        milestones=() if fault is None else _milestones(rng, fault, nodes, live),
        orphans=0,
        load=_load(arrival_s, hurt, ok, stages_ns, duration_s),
        clients=_clients(failed),
        groups=(("clients", "open"),),
        node_names=tuple(f"node-{node}" for node in range(nodes)),
        node_failed=np.bincount([nodes - 1] * int(failed.sum()), minlength=nodes),
        fates=_fates(fault, connections or 0, nodes),
        standing=np.array([(connections or 0) - (connections or 0) // nodes, 0]) * (fault is not None),
        programming=np.empty((0, 3)) if fault is None else _programming(rng, fault, live),
        newborns=np.empty((0, 4), np.int64),
        pod_nodes=np.arange(pods) % nodes,
        node_zones=tuple(f"zone-{node % zones + 1}" for node in range(nodes)),
        trace=_trace(rng, arrival_s, ok, stages_ns, (nodes, pods)),
    )


def _programming(rng: Generator, fault: tuple[float, float], live: int) -> np.ndarray:
    """One change, at the end of the fault: every live node knows it a tenth of a second later, or so."""
    return np.column_stack([np.full(live, fault[1]), np.arange(live), rng.uniform(0.05, 0.15, live)])


def _trace(
    rng: Generator, arrival_s: np.ndarray, ok: np.ndarray, stages_ns: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """The first 2,000 requests: any node, any pod, none where it failed."""
    kept = min(len(arrival_s), 2000)
    trace = np.zeros(kept, [("born_s", "f8"), ("ended_s", "f8"), ("node", "i8"), ("pod", "i8")])
    trace["born_s"] = arrival_s[:kept]
    trace["ended_s"] = (arrival_s + stages_ns.sum(axis=1) * 1e-9)[:kept]
    trace["node"] = rng.integers(size[0], size=kept)
    trace["pod"] = np.where(ok[:kept], rng.integers(size[1], size=kept), -1)
    return trace


def _load(
    arrival_s: np.ndarray, hurt: np.ndarray, ok: np.ndarray, stages_ns: np.ndarray, duration_s: int
) -> np.ndarray:
    """Attempts when they begin (a hurt request's second one after 1 s), answers when they come."""
    begun_s = np.concatenate([arrival_s, arrival_s[hurt] + 1.0])
    ended_s = (arrival_s + stages_ns.sum(axis=1) * 1e-9)[ok]
    length = max(duration_s, *(int(times.max(initial=0)) + 1 for times in (begun_s, ended_s)))
    table = np.zeros((length, 4), dtype=np.int64)
    for column, times in enumerate((begun_s, ended_s)):
        table[:, column] = np.bincount(times.astype(int), minlength=length)
    return table


def _clients(failed: np.ndarray) -> np.ndarray:
    """A hundred clients take turns."""
    client = np.arange(len(failed)) % 100
    offered, lost = np.bincount(client, minlength=100), np.bincount(client[failed], minlength=100)
    rows = [(0, lost[k], 1, offered[k]) for k in range(100) if offered[k]]
    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)


def _fates(fault: tuple[float, float] | None, connections: int, nodes: int) -> np.ndarray:
    """One connection in `nodes` was to the dead node and is given up within the second."""
    return np.array([[0, 0, connections // nodes]] if fault is not None else [], dtype=np.int64).reshape(
        -1, 3
    )


def _stages_ns(rng: Generator, offered: int, hurt: np.ndarray, service_s: float) -> np.ndarray:
    stages = np.zeros((offered, len(STAGES)), dtype=np.int64)
    for name, mean_s in (
        ("wire", 2e-4),
        ("rules", 2e-5),
        ("pod_queue", service_s / 5),
        ("service", service_s),
    ):
        stages[:, STAGES.index(name)] = 1 + rng.exponential(mean_s, offered) * 1e9
    stages[hurt, STAGES.index("syn_backoff")] = rng.choice([1_000_000_000, 3_000_000_000], size=hurt.sum())
    return stages


def _times(stages_ns: np.ndarray, phase: np.ndarray) -> dict[str, np.ndarray]:
    total_ns = stages_ns.sum(axis=1)
    where = bucket(total_ns * 1e-9)
    latency = np.zeros((len(PHASES), BUCKETS), dtype=np.int64)
    np.add.at(latency, (phase, where), 1)
    latency_sum_ns = np.zeros(len(PHASES), dtype=np.int64)
    np.add.at(latency_sum_ns, phase, total_ns)
    stage_sum_ns = np.zeros((BUCKETS, len(STAGES)), dtype=np.int64)
    np.add.at(stage_sum_ns, where, stages_ns)
    first_ns = stages_ns[:, [STAGES.index(name) for name in ("syn_backoff", "wire", "rules")]].sum(axis=1)
    return {
        "latency": latency,
        "latency_sum_ns": latency_sum_ns,
        "stage_sum_ns": stage_sum_ns,
        "first_packet": np.bincount(bucket(first_ns * 1e-9), minlength=BUCKETS),
    }


def _timeline(arrival_s: np.ndarray, ok: np.ndarray, cause: np.ndarray, duration_s: int) -> np.ndarray:
    table = np.zeros((duration_s, 2 + len(CAUSES)), dtype=np.int64)
    second = arrival_s.astype(int)
    np.add.at(table[:, 0], second, 1)
    np.add.at(table[:, 1], second[ok], 1)
    np.add.at(table, (second[~ok], 2 + cause[~ok]), 1)
    return table


def _members(rng: Generator, members: int, connections: int, requests: int) -> np.ndarray:
    uniform = np.full(members, 1 / members)
    made = rng.multinomial(connections, uniform)
    return np.stack(
        [made, rng.multinomial(requests, made / max(connections, 1) if made.any() else uniform)], axis=1
    )


def _milestones(
    rng: Generator, fault: tuple[float, float], nodes: int, live: int
) -> tuple[tuple[float, str, str], ...]:
    start, detected = fault
    name = f"node-{nodes - 1}"
    seen_s = detected - rng.uniform(1.5, 2.5)
    updated = sorted(
        (detected - rng.uniform(0, 1), "rules updated", f"node-{node}") for node in range(live - 1)
    )
    last = (detected, "rules updated", f"node-{live - 1}")
    return (
        (start, "fault", f"{name} power-off"),
        (seen_s, "node not ready", name),
        (seen_s + 0.1, "endpoints out", name),
        *updated,
        last,
        (detected, "rules updated everywhere", ""),
    )
