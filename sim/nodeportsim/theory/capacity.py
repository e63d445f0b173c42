"""What a NodePort service uses up, resource by resource: how full each is, and at which rate it breaks.

A `Resource` is a straight line: a fixed part and a part per request and second, against a ceiling. The one
that meets its ceiling at the lowest rate binds. Every use is that of the hottest place: the node most
connections enter or most pods stand on, the pod with most connections, the client with the fewest addresses.

Modelled: node CPU for new connections and packets (entry and pod's node apart), packets and bytes of a
node's link, conntrack entries, masquerade and client ports, pods' workers, a balancer's ports, kube-proxy's
time against churn, the NodePort range. Left out: memory, disks, the application's other limits, bursts.

Sources: as `nodeportsim.theory.limits`, on which this builds; ports: docs/models/ports.md; syncs:
k8s:pkg/proxy/runner (minSyncPeriod counts from the end of the last sync).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nodeportsim.theory import balance, domain
from nodeportsim.theory.limits import LOCAL_PORTS, NODE_PORTS, SNAT_PORTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Policy = Literal["Cluster", "Local"]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One thing that may run out.

    Parameters
    ----------
    name, unit
        What it is, and in what load and ceiling are counted.
    fixed, per_rps
        Use at rest, and added by each request per second; both of the hottest place.
    rate_rps
        Requests per second offered now.
    ceiling
        Where it is used up, in `unit`.
    source
        Where the numbers come from.
    claim
        Where the form is claimed to hold.
    simulated
        Whether the simulator knows this limit as the scenario stands: else only theory speaks of it.
    doubt
        Why the claim is not made here; None where it is.
    """

    name: str
    unit: str
    fixed: float = 0.0
    per_rps: float = 0.0
    rate_rps: float
    ceiling: float
    source: str
    claim: str = "steady state"
    simulated: bool = True
    doubt: str | None = None

    @property
    def load(self) -> float:
        """Use at the rate offered now, in `unit`."""
        return self.fixed + self.per_rps * self.rate_rps

    @property
    def utilisation(self) -> float:
        """Load over ceiling."""
        return self.load / self.ceiling

    @property
    def headroom(self) -> float:
        """Share of the ceiling that is left; below 0 where more is asked than there is."""
        return 1 - self.utilisation

    @property
    def breaks_at_rps(self) -> float:
        """Requests per second at which it is used up; infinite where requests do not use it."""
        if self.fixed >= self.ceiling:
            return 0.0
        return (self.ceiling - self.fixed) / self.per_rps if self.per_rps > 0 else math.inf


def in_order(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """Sort by what breaks first; what requests do not use comes last, the fullest first."""
    return tuple(sorted(resources, key=lambda each: (each.breaks_at_rps, -each.utilisation, each.name)))


def binding(resources: Iterable[Resource]) -> Resource:
    """Name the resource that breaks first."""
    return in_order(resources)[0]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Where connections go: the share that enters each node, and the share that its pods get.

    Parameters
    ----------
    entry_ratios
        Of each node, adding up to 1.
    pods_by_node
        Ready pods of each node; a node without any under policy Local drops what enters it.
    policy
        externalTrafficPolicy.
    """

    entry_ratios: Sequence[float]
    pods_by_node: Sequence[int]
    policy: Policy = "Cluster"

    def __post_init__(self) -> None:
        """Refuse what is no spread."""
        same = len(self.entry_ratios) == len(self.pods_by_node)
        domain.require(same, "must name every node", field="entry_ratios", got=len(self.entry_ratios))
        domain.ratio(**{f"entry_ratios[{n}]": share for n, share in enumerate(self.entry_ratios)})
        domain.count(1, pods_by_node=sum(self.pods_by_node))

    @property
    def hottest_pod_ratio(self) -> float:
        """Largest share of all connections that a pod is offered, by design and not by luck."""
        if self.policy == "Local":
            return max(balance.local_shares(self.pods_by_node, self.entry_ratios))
        return 1 / sum(self.pods_by_node)

    def work_s(self, *, entry_s: float, transit_s: float, accept_s: float, overlay_s: float = 0.0) -> float:
        """CPU that one connection (or request) costs the hottest node, on average over all of them.

        Parameters
        ----------
        entry_s, transit_s
            At the node it enters; at the pod's node if that is another one.
        accept_s
            What the pod's end takes of its node's CPU.
        overlay_s
            Added at both nodes where two are crossed.
        """
        domain.not_negative(entry_s=entry_s, transit_s=transit_s, accept_s=accept_s, overlay_s=overlay_s)
        return max(
            enter * (entry_s + here * accept_s + (1 - here) * overlay_s)
            + (1 - enter) * away * (transit_s + accept_s + overlay_s)
            for enter, here, away in self._nodes()
        )

    def visits(self) -> float:
        """Share of all connections that cross the hottest node, whose conntrack each takes an entry of."""
        return max(enter + (1 - enter) * away for enter, _, away in self._nodes())

    def crossings(self) -> float:
        """Times that a packet passes the hottest node's link: in and out again where it is only forwarded."""
        return max(enter * (2 - here) + (1 - enter) * away for enter, here, away in self._nodes())

    def _nodes(self) -> list[tuple[float, float, float]]:
        """For each node: share that enters, chance that its pod is here, that another's pod is here."""
        pods = sum(self.pods_by_node)
        if self.policy == "Local":
            return [(enter, 1.0, 0.0) for enter in self.entry_ratios]
        return [(e, n / pods, n / pods) for e, n in zip(self.entry_ratios, self.pods_by_node, strict=True)]


# One function a resource. `rate_rps` is of requests; `connections` are new connections per request.


def node_cpu(
    rate_rps: float,
    *,
    connect_s: float,
    request_s: float,
    connections: float,
    cores: int,
    doubt: str | None = None,
) -> Resource:
    """CPU of the hottest node's network stack: `connect_s` a new connection, `request_s` a request."""
    domain.count(1, cores=cores)
    domain.not_negative(connect_s=connect_s, request_s=request_s, connections=connections)
    return Resource(
        name="node CPU",
        unit="cores",
        per_rps=connections * connect_s + request_s,
        rate_rps=rate_rps,
        ceiling=cores,
        source="profile: prices of the rules counted",
        claim="many connections, so that cores are hashed to evenly; kernel work only",
        doubt=doubt,
    )


def workers(
    rate_rps: float, *, service_s: float, hottest_ratio: float, workers: int, doubt: str | None = None
) -> Resource:
    """Workers of the pod with the most connections."""
    domain.count(1, workers=workers)
    domain.positive(service_s=service_s)
    return Resource(
        name="pod workers",
        unit="busy workers",
        per_rps=hottest_ratio * service_s,
        rate_rps=rate_rps,
        ceiling=workers,
        source="scenario: service time, workers",
        claim="steady state; kept connections: mean over how they fall",
        doubt=doubt,
    )


def conntrack(
    rate_rps: float,
    *,
    visits: float,
    connections: float,
    standing: float,
    lifetime_s: float,
    entries: int,
    fewest: int = 0,
) -> Resource:
    """Conntrack entries of the hottest node.

    Parameters
    ----------
    visits
        Share of the connections that cross it, `Spread.visits`.
    standing
        Connections that are kept open.
    lifetime_s
        Of an entry that is not kept: the request it was made for, and TIME_WAIT.
    entries
        The table's size.
    fewest
        Fewer entries than this are in doubt: how many there are at the fullest moment is chance.
    """
    domain.not_negative(visits=visits, connections=connections, standing=standing, lifetime_s=lifetime_s)
    per_rps = visits * connections * lifetime_s
    few = visits * standing + per_rps * rate_rps < fewest
    return Resource(
        name="conntrack",
        unit="entries",
        fixed=visits * standing,
        per_rps=per_rps,
        rate_rps=rate_rps,
        ceiling=entries,
        doubt=f"fewer than {fewest:,} entries: the fullest moment is chance" if few else None,
        source="kernel: nf_conntrack_max, TIME_WAIT",
        claim="after a TIME_WAIT at this rate; entries in TIME_WAIT are not reused",
    )


def masquerade_ports(
    rate_rps: float,
    *,
    pair_ratio: float,
    connections: float,
    standing: float,
    held_s: float,
    ports: int = SNAT_PORTS,
    simulated: bool = False,
) -> Resource:
    """Source ports of one node towards one pod, policy Cluster: `pair_ratio` of all connections go there."""
    domain.not_negative(pair_ratio=pair_ratio, connections=connections, held_s=held_s, standing=standing)
    return Resource(
        name="masquerade ports",
        unit="ports",
        fixed=pair_ratio * standing,
        per_rps=pair_ratio * connections * held_s,
        rate_rps=rate_rps,
        ceiling=ports,
        source="kernel: nf_nat_core.c, 1024-65535 a node and pod",
        claim="SYNs are lost from 92 % on",
        simulated=simulated,
    )


def client_ports(
    rate_rps: float,
    *,
    pair_ratio: float,
    connections: float,
    standing: float,
    held_s: float,
    ports: int = LOCAL_PORTS,
    simulated: bool = False,
    name: str = "client ports",
) -> Resource:
    """Source ports of one client's (or balancer's) address towards one node."""
    domain.not_negative(pair_ratio=pair_ratio, connections=connections, held_s=held_s, standing=standing)
    return Resource(
        name=name,
        unit="ports",
        fixed=pair_ratio * standing,
        per_rps=pair_ratio * connections * held_s,
        rate_rps=rate_rps,
        ceiling=ports,
        source="kernel: ip_local_port_range 32768-60999, TIME_WAIT 60 s",
        claim="clients close first",
        simulated=simulated,
    )


def link_bytes(
    rate_rps: float,
    *,
    crossings: float,
    request_bytes: float,
    response_bytes: float,
    link_bytes_per_s: float,
) -> Resource:
    """Busier direction of the hottest node's link: the answers' or the requests', whichever are longer."""
    domain.not_negative(request_bytes=request_bytes, response_bytes=response_bytes)
    return Resource(
        name="link bandwidth",
        unit="bytes/s",
        per_rps=crossings * max(request_bytes, response_bytes),
        rate_rps=rate_rps,
        ceiling=link_bytes_per_s,
        source="assumed: link, bytes of requests and answers",
        claim="no other traffic; pods do not talk to others",
        simulated=False,
    )


PACKETS_PER_CONNECTION = 3
"""Each way: SYN, ACK and FIN, or their answers."""
SEGMENT_BYTES = 1448
"""TCP payload of a packet: 1500 less headers and timestamps."""


def link_packets(
    rate_rps: float,
    *,
    crossings: float,
    connections: float,
    request_bytes: float,
    response_bytes: float,
    packets_per_s: float,
) -> Resource:
    """Packets of the hottest node, both directions: segments, an acknowledgement for every second one."""
    domain.not_negative(crossings=crossings, connections=connections)
    segments = math.ceil(request_bytes / SEGMENT_BYTES) + math.ceil(response_bytes / SEGMENT_BYTES)
    each = connections * 2 * PACKETS_PER_CONNECTION + 1.5 * segments
    return Resource(
        name="packets",
        unit="packets/s",
        per_rps=crossings * each,
        rate_rps=rate_rps,
        ceiling=packets_per_s,
        source="assumed: packets/s of a node, bytes of requests and answers",
        claim="no other traffic; no offload counted",
        simulated=False,
    )


def programming(churn_rps: float, *, sync_s: float, min_sync_period_s: float) -> Resource:
    """Changes of endpoints per second, each in a sync of its own: beyond, changes wait and go in together."""
    domain.not_negative(churn_rps=churn_rps, sync_s=sync_s, min_sync_period_s=min_sync_period_s)
    return Resource(
        name="rule programming",
        unit="changes/s",
        fixed=churn_rps,
        rate_rps=0.0,
        ceiling=1 / max(sync_s + min_sync_period_s, 1e-9),
        source="profile: sync prices; minSyncPeriod",
        claim="beyond it nothing breaks: a change takes up to twice as long",
    )


def node_ports(used: int, ports: int = NODE_PORTS) -> Resource:
    """NodePorts of the range."""
    domain.count(0, used=used)
    return Resource(
        name="NodePorts",
        unit="ports",
        fixed=used,
        rate_rps=0.0,
        ceiling=ports,
        source="API server: --service-node-port-range",
        claim="exact",
        simulated=False,
    )
