"""A DNS zone that checks the nodes' health: the record of a silent node is withdrawn, and comes back.

As hosted DNS does (health-checked records of Route 53, NS1, PowerDNS lua records): some time after a node has
fallen silent its record is left out of new answers, and as long after it answers again it is back. Answers
that were given before stay where they are, until the client's TTL ends. Left out: the zone's own failure,
secondary servers that hear of a change later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .wire import reaches_client

if TYPE_CHECKING:
    from .control import Control, Process

WATCH_S = 0.1  # Resolution of the withdrawal; far below any checking interval in use.


def start(control: Control) -> None:
    """Start the watch, where a group of clients asks such a zone; all of them ask the same one."""
    delays_s = [group.entry.withdraw_s for group in control.scenario.clients]
    for withdraw_s in dict.fromkeys(delay_s for delay_s in delays_s if delay_s is not None):
        control.env.process(_watch(control, withdraw_s))


def _watch(control: Control, withdraw_s: float) -> Process:
    """Look at every node for ever; `since_s` is when it was first seen otherwise than it is listed."""
    since_s: dict[int, float] = {}
    while True:
        world, now_s = control.world, control.env.now
        for n, name in enumerate(control.names):
            answers, node = reaches_client(world, n), world.nodes[n]
            if answers == bool(node.listed):
                since_s.pop(n, None)
            elif now_s - since_s.setdefault(n, now_s) >= withdraw_s - WATCH_S / 2:
                node.listed = int(answers)
                control.note("record back" if answers else "record withdrawn", name)
        yield control.env.timeout(WATCH_S)
