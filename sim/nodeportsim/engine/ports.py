"""Source ports: a client's towards each node, what a node remembers of them, a node's own towards each pod.

A connection is known by addresses and ports, so a port is taken by one connection at a time (EADDRNOTAVAIL
where none is left), stays taken for the client's TIME_WAIT, and when it comes back within two minutes the
node may still remember it. What then becomes of the SYN is the kernel's: nf_conntrack_proto_tcp.c,
ip_vs_core.c (docs/models/ports.md). With policy Cluster the node takes a port of its own, by the search of
nf_nat_core.c. Every step here is off the common path: nothing of it runs unless ports are declared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import ANYWHERE, BY_CONNTRACK, EXPIRY_SLOTS, IPVS_DROP, IPVS_KEEP, NEVER_S
from .draws import PORT, SNAT, uniform2
from .machine import rare

if TYPE_CHECKING:
    from .records import World

ANEW, LOST = -1, -2  # What becomes of a SYN that is not led to a pod: the rules decide, or it is dropped.
ATTEMPTS, LEAST_ATTEMPTS, HARDER = 128, 16, 32  # NF_NAT_MAX_ATTEMPTS ..., net/netfilter/nf_nat_core.c.
SYNS = 8  # Rounds of a search for a masquerade port that each SYN of an attempt may draw for: it needs 5.


@rare
def row_of(w: World, c: int, n: int) -> int:
    """Row of the ports of client `c` towards node `n`."""
    client = w.clients[c]
    group = w.groups[client.group]
    return int(group.first_row + (client.host - group.first) * w.config.nodes + n)


@rare
def take_port(w: World, t: float, r: int) -> bool:
    """Give the connection of request `r` a source port; False where none is free."""
    request = w.requests[r]
    connection = w.connections[request.connection]
    group = w.groups[w.clients[request.client].group]
    row = row_of(w, request.client, connection.node)
    ports = w.ports[row]
    if t < ports.none_before_s:
        return False
    start = ports.next
    if group.port_pick == ANYWHERE:
        key0, key1 = w.config.key0, w.config.key1
        u, _ = uniform2(key0, key1, PORT, request.client, request.number, request.attempt)
        start = int(u * group.ports)
    port = free_port(w, t, row, start, group.ports)
    if port < 0:
        return False
    w.port_free_s[row][port] = NEVER_S
    ports.next = (port + 1) % group.ports
    connection.port = port
    return True


@rare
def free_port(w: World, t: float, row: int, start: int, count: int) -> int:
    """Find the first free port from `start` upwards; -1, and until when it stays so, where there is none."""
    free_s = w.port_free_s[row]
    least_s = NEVER_S
    for k in range(count):
        port = (start + k) % count
        if free_s[port] <= t:
            return port
        least_s = min(least_s, free_s[port])
    w.ports[row].none_before_s = least_s
    return -1


@rare
def note_syn(w: World, t: float, f: int) -> None:
    """A SYN is through the node's rules: the node knows the flow until it is answered, or for a while."""
    flight = w.flights[f]
    row, port = row_of(w, flight.client, flight.node), w.connections[flight.connection].port
    w.entry_until_s[row][port] = t + w.config.syn_sent_s
    w.entry_pod[row][port] = 2 * flight.pod


@rare
def met(w: World, t: float, f: int) -> int:
    """Look up a new connection's SYN: the pod an earlier one from its port was led to, `ANEW`, or `LOST`.

    Conntrack leads a SYN after an unanswered one where that went, and begins anew after a closed connection.
    ipvs begins anew after a closed connection, too; before Linux 5.9 it drops this SYN (conn_reuse_mode 1) or
    takes the old pod (0). After an unanswered SYN it takes the old pod while that has a weight.
    """
    flight = w.flights[f]
    n = flight.node
    row, port = row_of(w, flight.client, n), w.connections[flight.connection].port
    until_s = w.entry_until_s[row][port]
    if until_s <= t:
        return ANEW
    w.entry_until_s[row][port] = 0.0  # What becomes of this SYN takes the entry's place in the count, too.
    w.expiry[n][(int(until_s) + 1) % EXPIRY_SLOTS] -= 1
    w.nodes[n].conntrack -= 1
    pod, answered = w.entry_pod[row][port] // 2, w.entry_pod[row][port] % 2
    reuse = w.config.port_reuse
    if reuse == IPVS_KEEP:
        return pod
    if answered:
        return LOST if reuse == IPVS_DROP else ANEW
    return pod if reuse == BY_CONNTRACK or is_listed(w, n, pod) else LOST


@rare
def is_listed(w: World, n: int, pod: int) -> bool:
    """Whether node `n` still sends new connections to a pod."""
    node = w.nodes[n]
    found = False
    for k in range(node.endpoints):
        found = found or w.endpoints[node.first + k] == pod
    return found


@rare
def masquerade(w: World, t: float, f: int, pod: int) -> bool:
    """Give the flight's connection a port of its entry node's towards the pod; False where none is found.

    nf_nat_l4proto_unique_tuple: up to 128 ports from a random one on, then 64 from another, 32, 16, 8. The
    last 32 of a round may take the port of a closed connection (from Linux 6.5).
    """
    flight = w.flights[f]
    free_s = w.snat_free_s[pod * w.config.nodes + flight.node]
    request = w.requests[flight.request]
    counter = flight.attempt * 256 + SYNS * request.syn
    attempts = min(ATTEMPTS, len(free_s))
    while True:
        u, again = uniform2(w.config.key0, w.config.key1, SNAT, flight.client, flight.number, counter)
        port = search(w, t, free_s, int(u * len(free_s)), attempts)
        if port >= 0:
            free_s[port] = NEVER_S
            w.connections[flight.connection].snat_port = port
            return True
        if attempts == len(free_s) or attempts < LEAST_ATTEMPTS:
            request.u_pod = again  # The next SYN meets the rules anew, and may get another pod.
            return False
        attempts //= 2
        counter += 1


@rare
def search(w: World, t: float, free_s: list[float], start: int, attempts: int) -> int:
    """Try so many ports from `start` upwards; -1 where all are taken."""
    for k in range(attempts):
        port = (start + k) % len(free_s)
        closing = w.config.evict_closing != 0 and attempts - k <= HARDER and free_s[port] < NEVER_S
        if free_s[port] <= t or closing:
            return port
    return -1


@rare
def let_go_ports(w: World, k: int, ended_s: float, end_s: float) -> float:
    """Connection `k` is closed, and its conntrack entries end at `end_s`: who holds its ports, until when.

    Returns when its entry at the entry node ends: an unanswered one 120 s after its last SYN.
    """
    connection = w.connections[k]
    n = connection.node
    tracked = connection.tracked >= 1 and w.nodes[n].epoch == connection.node_epoch
    if connection.port >= 0:
        end_s = let_go_port(w, k, ended_s, end_s, tracked)
    if connection.snat_port >= 0 and tracked:
        w.snat_free_s[connection.pod * w.config.nodes + n][connection.snat_port] = end_s
    return end_s


@rare
def let_go_port(w: World, k: int, ended_s: float, end_s: float, tracked: bool) -> float:
    """The client's port: free at once after RST or without an answer, else after its TIME_WAIT."""
    connection = w.connections[k]
    row, port = row_of(w, connection.client, connection.node), connection.port
    closed = connection.answered != 0 and connection.reset == 0
    free_s = ended_s + (w.groups[w.clients[connection.client].group].port_hold_s if closed else 0.0)
    w.port_free_s[row][port] = free_s
    w.ports[row].none_before_s = min(w.ports[row].none_before_s, free_s)
    if not tracked:
        return end_s
    if connection.reset != 0:
        w.entry_until_s[row][port] = 0.0
    elif closed:
        w.entry_until_s[row][port] = end_s
        w.entry_pod[row][port] = 2 * connection.pod + 1
    else:
        end_s = w.entry_until_s[row][port]
    return end_s
