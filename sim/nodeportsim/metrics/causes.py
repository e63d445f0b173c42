"""What the causes of failure are called, and by which colour they are known: one table for all output.

A cause that the table does not hold yet is written by its name, and drawn like no other.
"""

from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    """How a cause is written, how a sentence about a failure ends with it, its place among the colours."""

    words: str
    ending: str
    place: int


_KNOWN = {
    "connect_timeout": Cause("connect time-out", "by connect time-out", 1),
    "no_route": Cause("no route to host", "without a route to the host", 5),
    "refused": Cause("connection refused", "refused", 3),
    "reset": Cause("connection reset", "by a connection reset", 8),
    "request_timeout": Cause("request time-out", "by request time-out", 0),
    "pool_timeout": Cause("pool time-out", "waiting for a free connection", 2),
    "rejected": Cause("rejected (503)", "rejected with a 503", 7),
    "total_timeout": Cause("total time-out", "by total time-out", 6),
    "circuit_open": Cause("circuit open", "at an open circuit breaker", 4),
    "connection_lost": Cause("connection lost", "on a connection found dead", 10),
    "no_ports": Cause("no free source port", "without a free source port", 14),
    "server_error": Cause("server error (500)", "with a server error", 16),
}
ORDER = tuple(_KNOWN)
UNKNOWN_PLACE = 9


def cause(name: str) -> Cause:
    """Say how a cause is written and drawn."""
    words = name.replace("_", " ")
    return _KNOWN.get(name, Cause(words, f"by {words}", UNKNOWN_PLACE))


def in_order(names: set[str]) -> list[str]:
    """Sort causes as the table has them, further ones by name behind."""
    return [name for name in ORDER if name in names] + sorted(names.difference(ORDER))
