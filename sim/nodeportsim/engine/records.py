"""Every record of the world, once.

A field is declared with its C type; the same declaration is a slots class for the interpreter and a
C struct for the kernel. Integers that are indices are -1 where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np

f8 = Annotated[float, "f8"]
i8 = Annotated[int, "i8"]
i4 = Annotated[int, "i4"]


@dataclass(slots=True)
class Config:
    """What every step may read; `phase` and `leader` are set by the control plane."""

    key0: i8
    key1: i8
    duration_s: f8
    warmup_s: f8
    fault_s: f8  # the first event's instant; NEVER_S where there is none
    wake_up_s: f8
    jitter_s: f8
    loss_ratio: f8
    accept_s: f8  # kernel CPU of the pod's node for a new connection, and for a request
    accept_packet_s: f8
    overlay_s: f8  # what encapsulation adds at each of two nodes
    overlay_packet_s: f8
    spread_sigma: f8  # of the logarithm of a first packet's cost over its price
    balancer_s: f8
    service_mean_s: f8
    service_sigma: f8
    no_route_s: f8
    rto_s: f8
    time_wait_s: f8
    close_s: f8  # what conntrack keeps after RST
    affinity_s: f8
    noisy: i4
    nodes: i4  # entry nodes; further ones only hold pods
    pods: i4
    zones: i4
    choice: i4
    service_law: i4
    affinity: i4
    memory: i4
    recent_entries: i4
    backlog: i4
    reject: i4
    queue_limit: i4
    client_no_route: i4
    node_no_route: i4
    balancer_least: i4
    data_retries: i4
    phase: i4
    leader: i4
    tracing: i4


@dataclass(slots=True)
class Counts:
    """Heads of free lists, turns, totals."""

    request_free: i8
    flight_free: i8
    connection_free: i8
    dns_turn: i8
    balancer_turn: i8
    open_requests: i8
    open_connections: i8
    open_flights: i8
    offered: i8
    succeeded: i8
    failed: i8
    attempts: i8
    orphans: i8
    conntrack_drops: i8
    backlog_drops: i8
    retransmissions: i8
    traced: i8
    strays: i8  # choices of a custom policy that were no node


@dataclass(slots=True)
class Group:
    """A group of clients alike."""

    rate_rps: f8
    ttl_s: f8
    max_age_s: f8
    idle_timeout_s: f8
    connect_s: f8
    request_s: f8
    total_s: f8
    pool_s: f8
    backoff_s: f8
    backoff_factor: f8
    backoff_max_s: f8
    think_mean_s: f8
    think_sigma: f8
    first: i4
    count: i4
    closed: i4
    arrivals: i4
    burst: i4
    policy: i4
    reuse: i4
    pool_size: i4
    streams: i4
    max_requests: i4
    attempts: i4
    retry_next: i4
    jitter: i4
    think_law: i4
    syn_schedule: i4
    trace_first: i4
    trace_count: i4
    choose_at: i8  # the kernel's: addresses of a custom policy's functions, 0 for none
    learn_at: i8


@dataclass(slots=True)
class Client:
    """One client host: an address, a DNS cache, a connection pool."""

    resolved_s: f8
    number: i8
    offered: i8
    failed: i8
    group: i4
    home: i4
    zone: i4
    open: i4
    idle_head: i4
    idle_tail: i4
    wait_head: i4
    wait_tail: i4


@dataclass(slots=True)
class Request:
    """A client's view of one request; its attempts come one after another."""

    born_s: f8
    attempt_s: f8  # when the present attempt began: got its connection or started to open one
    wait_s: f8  # when it joined the pool's queue
    syn_s: f8  # first SYN of the present attempt
    demand_s: f8
    u_node: f8
    u_pod: f8
    u_core: f8
    u_peer: f8
    u_backoff: f8
    pool_wait_s: f8
    syn_backoff_s: f8
    rules_s: f8
    node_queue_s: f8
    failed_s: f8
    backoff_s: f8
    timer_s: f8  # the kernel's: when the timer in a list ends
    number: i8
    timer: i8  # number of the one live timer, -1 for none
    life: i8  # grows when an attempt ends: older flights mean nothing then
    client: i4
    connection: i4
    node: i4
    attempt: i4
    syn: i4  # SYNs sent again in this attempt
    state: i4
    phase: i4
    next: i4
    timer_list: i4  # the kernel's: list of timers it is in, -1 for none, and its neighbours there
    timer_before: i4
    timer_after: i4


@dataclass(slots=True)
class Connection:
    """One TCP connection, from its first SYN to its close."""

    opened_s: f8
    established_s: f8  # NEVER_S until then
    idle_s: f8
    life: i8
    client: i4
    node: i4
    pod: i4  # the pin: -1 until a SYN has passed the node's rules
    peer: i4  # the pod's node
    node_epoch: i4
    peer_epoch: i4
    pod_epoch: i4
    core: i4
    peer_core: i4
    requests: i4
    active: i4
    listed: i4  # in the idle list of its client
    dead: i4
    reset: i4  # it ended by RST
    fate: i4  # how it ended, as its client saw it; STANDING before
    tracked: i4  # conntrack entries it holds: 1 at the entry node, 2 also at the peer
    next: i4


@dataclass(slots=True)
class Flight:
    """A packet's journey; outlives an attempt its client gave up."""

    sent_s: f8
    demand_s: f8
    rules_s: f8
    node_queue_s: f8
    pod_queue_s: f8
    life: i8
    connection_life: i8
    number: i8
    request: i4
    client: i4
    attempt: i4
    connection: i4
    node: i4
    pod: i4
    peer: i4
    node_epoch: i4
    peer_epoch: i4
    pod_epoch: i4
    core: i4
    peer_core: i4
    tries: i4
    hops: i4
    first: i4  # 1: its connection's first request, which waits in the accept queue
    inside: i4  # 1: in the pod's queue, 2: with a worker
    next: i4


@dataclass(slots=True)
class Node:
    """A node: reachability, rules as priced at the last sync, CPU, conntrack."""

    walk_s: f8
    endpoint_s: f8
    sticky_s: f8
    sticky_endpoint_s: f8
    refuse_s: f8
    transit_s: f8
    packet_s: f8
    transit_packet_s: f8
    busy_s: f8
    booted_s: f8
    connections: i8
    requests: i8
    failed: i8  # requests whose last attempt entered here
    conntrack: i8
    conntrack_max: i8
    conntrack_peak: i8
    drained: i8
    up: i4
    cut: i4
    cut_nodes: i4
    epoch: i4
    zone: i4
    programmed: i4  # 0 after a boot until the first sync: nothing listens on the NodePort
    first: i4  # its endpoints are w.endpoints[first : first + endpoints]
    endpoints: i4
    empty: i4  # REFUSE or DROP when there are none
    turn: i4
    weight_turn: i4
    healthy: i4
    active: i4  # connections a balancer has open to it
    full: i4  # its conntrack table has been full


@dataclass(slots=True)
class Pod:
    """A pod: workers, accept queue, life and death."""

    busy_s: f8
    hung_until_s: f8
    connections: i8
    requests: i8
    node: i4
    up: i4
    epoch: i4
    told: i4  # 1: its last death sent FIN or RST to its clients
    inside: i4
    queued: i4
    workers: i4
    weight: i4


@dataclass(slots=True)
class Sticky:
    """What a node remembers of one client address."""

    seen_s: f8
    pod: i4


@dataclass(slots=True)
class Trace:
    """One resolved request, for tests and for users who ask for it."""

    born_s: f8
    ended_s: f8
    number: i8
    client: i4
    node: i4
    pod: i4
    attempts: i4
    cause: i4


class World(NamedTuple):
    """All there is. Interpreted: lists of slots objects. Compiled: arrays of structs, same names."""

    config: Config
    counts: Counts
    groups: list[Group]
    clients: list[Client]
    requests: list[Request]
    connections: list[Connection]
    flights: list[Flight]
    nodes: list[Node]
    pods: list[Pod]
    endpoints: list[int]  # versions of endpoint lists, shared by the nodes that programmed them
    path_s: list[list[float]]  # [zone, then group of clients][zone]
    cpu_free_s: list[list[float]]  # [node][core]
    work_free_s: list[list[float]]  # [pod][worker]
    expiry: list[list[int]]  # [node][second % EXPIRY_SLOTS]: conntrack entries that end then
    sticky: list[list[Sticky]]  # [node][client], empty rows without affinity
    active: list[list[int]]  # [node][pod] open connections, empty rows unless ipvs lc or wlc
    inactive: list[list[int]]
    memory: list[list[float]]  # [client][cell]: what a custom policy keeps
    syn_at_s: list[list[float]]  # [schedule][k]: instant of the k-th SYN; the last is the kernel's give-up
    trace_s: list[float]
    latency: list[list[int]]  # [phase][bucket]
    latency_ns: list[int]  # [phase]
    first_packet: list[int]
    stage_ns: list[list[int]]  # [bucket][stage]
    series: list[list[int]]  # [second][offered, succeeded, failed by cause, latency in ns]
    load: list[list[int]]  # [second it happened in][attempts begun, answers, answers to nobody, late answers]
    fates: list[list[int]]  # [second since the first fault][fate]: connections from before it that ended
    phases: list[list[int]]  # [phase][offered, succeeded, failed]
    errors: list[list[int]]  # [requests, attempts][cause]
    trace: list[Trace]
    queue: Any  # the scheduler's; steps never look inside


def struct(cls: type) -> np.dtype[Any]:
    """Give the C struct of a record class."""
    hints = get_type_hints(cls, include_extras=True)
    return np.dtype([(name, hint.__metadata__[0]) for name, hint in hints.items()], align=True)
