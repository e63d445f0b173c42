"""One scenario on this machine: real rules, real pods, a real cut, and a client that follows a plan.

The scenario is the only description: pods stand where it places them, the rules are those kube-proxy would
write for its Service, the client wants what the simulation's clients want (`study.wanted`), and a node is cut
off when an event says so. The control plane is played: endpoints of a cut node leave the rules
`nodeMonitorGracePeriod` after the cut.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.measuring import backends, netlink
from nodeportsim.calibrate.measuring.system import CommandError
from nodeportsim.calibrate.measuring.testbed import CLUSTER_CIDR, NODE_IP, SERVICE_CIDR
from nodeportsim.calibrate.measuring.timing import LISTEN_PORT
from nodeportsim.kubeproxy.concrete import Endpoint, Port, View
from nodeportsim.study.wanted import wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nodeportsim.calibrate.measuring.testbed import Bed, Role
    from nodeportsim.scenario.spec import Scenario

NODE_PORT = 30080
PORTS = 60_000
"""Source ports of the client."""
STARTING_S = 0.3
"""For the client to read its plan."""
_HERE = Path(__file__).parent
_MACHINES: tuple[tuple[Role, str], ...] = (("pods", "10.20.0"), ("pods2", "10.22.0"))
_FORWARDING = "net/ipv4/ip_forward"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one request; instants in seconds after the start, None where it did not get so far.

    ``work_begun_s`` and ``work_ended_s`` are the pod's own words.
    """

    born_s: float
    demand_s: float
    cause: str | None
    begun_s: float
    connected_s: float | None
    ended_s: float
    pod: int | None
    work_begun_s: float | None
    work_ended_s: float | None

    @property
    def latency_s(self) -> float:
        """From the intended arrival to the end."""
        return self.ended_s - self.born_s


Ask = tuple[float, str, int, float]
"""Wanted at (s), address, port, work (s)."""


def addresses(scenario: Scenario) -> list[tuple[int, str]]:
    """Machine (0 is the entry node's) and address of each pod."""
    places = scenario.cluster.names
    return [
        (node := places.index(pod.node or ""), f"{_MACHINES[node][1]}.{number + 1}")
        for number, pod in enumerate(scenario.placement)
    ]


def view(scenario: Scenario, machines: Sequence[int] = (0, 1)) -> View:
    """Give the Service as the entry node's kube-proxy sees it, with endpoints on these machines only."""
    found = sorted((address, node) for node, address in addresses(scenario) if node in machines)
    service = scenario.service
    port = Port(
        namespace=service.namespace,
        service=service.name,
        name="",
        cluster_ip="10.96.0.2",
        port=80,
        node_port=NODE_PORT,
        endpoints=tuple(Endpoint(address=a, port=LISTEN_PORT, local=node == 0) for a, node in found),
        external_policy=service.external_traffic_policy,
    )
    return View(
        ports=(port,),
        cluster_cidr=CLUSTER_CIDR,
        service_cidr=SERVICE_CIDR,
        node_addresses=(NODE_IP,),
        localhost_node_ports=False,
    )


@contextmanager
def pods(bed: Bed, scenario: Scenario) -> Iterator[None]:
    """Let the pods of a scenario serve; a process of its own per machine."""
    running: list[subprocess.Popen[str]] = []
    try:
        for machine, (role, _) in enumerate(_MACHINES):
            own = [address for node, address in addresses(scenario) if node == machine]
            numbers = (LISTEN_PORT, scenario.pods.workers, scenario.pods.backlog)
            running.append(_start(bed, role, "pods.py", *map(str, numbers), *own))
        for server in running:
            _wait_for(server)
        yield
    finally:
        for server in running:
            server.kill()
            server.communicate()


def live(bed: Bed, backend: str, scenario: Scenario, ports: int = PORTS) -> list[Answer]:
    """Do in real life what replication 0 of a scenario simulates: through the NodePort, with its events.

    `ports` is how many source ports the client uses in turn; with few it meets its own past, which no
    simulation knows.
    """
    before = view(scenario)
    backends.load(bed, backend, before)
    with bed.inside("node"), netlink.netfilter_socket() as netfilter:
        netlink.flush_conntrack(netfilter)  # What earlier runs left.
    try:
        with pods(bed, scenario):
            asked = list(zip(*(row.tolist() for row in wanted(scenario)), strict=True))
            happenings = _happenings(bed, backend, scenario)
            return ask(bed, scenario, [(t, NODE_IP, NODE_PORT, work) for t, work in asked], happenings, ports)
    finally:
        bed.set("node2", _FORWARDING, 1)
        backends.clear(bed, backend)


def ask(
    bed: Bed,
    scenario: Scenario,
    asks: Sequence[Ask],
    happenings: Sequence[tuple[float, Callable[[], object]]] = (),
    ports: int = PORTS,
) -> list[Answer]:
    """Let the client ask, and things happen, all at their instants."""
    client = _start(bed, "client", "client.py")
    try:
        _wait_for(client)
        limits, start_s = scenario.clients[0].timeouts, time.monotonic() + STARTING_S
        plan = {"start_s": start_s, "connect_s": limits.connect_s, "request_s": limits.request_s}
        assert client.stdin is not None
        client.stdin.write(json.dumps(plan | {"ports": ports, "requests": asks}))
        client.stdin.flush()
        client.stdin.close()
        client.stdin = None  # `communicate` would flush it again.
        for at_s, happen in sorted(happenings, key=lambda pair: pair[0]):
            time.sleep(max(0.0, start_s + at_s - time.monotonic()))
            happen()
        said, _ = client.communicate()
    finally:
        client.kill()
        client.wait()
    numbers = {address: number for number, (_, address) in enumerate(addresses(scenario))}
    return [_answer(numbers, asked, row) for asked, row in zip(asks, json.loads(said), strict=True)]


def _answer(numbers: dict[str, int], asked: Ask, row: list[Any]) -> Answer:
    cause, begun_s, connected_s, ended_s, address, work_begun_s, work_ended_s = row
    return Answer(
        born_s=asked[0],
        demand_s=asked[3],
        cause=cause,
        begun_s=begun_s,
        connected_s=connected_s,
        ended_s=ended_s,
        pod=numbers.get(address),
        work_begun_s=work_begun_s,
        work_ended_s=work_ended_s,
    )


def _happenings(bed: Bed, backend: str, scenario: Scenario) -> list[tuple[float, Callable[[], object]]]:
    """List what happens to the second node, and when its endpoints leave the rules.

    A machine that does not forward drops what is for its pods and what comes from them, without a word.
    """
    found: list[tuple[float, Callable[[], object]]] = []
    before, after = view(scenario), view(scenario, machines=(0,))
    changed = {before.ports[0].full_name}

    def update() -> None:
        backends.change(bed, backend, after, changed, before)

    noticed_s = scenario.cluster.control_plane.node_monitor_grace_period_s
    for event in scenario.events:
        found.append((event.at_s, lambda: bed.set("node2", _FORWARDING, 0)))
        if event.for_s is not None:
            found.append((event.at_s + event.for_s, lambda: bed.set("node2", _FORWARDING, 1)))
        if noticed_s is not None and (event.for_s is None or event.for_s > noticed_s):
            found.append((event.at_s + noticed_s, update))
    return found


def _start(bed: Bed, role: Role, script: str, *words: str) -> subprocess.Popen[str]:
    """Start a script of ours in a namespace. It runs isolated: our modules would hide the library's."""
    within = ("ip", "netns", "exec", bed.name(role), sys.executable, "-I", str(_HERE / script), *words)
    return subprocess.Popen(
        within, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def _wait_for(started: subprocess.Popen[str]) -> None:
    if started.stdout is None or started.stdout.readline() != "ready\n":
        raise CommandError("a client or a pod does not start")
