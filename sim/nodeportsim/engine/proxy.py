"""One node's kube-proxy: what it has seen, what it has written, and whether it would call itself healthy.

A process that hangs goes on hearing of changes and does nothing about them; healthz fails once one of them
has waited for twice the sync period (k8s:pkg/proxy/healthcheck/proxy_health.go). Faults are counted, so that
two of a kind may overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .slices import NOTHING

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.sync import Runner, SyncKind

    from .slices import Listed, Version

HEAVIER: tuple[SyncKind, ...] = (
    "partial",
    "restart",
    "full",
)  # Each does all that those before it do.


@dataclass
class Proxy:
    """One node's kube-proxy."""

    runner: Runner
    wanted: Version  # of the slices, that it writes
    syncs: int = 0
    heard: int = 0  # how often the watch has told it of changes
    stopped: int = 0  # faults that keep the process from running
    hung: int = 0  # ... from syncing
    life: int = 0  # processes so far; what one began, the next does not finish
    lags_s: list[float] = field(default_factory=list)  # how much later each fault makes a sync begin
    pending_s: float | None = None  # since when it has known of a change that its rules lack
    sync: SyncKind = "partial"  # the next one
    listed: Listed = NOTHING  # what its rules say
    wake: Any = None

    @property
    def running(self) -> bool:
        """The process is there, hung or not."""
        return self.stopped == 0

    @property
    def syncing(self) -> bool:
        """The process is there and works."""
        return self.stopped == 0 and self.hung == 0

    def queue(self, heard: Version, now_s: float) -> None:
        """Note since when a change waits."""
        if self.pending_s is None and heard is not self.wanted:
            self.pending_s = now_s

    def want(self, sync: SyncKind) -> None:
        """Let the next sync be of this kind at least."""
        self.sync = max(self.sync, sync, key=HEAVIER.index)

    def end(self) -> None:
        """End the process: what it knew and what it was about is lost."""
        self.life, self.pending_s = self.life + 1, None

    def healthy(self, now_s: float, timeout_s: float) -> bool:
        """Tell whether the process runs and no change waits for too long."""
        return self.running and (self.pending_s is None or now_s - self.pending_s < timeout_s)
