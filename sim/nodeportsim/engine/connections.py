"""How a request gets a connection: an idle one, a new one, or a place in the queue; and how one ends.

HTTP/1.1 carries one request at a time (RFC 9112, section 9.3); with `streams` above one a connection
carries that many at once (HTTP/2, RFC 9113, section 5.1.2). Nothing tells a client that a machine is
gone; a dead container's kernel does tell it (FIN or RST). An idle connection that is too old is
noticed when it is next looked at, and counts as closed from the instant it became so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .age import knows_of_end
from .codes import (
    ANY,
    AS_USUAL,
    BALANCER,
    CONNECTING,
    COPIES,
    DATA_AGAIN,
    DATA_AT_NODE,
    DRAINING,
    EXPIRE,
    FORGOTTEN,
    LC,
    LIFO,
    NO_REUSE,
    POOL_WAIT,
    REFUSED,
    SYN_AGAIN,
    SYN_AT_NODE,
    TIMED_OUT,
    TORN,
    UNBOUND,
    VIRTUAL_IP,
    WAITING,
    WATCH,
    WLC,
)
from .draws import POOL, uniform2
from .entry import choose_node
from .machine import after, arm, at, disarm, prefetch, rare, step
from .node import copy_pin, untrack
from .pools import (
    free_connection,
    new_connection,
    new_flight,
    pop_waiting,
    push_idle_back,
    push_idle_front,
    push_waiting,
    unlink_idle,
)
from .ports import let_go_ports, take_port
from .race import set_copy
from .tally import note_fate
from .wire import client_path_s, travel

if TYPE_CHECKING:
    from .records import World


@step
def acquire(w: World, t: float, r: int) -> None:
    """Get request `r` a connection, or let it wait for one."""
    request = w.requests[r]
    c = request.client
    client = w.clients[c]
    group = w.groups[client.group]
    k = pick_idle(w, t, r) if group.reuse != NO_REUSE else -1
    if k >= 0:
        use(w, t, r, k)
    elif group.reuse == NO_REUSE or client.open < group.pool_size:
        connect(w, t, r)
    else:
        request.state = POOL_WAIT
        request.wait_s = t
        push_waiting(w, c, r)
        limit(w, t, r, group.pool_s)


@rare
def acquire_again(w: World, t: float, r: int) -> None:
    """Like `acquire`, off the common path: its code is large, and compiled for every place it stands in."""
    acquire(w, t, r)


@step
def stale(w: World, t: float, k: int) -> bool:
    """The pool knows, or finds out at a glance, that this connection is over."""
    connection = w.connections[k]
    group = w.groups[w.clients[connection.client].group]
    pod = w.pods[connection.pod]
    return (
        connection.dead != 0
        or (group.max_age_s > 0.0 and t - connection.opened_s >= group.max_age_s)
        or (
            group.idle_timeout_s > 0.0
            and connection.active == 0
            and t - connection.idle_s >= group.idle_timeout_s
        )
        or (pod.told != 0 and pod.epoch != connection.pod_epoch)
        or (pod.up == DRAINING and knows_of_end(w, t, k))
    )


@step
def pick_idle(w: World, t: float, r: int) -> int:
    """Take a connection that can carry one more request: last used, first used, or any."""
    request = w.requests[r]
    c = request.client
    group = w.groups[w.clients[c].group]
    skip = 0
    if group.reuse == ANY:
        skip = random_place(w, r)
    before, k = -1, w.clients[c].idle_head
    while k >= 0:
        following = w.connections[k].next
        if stale(w, t, k):
            drop_stale(w, t, before, k)
        elif skip > 0 and following >= 0:
            skip -= 1
            before = k
        else:
            if w.connections[k].active + 1 >= group.streams:
                unlink_idle(w, c, before, k)
            return int(k)
        k = following
    return -1


@rare
def drop_stale(w: World, t: float, before: int, k: int) -> None:
    """Take a connection out of the idle list that is over; `before` is its predecessor there."""
    connection = w.connections[k]
    unlink_idle(w, connection.client, before, k)
    pod = w.pods[connection.pod]
    if pod.told != 0 and pod.epoch != connection.pod_epoch and closed_s(w, t, k) >= t:
        note_fate(w, t, k, TORN)
    connection.dead = 1
    if connection.active == 0:
        close(w, t, k, closed_s(w, t, k))


@rare
def random_place(w: World, r: int) -> int:
    """Place of a randomly chosen connection in the idle list."""
    request = w.requests[r]
    length, k = 0, w.clients[request.client].idle_head
    while k >= 0:
        length += 1
        k = w.connections[k].next
    u, _ = uniform2(w.config.key0, w.config.key1, POOL, request.client, request.number, request.attempt)
    return int(u * length)


@rare
def closed_s(w: World, t: float, k: int) -> float:
    """When an idle connection ended: at its idle limit if that has passed."""
    connection = w.connections[k]
    limit_s = w.groups[w.clients[connection.client].group].idle_timeout_s
    return min(t, connection.idle_s + limit_s) if limit_s > 0.0 else t


@step
def connect(w: World, t: float, r: int) -> None:
    """Open a connection: the first SYN goes now."""
    request = w.requests[r]
    c = request.client
    k = new_connection(w, t, c)
    connection = w.connections[k]
    w.clients[c].open += 1
    request.connection = k
    request.attempt_s = t
    request.syn_s = t
    request.syn = 0
    request.state = CONNECTING
    connection.node = choose_node(w, t, r)
    connection.active = 1
    connection.request = r
    connection.requests = 1
    request.node = connection.node
    if connection.node < 0:
        after(w, t, w.config.balancer_s, REFUSED, new_flight(w, t, r))
        return
    cores = len(w.cpu_free_s[connection.node])
    connection.core = int(request.u_core * cores)
    connection.peer_core = int(request.u_peer * cores)
    if w.groups[w.clients[c].group].policy == BALANCER:
        w.nodes[connection.node].active += 1
    limit(w, t, r, w.groups[w.clients[c].group].connect_s)
    if w.groups[w.clients[c].group].ports > 0 and not take_port(w, t, r):
        at(w, t, UNBOUND, new_flight(w, t, r))
        return
    look_ahead(w, connection.node, request.u_pod)
    send_syn(w, t, r)
    if w.groups[w.clients[c].group].copies > 0:
        set_copy(w, t, r)


@step
def look_ahead(w: World, n: int, u: float) -> None:
    """Fetch the pod that the rules will choose by `u`: among 150,000 it lies far away in memory."""
    node = w.nodes[n]
    if node.endpoints > 0:
        prefetch(w.pods, w.endpoints[node.first + int(u * node.endpoints)])


@step
def send_syn(w: World, t: float, r: int) -> None:
    """Put a SYN on the wire."""
    f = new_flight(w, t, r)
    request = w.requests[r]
    travel(w, t, client_path_s(w, request.client, request.node), SYN_AT_NODE, f, SYN_AGAIN)


@step
def use(w: World, t: float, r: int, k: int) -> None:
    """Send request `r` over the open connection `k`."""
    request = w.requests[r]
    connection = w.connections[k]
    connection.active += 1
    connection.request = r
    connection.requests += 1
    request.connection = k
    request.attempt_s = t
    request.syn = 0
    request.node = connection.node
    send_request(w, t, r, new_flight(w, t, r))
    if w.groups[w.clients[request.client].group].copies > 0:
        set_copy(w, t, r)


@rare
def dial(w: World, t: float, r: int) -> None:
    """Open a connection, off the common path; all dials of a race share the limit of the first."""
    connect(w, t, r)
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    if group.dials and request.attempt >= COPIES and group.connect_s > 0.0:
        limit(w, t, r, max(1e-9, request.race_s + group.connect_s - t))


@rare
def share(w: World, t: float, k: int) -> None:
    """A connection that carries several streams stands: others may use it from now on."""
    connection = w.connections[k]
    client = w.clients[connection.client]
    if w.groups[client.group].reuse != NO_REUSE:
        enlist(w, k)
        if client.wait_head >= 0:
            at(w, t, WATCH, k)


@step
def send_request(w: World, t: float, r: int, f: int) -> None:
    """Put the request's bytes on the wire and wait for the answer."""
    request = w.requests[r]
    request.state = WAITING
    limit(w, t, r, w.groups[w.clients[request.client].group].request_s)
    if w.groups[w.clients[request.client].group].policy == VIRTUAL_IP:
        aim(w, f)
    w.flights[f].sent_s = t
    w.flights[f].tries = 0
    w.flights[f].first = int(w.connections[request.connection].requests <= 1)
    travel(w, t, client_path_s(w, request.client, w.flights[f].node), DATA_AT_NODE, f, DATA_AGAIN)


@step
def limit(w: World, t: float, r: int, limit_s: float) -> None:
    """Wait at most `limit_s` (0: no limit), and never beyond the request's total deadline."""
    request = w.requests[r]
    disarm(w, r)
    total_s = w.groups[w.clients[request.client].group].total_s
    if total_s > 0.0:
        left_s = max(0.0, request.born_s + total_s - t)
        limit_s = min(limit_s, left_s) if limit_s > 0.0 else left_s
        arm(w, t, limit_s, r)
    elif limit_s > 0.0:
        arm(w, t, limit_s, r)


@step
def enlist(w: World, k: int) -> None:
    """Put connection `k` where its client looks for one."""
    if w.groups[w.clients[w.connections[k].client].group].reuse == LIFO:
        push_idle_front(w, k)
    else:
        push_idle_back(w, k)


@step
def release(w: World, t: float, k: int) -> None:
    """A request is through with connection `k`: keep it, or close it; then serve who waits."""
    connection = w.connections[k]
    c = connection.client
    group = w.groups[w.clients[c].group]
    connection.active -= 1
    connection.idle_s = t
    spent = group.max_requests > 0 and connection.requests >= group.max_requests
    if group.reuse == NO_REUSE or spent:
        connection.dead = 1
    if connection.dead == 0 and connection.listed == 0:
        enlist(w, k)
    elif connection.dead != 0 and connection.listed == 0 and connection.active == 0:
        close(w, t, k, t)
    serve_waiting(w, t, c)


@rare
def abandon(w: World, t: float, k: int) -> None:
    """The client gives connection `k` up; it is closed when its last stream has ended."""
    connection = w.connections[k]
    c = connection.client
    connection.active -= 1
    connection.dead = 1
    note_fate(w, t, k, TORN if connection.reset else TIMED_OUT)
    if connection.active == 0 and connection.listed == 0:
        close(w, t, k, t)
    serve_waiting(w, t, c)


@step
def serve_waiting(w: World, t: float, c: int) -> None:
    """Give the request that has waited longest its turn, if the pool has room."""
    client = w.clients[c]
    group = w.groups[client.group]
    if client.wait_head >= 0 and (client.idle_head >= 0 or client.open < group.pool_size):
        r = pop_waiting(w, c)
        request = w.requests[r]
        request.pool_wait_s += t - request.wait_s
        acquire_waiting(w, t, r)
        if group.streams > 1 and client.wait_head >= 0 and client.idle_head >= 0:
            at(w, t, WATCH, client.idle_head)


@rare
def acquire_waiting(w: World, t: float, r: int) -> None:
    """Like `acquire`, for a request at the head of the queue."""
    k = pick_idle(w, t, r)
    if k >= 0:
        use(w, t, r, k)
    else:
        dial(w, t, r)


@step
def close(w: World, t: float, k: int, ended_s: float) -> None:
    """Close connection `k`: conntrack keeps its entries for a while, ipvs moves it to inactive."""
    connection = w.connections[k]
    c = connection.client
    n = connection.node
    forget(w, t, k, ended_s)
    if n >= 0 and w.groups[w.clients[c].group].policy == BALANCER:
        w.nodes[n].active -= 1
    if ended_s >= w.config.fault_s:
        note_fate(w, ended_s, k, AS_USUAL)
    w.clients[c].open -= 1
    free_connection(w, k)


@step
def forget(w: World, t: float, k: int, ended_s: float) -> None:
    """Let the nodes of connection `k`, which ended at `ended_s`, let go of its entries in their time."""
    connection = w.connections[k]
    n, m, p = connection.node, connection.peer, connection.pod
    end_s = ended_s + (w.config.close_s if connection.reset else w.config.time_wait_s)
    if w.config.ports != 0:
        end_s = let_go_ports(w, k, ended_s, end_s)
    if connection.tracked >= 1 and w.nodes[n].epoch == connection.node_epoch:
        untrack(w, t, n, end_s)
        if w.config.choice == LC or w.config.choice == WLC:
            w.active[n][p] -= 1
            w.inactive[n][p] += 1
            after(w, t, w.config.time_wait_s, EXPIRE, p * w.config.nodes + n)
    if connection.tracked > 1 and w.nodes[m].epoch == connection.peer_epoch:
        untrack(w, t, m, end_s)


@rare
def aim(w: World, f: int) -> None:
    """Let data for a virtual IP go to its present owner, who may know nothing of the connection."""
    flight = w.flights[f]
    flight.node = w.config.leader
    copy_pin(w, f)
    if flight.node != w.connections[flight.connection].node:
        flight.node_epoch = FORGOTTEN
