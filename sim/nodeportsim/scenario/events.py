"""What a user declares of faults and of planned changes: which, when, to whom, for how long."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.quantities import Duration, FieldError

Fault = Literal[
    "power-off",
    "cut",
    "cut-control-plane",
    "cut-nodes",
    "shutdown",
    "drain",
    "proxy-stop",
    "pod-crash",
    "crash-loop",
    "pod-hang",
    "pod-not-ready",
    "rolling-update",
    "scale",
]

TARGETS: dict[Fault, Literal["node", "pod", "cluster"]] = {  # What a fault happens to.
    "power-off": "node",
    "cut": "node",
    "cut-control-plane": "node",
    "cut-nodes": "node",
    "shutdown": "node",
    "drain": "node",
    "proxy-stop": "node",
    "pod-crash": "pod",
    "crash-loop": "pod",
    "pod-hang": "pod",
    "pod-not-ready": "pod",
    "rolling-update": "cluster",
    "scale": "cluster",
}

# The faults that a further field belongs to. There it is required if its default is None.
PARAMETERS: dict[str, tuple[Fault, ...]] = {
    "replicas": ("scale",),
    "late_s": ("scale",),
    "stay_s": ("drain",),
    "alive_s": ("crash-loop",),
}

FOR_GOOD: tuple[Fault, ...] = ("rolling-update", "scale")  # They have no end.


class Event(Spec):
    """A fault, and how long it lasts (None: to the end). ``node`` or ``pod`` by name, or neither."""

    at_s: Duration
    fault: Fault
    node: str | None = None
    pod: str | None = None
    for_s: Duration | None = Field(None, gt=0)
    replicas: Annotated[int, Field(ge=0, le=150_000)] | None = Field(
        None, description="scale: to so many pods"
    )
    late_s: Duration = Field(0.0, description="scale: how much later it begins, as an autoscaler does")
    stay_s: Duration = Field(0.0, description="drain: how long the node stays at least")
    alive_s: Duration | None = Field(None, gt=0, description="crash-loop: from a start to the next crash")

    @model_validator(mode="after")
    def _target(self) -> Self:
        kind = TARGETS[self.fault]
        if kind == "cluster" and (self.node is not None or self.pod is not None):
            raise FieldError("happens to the cluster: give no node and no pod", "fault", got=self.fault)
        other = "node" if kind == "pod" else "pod"
        if kind != "cluster" and (getattr(self, kind) is None or getattr(self, other) is not None):
            raise FieldError(f"happens to a {kind}: give {kind}, and no {other}", "fault", got=self.fault)
        if self.for_s is not None and self.fault in FOR_GOOD:
            raise FieldError(f"has no meaning: {self.fault} is for good", "for", got=self.for_s)
        return self

    @model_validator(mode="after")
    def _parameters(self) -> Self:
        for name, faults in PARAMETERS.items():
            field = type(self).model_fields[name]
            value, path = getattr(self, name), str(field.alias)
            if self.fault not in faults and value != field.default:
                raise FieldError(f"belongs to fault: {' or '.join(faults)}", path, got=value)
            if self.fault in faults and value is None:
                raise FieldError(f"is missing: fault: {self.fault} needs it", path)
        return self

    @property
    def target(self) -> str:
        """Name of what it happens to."""
        return self.node or self.pod or "cluster"
