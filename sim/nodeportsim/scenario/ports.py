"""What a user declares about source ports: those of clients, and those a node masquerades with.

Both are left out unless declared: without them no port runs short and none returns. What is modelled:
docs/models/ports.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.quantities import Duration, FieldError, Positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.scenario.clients import Clients

MOST_CELLS = 20_000_000
"""Ports of all kinds a run keeps in memory, 8 or 24 bytes each."""


class SourcePorts(Spec):
    """Source ports of a client towards each node.

    Sources: net.ipv4.ip_local_port_range 32768..60999; TCP_TIMEWAIT_LEN, include/net/tcp.h.
    """

    count: Annotated[int, Field(ge=1, le=65_535)] = 28_232
    pick: Literal["random", "sequential"] = Field(
        "random", description="where the search for a free port begins: anywhere, or after the last one"
    )
    hold_s: Duration = Field(
        60.0, description="TIME_WAIT of a client that closes first; 0: the server closes first"
    )
    hosts: Positive | None = Field(
        None, description="addresses the clients of the group share; default: one each"
    )


class Snat(Spec):
    """Masquerade ports of a node towards each pod, policy Cluster (net/netfilter/nf_nat_core.c)."""

    ports: Annotated[int, Field(ge=1, le=65_535)] = Field(64_512, description="1024..65535")
    evict_closing: bool = Field(
        True, description="Linux from 6.5 takes ports in TIME_WAIT where no other is found"
    )


def check_cells(groups: Sequence[Clients], snat: Snat | None, nodes: int, pods: int) -> None:
    """Refuse a scenario whose ports would not fit into memory."""
    for number, group in enumerate(groups):
        ports = group.source_ports
        if ports is not None and addresses(group) * nodes * ports.count > MOST_CELLS:
            rule = (
                f"gives more than {MOST_CELLS:,} ports: {addresses(group):,} addresses x {nodes:,} nodes; "
                "let the clients share `hosts`, or be fewer"
            )
            raise FieldError(rule, "clients", number, "sourcePorts", "count", got=ports.count)
    if snat is not None and nodes * pods * snat.ports > MOST_CELLS:
        there = f"{nodes:,} nodes x {pods:,} pods"
        rule = f"gives more than {MOST_CELLS:,} ports: {there}; study fewer nodes or pods"
        raise FieldError(rule, "cluster", "snat", "ports", got=snat.ports)


def addresses(group: Clients) -> int:
    """Source addresses of a group of clients."""
    hosts = group.source_ports.hosts if group.source_ports else None
    return min(group.count, hosts or group.count)
