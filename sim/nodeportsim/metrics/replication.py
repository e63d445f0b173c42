"""What the metrics need to know of one replication, whoever made it.

The engine makes replications and may not be imported here, nor the other way round. This is the shape
on which both agree, and the names along its axes; a test says that the engine's names are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Shares = NDArray[np.float64]

CAUSES = (
    "connect_timeout",
    "no_route",
    "refused",
    "reset",
    "request_timeout",
    "pool_timeout",
    "rejected",
    "total_timeout",
    "connection_lost",
    "server_error",
    "no_ports",
    "circuit_open",
)
STAGES = (
    "pool_wait",
    "syn_backoff",
    "wire",
    "rules",
    "node_queue",
    "pod_queue",
    "service",
    "failed_attempts",
    "backoff",
)
PHASES = ("before", "during", "after")


class Replication(Protocol):
    """Counts of one replication.

    Requests whose intended arrival lies in the warm-up are in none of them. Seconds and phases are those
    of the intended arrival; ``during`` lasts from a fault until every live node's rules know it, and
    without events everything is ``before``.
    """

    @property
    def number(self) -> int:
        """Which replication it is, from 0."""

    @property
    def offered(self) -> int:
        """Requests that were wanted."""

    @property
    def succeeded(self) -> int:
        """Requests that were answered."""

    @property
    def failed(self) -> int:
        """Requests that failed for good."""

    @property
    def in_flight(self) -> int:
        """Requests that were unresolved when the run ended."""

    @property
    def attempts(self) -> int:
        """Attempts made for the requests."""

    @property
    def errors(self) -> Counts:
        """Failed requests by final cause, shape (causes,)."""

    @property
    def attempt_errors(self) -> Counts:
        """Failed attempts by cause, shape (causes,)."""

    @property
    def latency(self) -> Counts:
        """Histogram of succeeded requests from their intended arrival, shape (phases, buckets)."""

    @property
    def latency_sum_ns(self) -> Counts:
        """Sum of these latencies, shape (phases,)."""

    @property
    def first_packet(self) -> Counts:
        """Histogram from the first SYN to the established connection, shape (buckets,)."""

    @property
    def stage_sum_ns(self) -> Counts:
        """Time by stage, summed over each latency bucket, shape (buckets, stages)."""

    @property
    def timeline(self) -> Counts:
        """Offered, succeeded, failed by cause in each second, shape (seconds, 2 + causes)."""

    @property
    def second_latency_ns(self) -> Counts:
        """Summed latency of the requests that arrived in each second and succeeded, shape (seconds,)."""

    @property
    def phases(self) -> Counts:
        """Offered, succeeded, failed, shape (phases, 3)."""

    @property
    def nodes(self) -> Counts:
        """Connections that entered by each node, requests, shape (nodes, 2)."""

    @property
    def pods(self) -> Counts:
        """Connections made to each pod, requests it served, shape (pods, 2)."""

    @property
    def lasting(self) -> NDArray[np.bool_]:
        """Whether each pod stood from the beginning to the end, shape (pods,)."""

    @property
    def pod_utilisation(self) -> Shares:
        """Work each pod accepted over what its workers can do while it stands, shape (pods,)."""

    @property
    def conntrack_peak(self) -> Counts:
        """Most connection tracking entries each node ever had, shape (nodes,)."""

    @property
    def node_utilisation(self) -> Shares:
        """CPU time of each node's network stack over its cores' time, shape (nodes,)."""

    @property
    def load(self) -> Counts:
        """Attempts begun, answers, answers to nobody, late answers in each second, shape (seconds, 4).

        Here a second is that in which it happened. A late answer is one to a request that was born before
        every node's rules were right, came after, and took a second SYN or attempt.
        """

    @property
    def clients(self) -> Counts:
        """Group, failed requests, clients that had so many, requests they wanted, shape (rows, 4)."""

    @property
    def groups(self) -> Sequence[tuple[str, str]]:
        """Name and loop (``open`` or ``closed``) of each group of clients."""

    @property
    def node_names(self) -> Sequence[str]:
        """Names of the nodes, in their order elsewhere."""

    @property
    def node_failed(self) -> Counts:
        """Failed requests by the entry node of their last attempt, shape (nodes,)."""

    @property
    def fates(self) -> Counts:
        """Connections older than the first fault that ended in each second after it, shape (seconds, 3).

        Closed as usual, torn by the other side (RST or FIN), given up by a time-out.
        """

    @property
    def standing(self) -> Counts:
        """Those of them left at the end: usable, dead without their client's knowledge, shape (2,)."""

    @property
    def orphans(self) -> int:
        """Answers for which nobody waited any more."""

    @property
    def conntrack_drops(self) -> int:
        """SYNs that met a full connection tracking table."""

    @property
    def backlog_drops(self) -> int:
        """SYNs that met a full listen queue."""

    @property
    def snat_drops(self) -> int:
        """SYNs for which a node found no port to masquerade with."""

    @property
    def retransmissions(self) -> int:
        """Packets that were sent again."""

    @property
    def milestones(self) -> Sequence[tuple[float, str, str]]:
        """(Time in seconds, name, subject), as (57.2, "node not ready", "node-3")."""

    @property
    def programming(self) -> Shares:
        """Instant of a change (s), number of a node, delay until its rules had it (s), shape (rows, 3)."""

    @property
    def newborns(self) -> Counts:
        """Answered by new pods, by all; new pods ready, all ready; by second, shape (seconds, 4).

        No rows without a planned change that makes pods.
        """

    @property
    def pod_nodes(self) -> Counts:
        """Number of each pod's node, that of nodes where it stands outside the cluster, shape (pods,)."""

    @property
    def node_zones(self) -> Sequence[str]:
        """Zone of each node."""

    @property
    def trace(self) -> NDArray[Any]:
        """Some requests, the first to end: born_s, ended_s, node (entered), pod (-1: failed)."""
