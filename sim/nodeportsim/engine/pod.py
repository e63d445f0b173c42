"""What a pod does: accept or refuse, work first come first served, answer.

The kernel of the pod's node completes connections into the accept queue (listen(2), backlog); beyond
it a SYN is dropped, not refused (net.ipv4.tcp_abort_on_overflow = 0). A worker takes one request at a
time. Nothing tells the application that a client has given up, so its work is done all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .age import closed_before, slow_down, work_done
from .codes import (
    DATA_AGAIN,
    DRAINING,
    ESTABLISHED,
    FAULTY,
    POD_DONE,
    POD_START,
    REFUSED,
    REJECTED,
    REPLY,
    REPLY_AGAIN,
    RESET,
    SERVING,
    SYN_AGAIN,
)
from .draws import ERROR, uniform2
from .front import past_balancer
from .machine import at, rare, step
from .pools import copy_flight, free_flight, serve
from .wire import (
    acknowledge,
    client_path_s,
    lose_syn,
    lost,
    node_path_s,
    reaches_client,
    reaches_peer,
    travel,
)

if TYPE_CHECKING:
    from .records import World


@step
def gone(w: World, f: int) -> bool:
    """The pod's machine is down or its address is nobody's any more: there is no one to answer."""
    flight = w.flights[f]
    return w.nodes[flight.peer].up == 0 or w.pods[flight.pod].gone != 0


@step
def answer(w: World, t: float, f: int, kind: int, lost_kind: int) -> None:
    """From the pod to the client, by way of the entry node that holds the connection's NAT."""
    flight = w.flights[f]
    n = flight.node
    if w.config.balancer_epoch != 0:
        kind = past_balancer(w, f, kind)
    if (
        kind < 0
        or not reaches_peer(w, flight.peer, n)
        or not reaches_client(w, n)
        or w.nodes[n].epoch != flight.node_epoch
    ):
        lost(w, t, f, lost_kind)
        return
    delay_s = node_path_s(w, flight.peer, n) + client_path_s(w, flight.client, n)
    travel(w, t, delay_s, kind, f, lost_kind)


@step
def syn_at_pod(w: World, t: float, f: int) -> None:
    """The kernel answers for the pod: SYN-ACK, RST without a listener, silence when the queue is full."""
    flight = w.flights[f]
    pod = w.pods[flight.pod]
    if gone(w, f) or w.nodes[flight.node].epoch != flight.node_epoch:
        lose_syn(w, t, f, w.config.node_no_route)
    elif pod.up != SERVING:
        answer(w, t, f, REFUSED, SYN_AGAIN)
    elif pod.queued > w.config.backlog:
        w.counts.backlog_drops += 1
        lose_syn(w, t, f, 0)
    else:
        flight.pod_epoch = pod.epoch
        answer(w, t, f, ESTABLISHED, SYN_AGAIN)


@step
def data_at_pod(w: World, t: float, f: int) -> None:
    """A request reaches the application."""
    flight = w.flights[f]
    pod = w.pods[flight.pod]
    if gone(w, f):
        lost(w, t, f, DATA_AGAIN)
        return
    if flight.tries > 0:
        acknowledge(w, f)
    if pod.up == 0 or pod.epoch != flight.pod_epoch or (pod.up == DRAINING and closed_before(w, f)):
        answer(w, t, f, RESET, DATA_AGAIN)
    elif w.config.reject != 0 and pod.inside >= pod.workers + w.config.queue_limit:
        respond(w, t, f, REJECTED)
    else:
        work(w, t, f)


@step
def work(w: World, t: float, f: int) -> None:
    """First come first served; a first request that waits holds a place in the accept queue."""
    flight = w.flights[f]
    pod = w.pods[flight.pod]
    flight.demand_s *= pod.slow * w.nodes[flight.peer].slow
    if w.config.slowdown > 1.0:
        slow_down(w, t, f)
    pod.inside += 1
    pod.busy_s += flight.demand_s
    free_s = w.work_free_s[flight.pod]
    end = serve(free_s, t, flight.demand_s)
    start = end - flight.demand_s
    flight.pod_queue_s = max(0.0, start - t)
    flight.sent_s = end
    flight.inside = 2
    if start > t and flight.first != 0:
        flight.inside = 1
        pod.queued += 1
        at(w, start, POD_START, f)
    else:
        at(w, end, POD_DONE, f)


@rare
def pod_start(w: World, t: float, f: int) -> None:
    """A worker accepts the connection and takes its first request."""
    flight = w.flights[f]
    pod = w.pods[flight.pod]
    if pod.epoch != flight.pod_epoch:
        free_flight(w, f)
        return
    pod.queued -= 1
    flight.inside = 2
    at(w, max(t + flight.demand_s, pod.hung_until_s), POD_DONE, f)


@step
def pod_done(w: World, t: float, f: int) -> None:
    """The work is done, unless the pod died under it; a hung process answers when it comes round."""
    flight = w.flights[f]
    pod = w.pods[flight.pod]
    if pod.epoch != flight.pod_epoch:
        free_flight(w, f)
    elif pod.hung_until_s > t:
        at(w, pod.hung_until_s, POD_DONE, f)
    else:
        pod.inside -= 1
        flight.inside = 0
        p = flight.pod
        respond(w, t, f, FAULTY if pod.errors_ratio > 0.0 and errs(w, f) else REPLY)
        if pod.up == DRAINING:
            work_done(w, t, p)


@rare
def errs(w: World, f: int) -> bool:
    """Whether the application answers this attempt with an error; its work is done all the same."""
    flight = w.flights[f]
    u, _ = uniform2(w.config.key0, w.config.key1, ERROR, flight.client, flight.number, flight.attempt)
    return u < w.pods[flight.pod].errors_ratio


@step
def respond(w: World, t: float, f: int, kind: int) -> None:
    """The pod sends its answer, and keeps it until it is acknowledged."""
    flight = w.flights[f]
    flight.reply = kind
    flight.sent_s = t
    flight.tries = 0
    answer(w, t, f, kind, REPLY_AGAIN)


@rare
def reply_again(w: World, t: float, f: int) -> None:
    """The pod's TCP sends an unacknowledged answer once more, while the pod lives."""
    flight = w.flights[f]
    if gone(w, f) or w.pods[flight.pod].epoch != flight.pod_epoch:
        free_flight(w, f)
    else:
        answer(w, t, f, flight.reply, REPLY_AGAIN)


@rare
def reset_clients(w: World, t: float, p: int) -> None:
    """The container of pod `p` died: its kernel sends RST for every request it holds."""
    for f in range(len(w.flights)):
        flight = w.flights[f]
        if flight.request >= 0 and flight.inside > 0 and flight.pod == p:
            g = copy_flight(w, f)
            flight.inside = 0
            respond(w, t, g, RESET)
