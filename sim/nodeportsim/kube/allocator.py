"""The bitmap of node ports, and transactions on it.

How the real thing works (k8s:pkg/registry/core/service/portallocator): one bitmap for the whole cluster,
which knows ports and no protocols. The low end of the range is the *static* band, left to people who name
a port, the rest the *dynamic* band (KEP-3668). An automatic port starts at a random place of the dynamic
band and takes the next free port from there, wrapping round; only when that band is full does it try the
static one. A request's ports are taken at once and released only when it is stored.
Left out: the repair loop, several API servers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

_MIN_STATIC, _MAX_STATIC, _STATIC_STEP = 16, 128, 32  # portallocator/allocator.go calculateRangeOffset
_MAX_PORT = 65535
_DRY_RUN_PORT = 32769  # portallocator/operation.go: what a dry run answers with, whatever the range


@dataclass(frozen=True, kw_only=True, slots=True)
class PortRange:
    """The ports of ``--service-node-port-range``, both ends included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read ``30000-32767``."""
        match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text, re.ASCII) if isinstance(text, str) else None
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= _MAX_PORT:
            raise InputError(
                "must be two ports, the lower first, as in 30000-32767", field="nodePortRange", got=text
            )
        return cls(first=int(match[1]), last=int(match[2]))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def dynamic(self) -> range:
        """Ports tried first by automatic allocation: the upper band."""
        size = self.last - self.first + 1
        static = min(max(_MIN_STATIC, size // _STATIC_STEP), _MAX_STATIC) if size > _MIN_STATIC else 0
        return range(self.first + static, self.last + 1)

    @property
    def static(self) -> range:
        """Ports tried last: the lower band, empty in a range of at most 16 ports."""
        return range(self.first, self.dynamic.start)


class PortError(Exception):
    """A port cannot be had; its text goes into the API server's message."""


class Operation:
    """A transaction on the set of taken ports (portallocator/operation.go).

    Parameters
    ----------
    taken
        Ports in use, changed in place.
    ports
        The range they come from.
    rng
        Where an automatic port starts to look.
    """

    def __init__(self, taken: set[int], ports: PortRange, rng: random.Random) -> None:
        self._taken, self._ports, self._rng = taken, ports, rng
        self._allocated: set[int] = set()
        self._released: set[int] = set()

    def allocate(self, port: int) -> None:
        """Take the named port, or raise `PortError`."""
        if not self._ports.first <= port <= self._ports.last:
            valid = f"The range of valid ports is {self._ports}"
            raise PortError(f"provided port is not in the valid range. {valid}")
        if port in self._taken:
            raise PortError("provided port is already allocated")
        self._taken.add(port)
        self._allocated.add(port)

    def allocate_next(self) -> int:
        """Take any port: the first free one from a random place, the dynamic band before the static."""
        for band in (self._ports.dynamic, self._ports.static):
            start = self._rng.randrange(len(band)) if band else 0
            port = next((p for p in chain(band[start:], band[:start]) if p not in self._taken), None)
            if port is not None:
                self.allocate(port)
                return port
        raise PortError("range is full")

    def release(self, ports: Iterable[int]) -> None:
        """Give ports back once the request is stored."""
        self._released.update(ports)

    def finish(self, *, stored: bool) -> None:
        """Release what was given back, or, when the request was refused, what was taken."""
        self._taken.difference_update(self._released if stored else self._allocated)


class DryRun(Operation):
    """The same without effect, and as careless as the server's: it forgets to check the range."""

    def allocate(self, port: int) -> None:
        """Note the named port, or raise `PortError`."""
        if port in self._taken or port in self._allocated:
            raise PortError("provided port is already allocated")
        self._allocated.add(port)

    def allocate_next(self) -> int:
        """Answer with a placeholder."""
        port = max(self._allocated) + 1 if self._allocated else _DRY_RUN_PORT
        self._allocated.add(port)
        return port

    def finish(self, *, stored: bool) -> None:
        """Change nothing."""
