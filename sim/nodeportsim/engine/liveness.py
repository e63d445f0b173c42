"""How a client finds out that a connection is dead while nothing comes from the other side.

A *probe* asks the other side for a sign of life when the connection has been quiet: TCP keep-alive
(tcp(7)), or HTTP/2 PING where a connection carries several streams (gRFC A8). *Giving up*: TCP sends
unacknowledged data again and again, and then closes the connection (tcp_retries2, TCP_USER_TIMEOUT;
RFC 5482). Either way the requests it carries fail, one after another. A probe and its answer take no time
here, and are never lost by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import BALANCER, TIMED_OUT, TORN, VIRTUAL_IP, WAITING, WATCH
from .connections import close
from .machine import at, rare
from .pools import unlink_idle
from .tally import note_fate
from .wire import hears_client, reaches_client, reaches_peer

if TYPE_CHECKING:
    from .records import World

ANSWER, DENIAL, SILENCE = range(3)


@rare
def set_probe(w: World, t: float, k: int) -> None:
    """Let connection `k` be looked at again at `t`."""
    w.connections[k].probe_s = t
    at(w, t, WATCH, k)


@rare
def start_probes(w: World, t: float, k: int) -> None:
    """Connection `k` stands: watch over it."""
    w.connections[k].probes = 0
    set_probe(w, t + w.groups[w.clients[w.connections[k].client].group].keep_s, k)


@rare
def quiet_since_s(w: World, k: int) -> float:
    """When something was last heard; for TCP also when a request was sent that has been acknowledged."""
    connection = w.connections[k]
    if connection.active == 0 or w.groups[w.clients[connection.client].group].streams > 1:
        return connection.heard_s
    return max(connection.heard_s, w.requests[connection.request].attempt_s)


@rare
def met(w: World, t: float, k: int) -> int:
    """What a packet of connection `k` meets now: an answer, RST, or silence."""
    connection = w.connections[k]
    group = w.groups[w.clients[connection.client].group]
    if group.policy == BALANCER and met_balancer(w, k) != ANSWER:
        return met_balancer(w, k)
    n, m = connection.node, connection.peer
    if group.policy == VIRTUAL_IP:
        n = w.config.leader
    if not hears_client(w, n) or not reaches_client(w, n):
        return SILENCE
    if n != connection.node or w.nodes[n].epoch != connection.node_epoch:
        return DENIAL
    pod = w.pods[connection.pod]
    if not reaches_peer(w, n, m) or not reaches_peer(w, m, n) or w.nodes[m].up == 0 or pod.gone != 0:
        return SILENCE
    if pod.up == 0 or pod.epoch != connection.pod_epoch:
        return DENIAL
    # A process that hangs leaves its kernel to answer TCP, but nobody to answer PING.
    return SILENCE if group.streams > 1 and pod.hung_until_s > t else ANSWER


@rare
def met_balancer(w: World, k: int) -> int:
    """What it meets at an external balancer, which passes on what belongs to a connection it knows."""
    connection = w.connections[k]
    if w.config.balancer_down > 0:
        return SILENCE
    if connection.balancer_epoch < w.nodes[connection.node].balancer_known:
        return DENIAL
    if connection.balancer_epoch < w.config.balancer_known:
        return DENIAL if w.config.balancer_resets != 0 else SILENCE
    return ANSWER


@rare
def probe(w: World, t: float, k: int) -> None:
    """A probe may be due, if all was quiet; after too many without an answer the connection is dead."""
    connection = w.connections[k]
    group = w.groups[w.clients[connection.client].group]
    quiet_s = quiet_since_s(w, k)
    if quiet_s + group.keep_s > t:
        connection.probes = 0
        set_probe(w, quiet_s + group.keep_s, k)
    elif group.streams == 1 and connection.give_up_s > 0.0:
        set_probe(w, t + group.keep_s, k)  # TCP sends none while it sends data again.
    elif connection.probes >= group.keep_probes:
        lose(w, t, k, 0)
    elif met(w, t, k) == SILENCE:
        connection.probes += 1
        set_probe(w, t + group.keep_interval_s, k)
    elif met(w, t, k) == DENIAL:
        lose(w, t, k, 1)
    else:
        connection.probes = 0
        connection.heard_s = t
        connection.give_up_s = 0.0
        set_probe(w, t + group.keep_s, k)


@rare
def give_up(w: World, t: float, k: int) -> None:
    """Data of connection `k` were never acknowledged; other streams may have proved it alive since."""
    connection = w.connections[k]
    if w.groups[w.clients[connection.client].group].streams > 1 and met(w, t, k) == ANSWER:
        connection.give_up_s = 0.0
    else:
        lose(w, t, k, 0)


@rare
def lose(w: World, t: float, k: int, reset: int) -> None:
    """Connection `k` is dead: nobody takes it any more, and what it carries fails."""
    connection = w.connections[k]
    connection.lost = 1
    connection.dead = 1
    connection.reset = reset
    note_fate(w, t, k, TORN if reset else TIMED_OUT)
    if connection.listed != 0:
        unlist(w, k)
    if connection.active == 0:
        close(w, t, k, t)
    else:
        at(w, t, WATCH, k)


@rare
def unlist(w: World, k: int) -> None:
    """Take connection `k` out of its client's idle list, wherever it stands there."""
    c = w.connections[k].client
    before, other = -1, w.clients[c].idle_head
    while other != k:
        before, other = other, w.connections[other].next
    unlink_idle(w, c, before, k)


@rare
def carried(w: World, k: int, after: int) -> int:
    """First request behind slot `after` that waits for an answer over connection `k`; -1 for none."""
    connection = w.connections[k]
    one = w.groups[w.clients[connection.client].group].streams == 1
    first, end = (connection.request, connection.request + 1) if one else (0, len(w.requests))
    for r in range(max(first, after + 1), end):
        if w.requests[r].state == WAITING and w.requests[r].connection == k:
            return r
    return -1
