"""What a user declares of faults: which, when, to whom, for how long."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.quantities import Duration, FieldError

Fault = Literal[
    "power-off", "cut", "cut-control-plane", "cut-nodes", "shutdown", "proxy-stop", "pod-crash", "pod-hang"
]

TARGETS: dict[Fault, Literal["node", "pod"]] = {  # What a fault happens to.
    "power-off": "node",
    "cut": "node",
    "cut-control-plane": "node",
    "cut-nodes": "node",
    "shutdown": "node",
    "proxy-stop": "node",
    "pod-crash": "pod",
    "pod-hang": "pod",
}


class Event(Spec):
    """A fault, and how long it lasts (None: to the end). ``node`` or ``pod`` by name."""

    at_s: Duration
    fault: Fault
    node: str | None = None
    pod: str | None = None
    for_s: Duration | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _target(self) -> Self:
        kind = TARGETS[self.fault]
        other = "node" if kind == "pod" else "pod"
        if getattr(self, kind) is None or getattr(self, other) is not None:
            raise FieldError(f"happens to a {kind}: give {kind}, and no {other}", "fault", got=self.fault)
        return self

    @property
    def target(self) -> str:
        """Name of what it happens to."""
        return self.node or self.pod or ""
