"""Records of the clients' side: groups, clients, requests, and what a client remembers (see records.py)."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import f8, i4, i8  # noqa: TC001 - `struct` reads the annotations.


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
    offered: i8
    failed: i8
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
