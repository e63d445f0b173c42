"""Which node a client enters by: pinned, by DNS, random, from a list, by a balancer, by a user's own rule.

A real client resolves a name, or holds a list, or knows one address; retries may go to the next. Modelled:
DNS round robin with a TTL, in which every answer starts one record later; an external balancer's turn or
least connections among the nodes it holds for healthy; a virtual IP's present owner; a user's own policy
(policy.py). Left out: resolvers between client and zone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import BALANCER, CUSTOM, DNS_ROUND_ROBIN, FIRST, LIST, OWN_NODE, PINNED, RANDOM, VIRTUAL_IP
from .draws import CHOICE, uniform2
from .machine import ask, rare, step, tell

if TYPE_CHECKING:
    from .records import World


@rare
def balanced_node(w: World) -> int:
    """An external balancer's choice among the nodes it holds for healthy; -1 where there is none."""
    n = w.config.nodes
    best = -1
    for k in range(1, n + 1):
        m = (w.counts.balancer_turn + k) % n
        if w.nodes[m].healthy == 0 and w.config.balancer_down == 0:
            continue  # A dead one chooses nobody: the SYN is lost on its way, whatever the node.
        if w.config.balancer_least == 0:
            w.counts.balancer_turn = m
            return int(m)
        if best < 0 or w.nodes[m].active < w.nodes[best].active:
            best = int(m)
    if best >= 0:
        w.counts.balancer_turn = best
    return best


@step
def resolve(w: World, t: float, c: int) -> int:
    """DNS round robin: every answer starts one record later; a client keeps it for the TTL."""
    client = w.clients[c]
    if client.resolved_s < 0.0 or t - client.resolved_s >= w.groups[client.group].ttl_s:
        client.home = w.counts.dns_turn % w.config.nodes
        w.counts.dns_turn += 1
        client.resolved_s = t
    return int(client.home)


@step
def choose_node(w: World, t: float, r: int) -> int:
    """Entry node of a new connection; -1 where a balancer has none to give."""
    request = w.requests[r]
    c = request.client
    group = w.groups[w.clients[c].group]
    n = w.config.nodes
    if group.policy == BALANCER:
        return balanced_node(w)
    if group.policy == VIRTUAL_IP:
        return int(w.config.leader)
    if group.policy in (PINNED, OWN_NODE):
        return int(w.clients[c].home)
    if group.policy == CUSTOM:
        return custom_node(w, t, r)
    if request.node >= 0 and group.retry_next != 0:
        return other_node(w, r)
    if request.node >= 0:
        return int(request.node)
    if group.policy == DNS_ROUND_ROBIN:
        return resolve(w, t, c)
    if group.policy == RANDOM:
        return int(request.u_node * n)
    if group.policy == FIRST:
        return 0
    return int(w.clients[c].home)


@rare
def custom_node(w: World, t: float, r: int) -> int:
    """Ask the user's policy; one that names no node is counted, and the run refused at its end."""
    request = w.requests[r]
    u1, u2 = uniform2(w.config.key0, w.config.key1, CHOICE, request.client, request.number, request.attempt)
    node = ask(w, request.client, request.node, u1, u2, t)
    if node < 0:
        w.counts.strays += 1
        return 0
    return node


@rare
def learn(w: World, t: float, r: int, answered: int) -> None:
    """Tell the user's policy how an attempt over a connection ended."""
    request = w.requests[r]
    if tell(w, request.client, request.node, t - request.attempt_s, answered, t) < 0:
        w.counts.strays += 1


@rare
def other_node(w: World, r: int) -> int:
    """A retry goes to the next address; a `list` client stays there, a `random` one draws again."""
    request = w.requests[r]
    client = w.clients[request.client]
    n = w.config.nodes
    policy = w.groups[client.group].policy
    if policy == RANDOM:
        return int((request.node + 1 + int(request.u_node * (n - 1))) % n)
    node = (request.node + 1) % n
    if policy == LIST:
        client.home = node
    return int(node)
