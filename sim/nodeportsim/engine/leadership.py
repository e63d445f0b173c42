"""Whether the controllers work: the API server answers, and one kube-controller-manager leads.

The EndpointSlice controller and the node controller live in one process, kube-controller-manager, and only
the leader of its copies works. A leader that cannot renew its own lease for the renew deadline (10 s) exits.
Whoever comes after it has seen the old lease at the earliest when the API server answers, waits until that
has run out (15 s), and knows nothing of what the last one saw. Faults are counted, so that two of a kind
may overlap. Sources: docs/models/control-plane.md.

Left out: a standby that has waited all along (it leads within 2 s), the jitter of its tries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import simpy

    from nodeportsim.scenario.spec import ControlPlane

    from .control import Process


@dataclass
class Leadership:
    """Who leads, and whether it can do anything; `begun` is called when a new leader begins."""

    env: simpy.Environment
    clocks: ControlPlane
    begun: Callable[[], None]
    api_down: int = 0  # faults that keep the API server from answering
    stopped: int = 0  # ... no controller manager from running
    term: int = 0  # leaders so far
    since_s: float = 0.0  # when the present one began
    led: bool = True
    failed_s: float = 0.0  # when the API server went

    def __post_init__(self) -> None:
        self._changed = self.env.event()

    @property
    def works(self) -> bool:
        """A leader runs and reaches the API server."""
        return self.led and not self.api_down and not self.stopped

    def at_work(self) -> Process:
        """Wait until the controllers work; not at all where they do."""
        while not self.works:
            yield self._changed

    def lose_api(self) -> None:
        """The API server does not answer any more."""
        self.failed_s = self.failed_s if self.api_down else self.env.now
        self.api_down += 1

    def regain_api(self) -> None:
        """The API server answers again; a leader that has waited too long has given up."""
        self.api_down -= 1
        if not self.api_down and self.env.now - self.failed_s >= self.clocks.leader_renew_deadline_s:
            self._elect()
        self._tell()

    def stop(self) -> None:
        """No controller manager runs any more; what the leader knew is lost."""
        self.stopped += 1
        self.led = False

    def restart(self) -> None:
        """One runs again, and wants to lead."""
        self.stopped -= 1
        if not self.stopped:
            self._elect()

    def _elect(self) -> None:
        self.led = False
        self.term += 1
        self.env.process(self._wait_for_lease(self.term))

    def _wait_for_lease(self, term: int) -> Process:
        """Lead once the lease of the last leader has run out, unless somebody else began to wait since."""
        yield self.env.timeout(self.clocks.leader_lease_duration_s)
        while self.api_down and self.term == term:
            yield self._changed
        if self.term == term and not self.stopped:
            self.led, self.since_s = True, self.env.now
            self.begun()
            self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, self.env.event()
        changed.succeed()
