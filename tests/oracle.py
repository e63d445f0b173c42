"""The core path once more, as SimPy reads best: a process per request, none of the engine's steps.

The readable specification, the independent check, the SimPy speed reference. Given are what rules cost,
when they are rewritten and nodes die (`Happening`), and the engine's draws, so that single requests compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple

import simpy

from nodeportsim.engine import draws

if TYPE_CHECKING:
    from collections.abc import Generator

    from nodeportsim.scenario.spec import Scenario

    Process = Generator[simpy.Event, Any, Any]

Happening = tuple[float, int, "Rules | None"]  # time, node, its rules from now on; None: it dies
Ended = tuple[Any, ...]  # client, number, born, ended, node, pod, attempts, cause
SYN_AT_S = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0, 69.0)  # tcp_syn_linear_timeouts = 4


class Rules(NamedTuple):  # of a node: its endpoints, where a new rotation starts, what its CPU pays in s
    endpoints: tuple[int, ...]
    turn: int
    price: dict[str, float]


@dataclass
class Connection:
    node: int
    core: int
    peer_core: int
    u_pod: float
    pod: int = -1  # the pin
    closed: bool = False


class Oracle:
    def __init__(self, scenario: Scenario, replication: int, happenings: list[Happening]) -> None:
        self.scenario, self.clients, self.happenings = scenario, scenario.clients[0], happenings
        self.key, cluster, self.env = (scenario.run.seed, replication), scenario.cluster, simpy.Environment()
        self.outside_s = cluster.network.client_node_s + cluster.network.wake_up_s
        self.nodes, self.answers, self.between_s = cluster.nodes, 0, cluster.network.node_node_s
        self.home = [cluster.names.index(p.node or "") for p in scenario.placement]
        self.cpu = [[simpy.Resource(self.env) for _ in range(cluster.cores)] for _ in cluster.names]
        self.workers = [simpy.Resource(self.env, scenario.pods.workers) for _ in self.home]
        self.rules: dict[int, Rules | None] = {}
        self.turn: dict[int, int] = {}  # ipvs rr: the last endpoint of every node
        self.ended: list[Ended] = []

    def run(self) -> list[Ended]:
        for happening in self.happenings:
            self.env.process(self.happen(*happening))
        for c in range(self.clients.count):
            self.env.process(self.client(c))
        self.env.run()
        return sorted(self.ended)

    def happen(self, time_s: float, node: int, rules: Rules | None) -> Process:
        yield self.env.timeout(time_s)
        self.rules[node] = rules
        if rules and rules.endpoints and self.turn.get(node) not in rules.endpoints:
            self.turn[node] = rules.endpoints[rules.turn]

    def client(self, c: int) -> Process:
        mean_s, k = self.clients.count / self.clients.rate_rps, 0
        yield self.env.timeout(-log(draws.uniform2(*self.key, draws.ARRIVAL, c, 0, 1)[0]) * mean_s)
        while self.env.now < self.scenario.run.duration_s:
            u_gap, u_demand = draws.uniform2(*self.key, draws.ARRIVAL, c, k, 0)
            self.env.process(self.request(c, k, -log(u_demand) * self.scenario.pods.service_time.mean_s))
            yield self.env.timeout(-log(u_gap) * mean_s)
            k += 1

    def request(self, c: int, k: int, demand_s: float) -> Process:
        born_s, node, cores = self.env.now, -1, self.scenario.cluster.cores
        for attempt in range(self.clients.retry.attempts):
            if attempt:
                yield self.env.timeout(self.backoff_s(c, k, attempt - 1))
            u_node, u_pod, u_core, u_peer = draws.uniform4(*self.key, draws.ATTEMPT, c, k, attempt)
            node, core, peer_core = self.entry(c, u_node, node), int(u_core * cores), int(u_peer * cores)
            cause = yield from self.attempt(connection := Connection(node, core, peer_core, u_pod), demand_s)
            if not cause:
                break
        where = node, -1 if cause else connection.pod
        self.ended.append((c, k, born_s, self.env.now, *where, attempt + 1, cause))

    def backoff_s(self, c: int, k: int, failed: int) -> float:
        backoff, (u, _) = self.clients.retry.backoff, draws.uniform2(*self.key, draws.BACKOFF, c, k, failed)
        return u * min(backoff.max_s, backoff.initial_s * backoff.factor**failed)  # full jitter

    def entry(self, c: int, u_node: float, last: int) -> int:
        policy = self.clients.entry.policy
        if last >= 0 and policy != "pinned":
            step = int(u_node * (self.nodes - 1)) if policy == "random" else 0
            return (last + 1 + step) % self.nodes if self.clients.retry.node == "next" else last
        self.answers += policy == "dns-round-robin"
        own = {"dns-round-robin": self.answers - 1, "random": int(u_node * self.nodes), "pinned": c}
        return own[policy] % self.nodes

    def attempt(self, connection: Connection, demand_s: float) -> Process:
        connect = self.env.process(self.connect(connection))
        yield connect | self.env.timeout(self.clients.timeouts.connect_s)
        connection.closed = not connect.triggered
        if connection.closed or connect.value == "refused":
            return "connect_timeout" if connection.closed else "refused"
        exchange = self.env.process(self.exchange(connection, demand_s))
        yield exchange | self.env.timeout(self.clients.timeouts.request_s)
        return "" if exchange.triggered else "request_timeout"

    def connect(self, connection: Connection) -> Process:
        start_s = self.env.now
        for at_s in SYN_AT_S:
            yield self.env.timeout(max(0.0, start_s + at_s - self.env.now))
            if answer := (yield from self.syn(connection)):
                return answer
        return (yield self.env.event())  # Silence, until the client's limit.

    def syn(self, connection: Connection) -> Process:
        yield self.env.timeout(self.outside_s)
        rules, core = self.rules[connection.node], self.cpu[connection.node][connection.core]
        if rules is None or connection.closed:
            return None
        price_s = rules.price["packet_s"]
        if connection.pod < 0 and not rules.endpoints:
            yield from self.serve(core, rules.price["refuse_s"])
            yield self.env.timeout(self.outside_s)
            return "refused"
        if connection.pod < 0:
            rank = self.choose(connection.node, rules.endpoints, connection.u_pod)
            connection.pod, price_s = (
                rules.endpoints[rank],
                rules.price["walk_s"] + rules.price["endpoint_s"] * (rank + 1),
            )
        arrived = yield from self.inward(connection, rules, price_s, "")
        if arrived and len(self.workers[connection.pod].queue) <= self.scenario.pods.backlog:
            return (yield from self.outward(connection)) and "established"
        return None

    def choose(self, node: int, endpoints: tuple[int, ...], u_pod: float) -> int:
        if self.scenario.cluster.proxy.mode != "ipvs":
            return int(u_pod * len(endpoints))
        rank = (endpoints.index(self.turn[node]) + 1) % len(endpoints)
        self.turn[node] = endpoints[rank]
        return rank

    def exchange(self, connection: Connection, demand_s: float) -> Process:
        yield self.env.timeout(self.outside_s)
        rules = self.rules[connection.node]
        if rules and (yield from self.inward(connection, rules, rules.price["packet_s"], "packet_")):
            yield from self.serve(self.workers[connection.pod], demand_s)
            if (yield from self.outward(connection)):
                return
        yield self.env.event()  # Silence: the dead stay dead.

    def inward(self, connection: Connection, rules: Rules, price_s: float, kind: str) -> Process:
        n, m = connection.node, self.home[connection.pod]
        accept_s = rules.price[f"accept_{kind}s"]
        yield from self.serve(self.cpu[n][connection.core], price_s + (accept_s if n == m else 0.0))
        if n != m:
            yield self.env.timeout(self.between_s)
            if there := self.rules[m]:
                price_s = there.price[f"transit_{kind}s"] + accept_s
                yield from self.serve(self.cpu[m][connection.peer_core], price_s)
        return self.rules[m] is not None

    def outward(self, connection: Connection) -> Process:
        n, m = connection.node, self.home[connection.pod]
        if self.rules[n] is None or self.rules[m] is None:
            return False
        yield self.env.timeout(self.outside_s + (0.0 if n == m else self.between_s))
        return True

    def serve(self, server: simpy.Resource, time_s: float) -> Process:
        with server.request() as turn:
            yield turn
            yield self.env.timeout(time_s)
