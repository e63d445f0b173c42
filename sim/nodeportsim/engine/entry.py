"""Which node a client enters by: pinned, by DNS, random, from a list, by a balancer, by a user's own rule.

A real client resolves a name, or holds a list, or knows one address; retries may go to the next. Modelled:
DNS round robin with a TTL, in which every answer starts one record later, perhaps without the records of
nodes that do not answer (resolver.py); an external balancer's turn or least connections among the nodes it
holds for healthy; a virtual IP's present owner; a user's own policy (policy.py). A client may keep away from
nodes that have failed it (restraint.py). Left out: resolvers between client and zone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import (
    BALANCER,
    COPIES,
    CUSTOM,
    DNS_ROUND_ROBIN,
    FIRST,
    LIST,
    NEVER_S,
    OWN_NODE,
    PINNED,
    RANDOM,
    VIRTUAL_IP,
)
from .draws import CHOICE, RESOLVER, uniform2
from .machine import ask, rare, step, tell
from .restraint import ejected, kept_node

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
    group = w.groups[client.group]
    first = client.resolved_s < 0.0
    if first or t - client.resolved_s >= group.ttl_s:
        client.home = w.counts.dns_turn % w.config.nodes if group.withdrawing == 0 else listed_node(w)
        w.counts.dns_turn += 1
        client.resolved_s = t
        if first and group.ignore_ttl_ratio > 0.0 and ignores_ttl(w, c):
            client.resolved_s = NEVER_S
    return int(client.home)


@rare
def ignores_ttl(w: World, c: int) -> bool:
    """The client's resolver keeps its first answer for good."""
    u, _ = uniform2(w.config.key0, w.config.key1, RESOLVER, c, 0, 0)
    return u < w.groups[w.clients[c].group].ignore_ttl_ratio


@rare
def listed_node(w: World) -> int:
    """The next record of those that are listed; of all, where none is."""
    listed = 0
    for m in range(w.config.nodes):
        listed += w.nodes[m].listed
    if listed == 0:
        return int(w.counts.dns_turn % w.config.nodes)
    rank = w.counts.dns_turn % listed
    for m in range(w.config.nodes):
        if w.nodes[m].listed != 0:
            if rank == 0:
                return int(m)
            rank -= 1
    return 0


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
    if request.attempt >= COPIES:
        return copy_node(w, r)
    if request.node >= 0 and group.retry_next != 0:
        return other_node(w, t, r)
    if request.node >= 0:
        return int(request.node)
    if group.policy == DNS_ROUND_ROBIN:
        return resolve(w, t, c)
    if group.ejection_failures > 0 and group.policy != FIRST and ejected(w, t, c) > 0:
        return kept_first(w, t, r)
    if group.policy == RANDOM:
        return int(request.u_node * n)
    if group.policy == FIRST:
        return 0
    return int(w.clients[c].home)


@rare
def kept_first(w: World, t: float, r: int) -> int:
    """A first attempt keeps away from ejected nodes: `random` draws among the others, `list` goes on."""
    request = w.requests[r]
    client = w.clients[request.client]
    if w.groups[client.group].policy == RANDOM:
        return kept_node(w, t, request.client, -1, request.u_node)
    return kept_node(w, t, request.client, client.home - 1, 0.0)


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
def other_node(w: World, t: float, r: int) -> int:
    """A retry goes to the next address; a `list` client stays there, a `random` one draws again."""
    request = w.requests[r]
    client = w.clients[request.client]
    group = w.groups[client.group]
    n, policy = w.config.nodes, group.policy
    u = request.u_node if policy == RANDOM else 0.0
    if group.ejection_failures > 0 or group.withdrawing != 0:
        node = kept_node(w, t, request.client, request.node, u)
    else:
        node = (request.node + 1 + int(u * (n - 1))) % n
    if policy == LIST:
        client.home = node
    return int(node)


@rare
def copy_node(w: World, r: int) -> int:
    """A copy goes to the address after the one before it, or to the same; a `list` client's place stays."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    return int((request.node + group.copy_next) % w.config.nodes)
