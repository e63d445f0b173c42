"""Which step answers which happening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import attempts, client, node, pod
from .codes import (
    ARRIVE,
    COPY,
    DATA_AGAIN,
    DATA_AT_NODE,
    DATA_AT_PEER,
    DATA_AT_POD,
    ESTABLISHED,
    EXPIRE,
    FAULTY,
    NO_ROUTE,
    OUTRUN,
    POD_DONE,
    POD_START,
    REFUSED,
    REJECTED,
    REPLY,
    REPLY_AGAIN,
    RESET,
    RETRY,
    SYN_AGAIN,
    SYN_AT_NODE,
    SYN_AT_PEER,
    SYN_AT_POD,
    TIMER,
    UNBOUND,
    WATCH,
)
from .machine import rare, step

if TYPE_CHECKING:
    from .records import World


@step
def dispatch(w: World, t: float, kind: int, i: int) -> None:
    """Let `kind` happen to `i` at `t`: packets in the order of their way, then what else is common."""
    if kind == SYN_AT_NODE:
        node.syn_at_node(w, t, i)
    elif kind == SYN_AT_PEER:
        node.syn_at_peer(w, t, i)
    elif kind == SYN_AT_POD:
        pod.syn_at_pod(w, t, i)
    elif kind == ESTABLISHED:
        client.established(w, t, i)
    elif kind == DATA_AT_NODE:
        node.data_at_node(w, t, i)
    elif kind == DATA_AT_PEER:
        node.data_at_peer(w, t, i)
    elif kind == DATA_AT_POD:
        pod.data_at_pod(w, t, i)
    elif kind == REPLY:
        client.reply(w, t, i)
    elif kind == POD_DONE:
        pod.pod_done(w, t, i)
    elif kind == ARRIVE:
        client.arrive(w, t, i)
    elif kind == POD_START:
        pod.pod_start(w, t, i)
    else:
        dispatch_trouble(w, t, kind, i)


@rare
def dispatch_trouble(w: World, t: float, kind: int, i: int) -> None:
    """The kinds that only trouble brings."""
    if kind == SYN_AGAIN:
        client.syn_again(w, t, i)
    elif kind == DATA_AGAIN:
        client.data_again(w, t, i)
    elif kind == REPLY_AGAIN:
        pod.reply_again(w, t, i)
    elif kind in (REFUSED, REJECTED, FAULTY, NO_ROUTE, UNBOUND):
        client.turned_down(w, t, i, kind)
    elif kind == RESET:
        client.reset(w, t, i)
    elif kind == RETRY:
        attempts.attempt(w, t, i)
    elif kind == TIMER:
        client.timer(w, t, i)
    elif kind == EXPIRE:
        node.expire(w, t, i)
    elif kind == COPY:
        attempts.copy(w, t, i)
    elif kind == OUTRUN:
        attempts.outrun(w, t, i)
    elif kind == WATCH:
        client.watch(w, t, i)
