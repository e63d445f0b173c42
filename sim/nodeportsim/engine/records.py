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
    slowdown: f8  # 1: a container is as quick as ever from its start on
    slow_start_s: f8
    no_route_s: f8
    rto_s: f8
    time_wait_s: f8
    close_s: f8  # what conntrack keeps after RST
    syn_sent_s: f8  # ... after a SYN that was not answered
    affinity_s: f8
    noisy: i4  # 1 and more: packets may be lost or late
    nodes: i4  # entry nodes; further ones only hold pods
    zones: i4
    choice: i4
    ports: i4  # 1: source ports or masquerade ports are modelled
    snat_ports: i4  # of a node towards a pod, 0 where they are not modelled
    evict_closing: i4
    port_reuse: i4
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
    balancer_down: i4  # failovers under way: nobody is active
    balancer_epoch: i4  # rises whenever a balancer forgets; 0 as long as none ever did
    balancer_known: i4  # the active one knows connections of this epoch on
    balancer_resets: i4  # ... and answers others by RST
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
    hedges: i8  # attempts that are copies of one still under way
    overtaken: i8  # attempts given up because another copy won
    orphans: i8
    conntrack_drops: i8
    backlog_drops: i8
    snat_drops: i8
    retransmissions: i8
    traced: i8
    strays: i8  # choices of a custom policy that were no node
    budget_refusals: i8  # retries that a budget forbade
    ejections: i8  # of nodes, by clients


@dataclass(slots=True)
class Group:
    """A group of clients alike."""

    rate_rps: f8
    ttl_s: f8
    ignore_ttl_ratio: f8
    max_age_s: f8
    idle_timeout_s: f8
    connect_s: f8
    request_s: f8
    total_s: f8
    pool_s: f8
    give_up_s: f8  # how long data may stay unacknowledged before TCP gives the connection up
    keep_s: f8  # quiet time before a keep-alive probe, 0 for none
    keep_interval_s: f8
    copy_s: f8  # delay before the next copy of an attempt
    backoff_s: f8
    backoff_factor: f8
    backoff_max_s: f8
    idempotent_ratio: f8
    budget_slice_s: f8
    circuit_open_s: f8
    ejection_base_s: f8
    ejection_max_s: f8
    ejection_panic: f8  # fewer kept nodes than this, and ejections are not heeded
    budget_deposit: i8
    budget_cost: i8
    budget_reserve: i8
    tokens_max: i8  # thousandths, as is the next
    tokens_success: i8
    think_mean_s: f8
    think_sigma: f8
    port_hold_s: f8
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
    keep_probes: i4
    copies: i4  # at most so many copies of an attempt
    copy_next: i4  # a copy takes the next address
    dials: i4  # 1: copies race for a connection, 0: for an answer
    drawn: i4  # a copy's work is drawn for itself
    attempts: i4
    retry_next: i4
    jitter: i4
    withdrawing: i4  # DNS lists only nodes that answer
    restrained: i4  # any of what follows is used
    budget: i4
    circuit_failures: i4
    circuit_probes: i4
    ejection_failures: i4
    ejection_most: i4  # nodes ejected at once
    think_law: i4
    syn_schedule: i4
    ports: i4  # source ports of an address towards a node, 0 where they are not modelled
    port_pick: i4
    first_row: i4  # rows of w.ports: first_row + (host - first) * nodes + node
    trace_first: i4
    trace_count: i4
    choose_at: i8  # the kernel's: addresses of a custom policy's functions, 0 for none
    learn_at: i8


@dataclass(slots=True)
class Client:
    """One client host: an address, a DNS cache, a connection pool."""

    resolved_s: f8
    number: i8
    group: i4
    home: i4
    host: i4  # the first client with the same address
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
    race_s: f8  # when the first copy of the present attempt began
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
    slept_s: f8  # the last back-off: decorrelated jitter goes on from it
    timer_s: f8  # the kernel's: when the timer in a list ends
    number: i8
    timer: i8  # number of the one live timer, -1 for none
    life: i8  # grows when an attempt ends: older flights mean nothing then
    client: i4
    connection: i4
    twin: i4  # the next of the copies that race, in a ring by age; -1 for an attempt alone
    node: i4
    attempt: i4
    syn: i4  # SYNs sent again in this attempt
    state: i4
    idempotent: i4  # may be sent twice; drawn for restrained groups only
    circuit_turn: i4  # of the breaker that let the present attempt pass
    phase: i4
    next: i4
    timer_list: i4  # the kernel's: list of timers it is in, -1 for none, and its neighbours there
    timer_before: i4
    timer_after: i4


@dataclass(slots=True)
class Connection:
    """One TCP connection, from its first SYN to its close."""

    opened_s: f8
    idle_s: f8
    heard_s: f8  # last sign of life: SYN-ACK, an answer, an answered probe
    give_up_s: f8  # when TCP gives up what it has not seen acknowledged, 0 while there is nothing
    probe_s: f8  # when the next keep-alive probe goes, 0 for none
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
    request: i4  # the last one it was used for
    probes: i4  # unanswered ones
    lost: i4  # found dead: what it carries fails
    requests: i4
    active: i4
    listed: i4  # in the idle list of its client
    dead: i4
    reset: i4  # it ended by RST
    port: i4  # its source port, -1 where ports are not modelled
    snat_port: i4  # the entry node's towards the pod, -1 where there is none
    answered: i4  # it was established
    tracked: i4  # conntrack entries it holds: 1 at the entry node, 2 also at the peer
    balancer_epoch: i4  # when its last SYN passed a balancer
    next: i4


@dataclass(slots=True)
class Flight:
    """A packet's journey; outlives an attempt its client gave up."""

    sent_s: f8  # when its sender first sends it; while a pod works on it, when it will answer
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
    reply: i4  # what the pod answers: REPLY, REJECTED, FAULTY
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
    slow: f8  # how many times as long its CPU takes for everything, its pods' work too
    loss_ratio: f8  # of packets between it and everybody
    connections: i8
    requests: i8
    conntrack: i8
    conntrack_max: i8
    conntrack_peak: i8
    occupied: i8  # conntrack entries that other traffic of the node holds
    drained: i8
    up: i4
    cut: i4  # faults that part it from others, in whatever direction
    deaf: i4  # ... through which nothing arrives
    mute: i4  # ... through which nothing leaves
    cut_nodes: i4
    firewall: i4  # PASSING, or what is done with new connections to the NodePort
    epoch: i4
    zone: i4
    programmed: i4  # 0 after a boot until the first sync: nothing listens on the NodePort
    first: i4  # its endpoints are w.endpoints[first : first + endpoints]
    endpoints: i4
    empty: i4  # REFUSE or DROP when there are none
    turn: i4
    weight_turn: i4
    healthy: i4
    listed: i4  # in the answers of a DNS that checks health
    balancer_known: i4  # connections of earlier epochs were closed when the balancer let go of this node
    active: i4  # connections a balancer has open to it
    full: i4  # its conntrack table has been full


@dataclass(slots=True)
class Pod:
    """A pod: workers, accept queue, life and death."""

    busy_s: f8
    hung_until_s: f8
    started_s: f8  # its container, the last time
    drained_s: f8  # when it was told to drain
    slow: f8  # how many times as long its work takes, over what its node adds
    errors_ratio: f8  # of the requests it answers with a 500
    connections: i8
    requests: i8
    node: i4
    up: i4  # DOWN, SERVING or DRAINING
    gone: i4  # 1: deleted, nobody has its address any more
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
class Ports:
    """Source ports of one address towards one node."""

    none_before_s: f8  # all are taken until then
    next: i4  # where a search in turn begins


@dataclass(slots=True)
class Restraint:
    """What a client remembers of its failures: budget, circuit breaker."""

    circuit_until_s: f8
    ejected_until_s: f8  # no node is ejected any more from then on
    tokens: i8  # thousandths
    slice: i8  # number of the present tenth of the budget's window
    circuit: i4
    circuit_turn: i4  # grows when the breaker turns: older attempts mean nothing to it then
    circuit_row: i4  # failures in a row, of a half-open one successes
    circuit_asked: i4  # attempts since it turned half-open


@dataclass(slots=True)
class Outlier:
    """What a client remembers of one node."""

    until_s: f8  # ejected until then
    row: i4  # failures in a row
    times: i4  # ejected so often, less what good conduct forgave


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
    ports: list[Ports]  # [address and entry node], empty unless source ports are modelled, as all of these
    port_free_s: list[list[float]]  # [address and entry node][port]: the client may take it again then
    entry_until_s: list[list[float]]  # ... the node's conntrack or ipvs forgets it then
    entry_pod: list[list[int]]  # ... 2 * the pod it leads to, and 1 more where the SYN was answered
    snat_free_s: list[list[float]]  # [pod * entry nodes + entry node][port], empty unless modelled
    restraints: list[Restraint]  # [client], empty unless a group is restrained
    budgets: list[list[int]]  # [client][slice], empty rows unless a group has a ratio budget
    outliers: list[list[Outlier]]  # [client][node], empty rows unless a group ejects
    memory: list[list[float]]  # [client][cell]: what a custom policy keeps
    syn_at_s: list[list[float]]  # [schedule][k]: instant of the k-th SYN; the last is the kernel's give-up
    trace_s: list[float]
    latency: list[list[int]]  # [phase][bucket]
    latency_ns: list[int]  # [phase]
    first_packet: list[int]
    stage_ns: list[list[int]]  # [bucket][stage]
    series: list[list[int]]  # [second][offered, succeeded, failed by cause, latency in ns]
    phases: list[list[int]]  # [phase][offered, succeeded, failed]
    errors: list[list[int]]  # [requests, attempts][cause]
    trace: list[Trace]
    queue: Any  # the scheduler's; steps never look inside


def struct(cls: type) -> np.dtype[Any]:
    """Give the C struct of a record class."""
    hints = get_type_hints(cls, include_extras=True)
    return np.dtype([(name, hint.__metadata__[0]) for name, hint in hints.items()], align=True)
