"""What a user declares of faults: which, when, to whom, how bad, for how long."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.quantities import Duration, FieldError, Positive, Ratio

Fault = Literal[
    "power-off",
    "cut",
    "cut-in",
    "cut-out",
    "cut-control-plane",
    "cut-nodes",
    "shutdown",
    "proxy-stop",
    "pod-crash",
    "pod-hang",
    "slow-node",
    "slow-pod",
    "pod-errors",
    "loss",
    "firewall",
    "conntrack-fill",
]

TARGETS: dict[Fault, Literal["node", "pod"]] = {  # What a fault happens to.
    "power-off": "node",
    "cut": "node",
    "cut-in": "node",
    "cut-out": "node",
    "cut-control-plane": "node",
    "cut-nodes": "node",
    "shutdown": "node",
    "proxy-stop": "node",
    "pod-crash": "pod",
    "pod-hang": "pod",
    "slow-node": "node",
    "slow-pod": "pod",
    "pod-errors": "pod",
    "loss": "node",
    "firewall": "node",
    "conntrack-fill": "node",
}

PARAMETERS: dict[str, tuple[Fault, ...]] = {  # Which faults a field belongs to; they need it.
    "factor": ("slow-node", "slow-pod"),
    "loss_ratio": ("loss",),
    "errors_ratio": ("pod-errors",),
    "answer": ("firewall",),
    "entries": ("conntrack-fill",),
}

EVERY = "*"  # In place of a pod's name: all pods.
TO_EVERY: tuple[Fault, ...] = ("slow-pod", "pod-errors")  # Faults that may happen to all pods at once.


class Event(Spec):
    """A fault, and how long it lasts (None: to the end). ``node`` or ``pod`` by name."""

    at_s: Duration
    fault: Fault
    node: str | None = None
    pod: str | None = Field(None, description='"*" (slow-pod, pod-errors): every pod')
    for_s: Duration | None = Field(None, gt=0)
    factor: Annotated[float, Field(gt=1, le=1e6, strict=False)] | None = Field(
        None, description="slow-node, slow-pod: how many times as long everything takes"
    )
    loss_ratio: Ratio | None = Field(
        None, gt=0, lt=1, description="loss: share of the packets that are lost, each way"
    )
    errors_ratio: Ratio | None = Field(
        None, gt=0, description="pod-errors: share of the requests answered with a 500"
    )
    answer: Literal["drop", "reject"] | None = Field(
        None, description="firewall: silence, or refused at once"
    )
    entries: Positive | None = Field(None, description="conntrack-fill: entries other traffic holds")

    @model_validator(mode="after")
    def _target(self) -> Self:
        kind = TARGETS[self.fault]
        other = "node" if kind == "pod" else "pod"
        if getattr(self, kind) is None or getattr(self, other) is not None:
            raise FieldError(f"happens to a {kind}: give {kind}, and no {other}", "fault", got=self.fault)
        if self.pod == EVERY and self.fault not in TO_EVERY:
            raise FieldError(f"names every pod only for {', '.join(TO_EVERY)}", "pod", got=self.pod)
        return self

    @model_validator(mode="after")
    def _parameters(self) -> Self:
        for name, faults in PARAMETERS.items():
            given = getattr(self, name)
            if (given is not None) != (self.fault in faults):
                which = ", ".join(faults)
                place = name.removesuffix("_ratio")
                raise FieldError(f"belongs to fault: {which}, which needs it", place, got=given)
        return self

    @property
    def target(self) -> str:
        """Name of what it happens to."""
        return self.node or self.pod or ""
