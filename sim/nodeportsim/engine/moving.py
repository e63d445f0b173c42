"""A SYN for a virtual IP that has moved since the last one goes to its present owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .connections import forget
from .machine import rare

if TYPE_CHECKING:
    from .records import World


@rare
def follow(w: World, t: float, r: int) -> None:
    """Let the next SYN to a virtual IP go to its present owner, who knows nothing of the last one."""
    request = w.requests[r]
    connection = w.connections[request.connection]
    if connection.node != w.config.leader:
        forget(w, t, request.connection, t)
        connection.node = w.config.leader
        connection.pod = -1
        connection.peer = -1
        connection.tracked = 0
        connection.snat_port = -1
        request.node = connection.node
