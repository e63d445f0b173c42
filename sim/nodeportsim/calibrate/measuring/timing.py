"""What a timer is: what it is asked, what it answers, and the quantiles of an answer.

Guards all timers keep: the connection table is emptied every `BATCH` connections, since closed ones live on
and would fill it; source ports are used in order, so that none returns soon; a *cold* run reads other memory
before each connection, because a loop keeps the rules in the cache and flatters them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from nodeportsim.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from nodeportsim.calibrate.measuring.scene import Target
    from nodeportsim.calibrate.measuring.testbed import Bed

BATCH = 500
WARM = 50
MESSAGE_BYTES = 64
LISTEN_PORT = 8080
QUANTILES = {"p05": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "p99": 99}
PORTS = 64000
"""Source ports in use: 1024 to 65023."""

Kind = Literal["connections", "requests"]


@dataclass(frozen=True)
class Timing:
    """What one run of a timer gives, an entry per connection or request."""

    connect_ns: npt.NDArray[np.uint32]
    cycle_ns: npt.NDArray[np.uint32]
    addresses: npt.NDArray[np.uint32]
    """Which address accepted, as a number."""
    elapsed_s: float
    user_s: float
    system_s: float

    @property
    def per_s(self) -> float:
        """Connections or requests per second, emptying the table not counted."""
        return len(self.cycle_ns) / self.elapsed_s


def quantiles(name: str, times_ns: npt.NDArray[np.uint32]) -> dict[str, float]:
    """Give the columns of one time: quantiles that were really seen, and the mean without the top 5 %."""
    ordered = np.sort(times_ns)
    found = np.percentile(ordered, list(QUANTILES.values()), method="lower")
    kept = ordered[: max(1, len(ordered) * 95 // 100)]
    return {
        f"{name}_min_ns": int(ordered[0]),
        **{f"{name}_{key}_ns": int(value) for key, value in zip(QUANTILES, found, strict=True)},
        f"{name}_tmean95_ns": round(float(kept.mean()), 1),
    }


class Timer(Protocol):
    """What measures need of a timer."""

    name: str

    def time(self, bed: Bed, target: Target, kind: Kind, count: int, *, cold_mib: int = 0) -> Timing:
        """Time so many connections to a target, or requests on one connection."""


def warm(target: Target) -> int:
    """Connections before those that count; with affinity, every known client must have come once."""
    return max(WARM, target.sources if target.sticky else 0)


def failed(target: Target, reason: str) -> InputError:
    """Make the error of a target that does not answer."""
    return InputError(f"cannot be timed: {reason}", field=f"{target.kind} {target.address}:{target.port}")
