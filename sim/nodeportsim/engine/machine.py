"""What the two loads of the step files do not share, plain side: every happening is a SimPy event.

The steps (client, node, pod, pools, dispatch, draws) are loaded twice: as they stand, where their
``from nodeportsim.engine.machine import`` ... is this file, and once more under Numba, where it is
``compiled/machine.py``. Nothing else differs, so there is one meaning.

Order at equal instants: control plane, then open-loop arrivals by client, then all else as it was scheduled.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeVar

from .codes import TIMER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .records import World

F = TypeVar("F", bound="Callable[..., object]")


def step(f: F) -> F:
    """Mark a step; inlined by the kernel."""
    return f


def rare(f: F) -> F:
    """Mark a step off the common path; the kernel keeps it as a call, which compiles faster."""
    return f


def at(w: World, t: float, kind: int, i: int) -> None:
    """Let `kind` happen to `i` at instant `t`."""
    w.queue.at(t, kind, i)


def after(w: World, t: float, delay_s: float, kind: int, i: int) -> None:
    """Let `kind` happen to `i` a delay after `t`."""
    w.queue.at(t + delay_s, kind, i)


def arrival(w: World, t: float, c: int) -> None:
    """Let client `c` want its next request at `t`, unless arrivals are over by then."""
    if t < w.config.duration_s:
        w.queue.arrival(t, c)


def arm(w: World, t: float, delay_s: float, r: int) -> None:
    """Set the one timer of request `r`, which has none."""
    w.requests[r].timer = w.queue.at(t + delay_s, TIMER, r)


def disarm(w: World, r: int) -> None:
    """Void the timer of request `r`, if there is one."""
    w.requests[r].timer = -1


def prefetch(rows: Sequence[object], i: int) -> None:
    """Let the kernel fetch row `i`, which will be wanted soon, into the cache; nothing else comes of it."""


def notify(w: World, t: float, what: int, i: int) -> None:
    """Tell the control plane of `what` at `i`; it acts at `t`, before any other packet."""
    w.queue.notify(t, what, i)


def ask(w: World, c: int, last: int, u1: float, u2: float, t: float) -> int:
    """Let the custom policy of client `c` name an entry node; -1 where it does not."""
    return int(w.queue.ask(c, last, u1, u2, t))


def tell(w: World, c: int, node: int, took_s: float, answered: int, t: float) -> int:
    """Let the custom policy of client `c` learn how an attempt ended; -1 where it fails."""
    return int(w.queue.tell(c, node, took_s, answered, t))


def float_bits(x: float) -> int:
    """Read the 64 bits of a float as a signed integer."""
    return int(struct.unpack("<q", struct.pack("<d", x))[0])
