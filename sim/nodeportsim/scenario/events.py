"""What a user declares of faults and planned changes: which, when, to whom, how bad, how long or often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.quantities import Duration, FieldError, Positive, Ratio, check_known

if TYPE_CHECKING:
    from collections.abc import Sequence

Fault = Literal[
    "power-off",
    "cut",
    "cut-in",
    "cut-out",
    "cut-control-plane",
    "cut-nodes",
    "loss",
    "firewall",
    "slow-node",
    "conntrack-fill",
    "shutdown",
    "drain",
    "lease-flap",
    "proxy-stop",
    "proxy-restart",
    "proxy-hang",
    "proxy-lag",
    "pod-crash",
    "crash-loop",
    "pod-hang",
    "pod-not-ready",
    "pod-errors",
    "slow-pod",
    "api-outage",
    "controller-manager-outage",
    "balancer-failover",
    "rolling-update",
    "scale",
]
Target = Literal["node", "pod", "cluster"]

OF_A_POD: tuple[Fault, ...] = (
    "pod-crash",
    "crash-loop",
    "pod-hang",
    "pod-not-ready",
    "pod-errors",
    "slow-pod",
)
OF_THE_CLUSTER: tuple[Fault, ...] = (
    "api-outage",
    "controller-manager-outage",
    "balancer-failover",
    "rolling-update",
    "scale",
)
TARGETS: dict[Fault, Target] = {  # What a fault happens to.
    fault: "pod" if fault in OF_A_POD else "cluster" if fault in OF_THE_CLUSTER else "node"
    for fault in get_args(Fault)
}

NAMED_BY: dict[Target, tuple[str, ...]] = {  # The fields that name a target of each kind.
    "node": ("node", "zone"),
    "pod": ("pod",),
    "cluster": (),
}

# The faults that a further field belongs to. There it is required if its default is None.
PARAMETERS: dict[str, tuple[Fault, ...]] = {
    "factor": ("slow-node", "slow-pod"),
    "loss_ratio": ("loss",),
    "errors_ratio": ("pod-errors",),
    "answer": ("firewall",),
    "entries": ("conntrack-fill",),
    "period_s": ("lease-flap",),
    "delay_s": ("proxy-lag",),
    "flush": ("proxy-stop", "proxy-restart"),
    "connections": ("balancer-failover",),
    "replicas": ("scale",),
    "late_s": ("scale",),
    "stay_s": ("drain",),
    "alive_s": ("crash-loop",),
}
FOR_GOOD: tuple[Fault, ...] = ("rolling-update", "scale")  # They have no end.

EVERY = "*"  # In place of a name: each one, by itself.


class Event(Spec):
    """A fault, and how long it lasts (None: to the end), or how it comes and goes (``up`` and ``down``)."""

    at_s: Duration
    fault: Fault
    node: str | None = Field(None, description='name of a node, or "*": each node')
    pod: str | None = Field(None, description='name of a pod, or "*": each pod')
    zone: str | None = Field(None, description="every node of a zone, at once")
    for_s: Duration | None = Field(None, gt=0)
    up_s: Duration | None = Field(None, gt=0, description="mean time until the fault, again and again")
    down_s: Duration | None = Field(None, gt=0, description="mean time until its repair")
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
    period_s: Duration | None = Field(None, gt=0, description="lease-flap: time between two renewals")
    delay_s: Duration | None = Field(None, gt=0, description="proxy-lag: how much later a sync begins")
    flush: bool = Field(False, description="proxy-stop, proxy-restart: the rules go with the process")
    connections: Literal["reset", "silent", "kept"] = Field(
        "reset", description="balancer-failover: what the standby does with connections of the active"
    )
    replicas: Annotated[int, Field(ge=0, le=150_000)] | None = Field(
        None, description="scale: to so many pods"
    )
    late_s: Duration = Field(0.0, description="scale: how much later it begins, as an autoscaler does")
    stay_s: Duration = Field(0.0, description="drain: how long the node stays at least")
    alive_s: Duration | None = Field(None, gt=0, description="crash-loop: from a start to the next crash")

    @model_validator(mode="after")
    def _target(self) -> Self:
        kind = TARGETS[self.fault]
        fields = NAMED_BY[kind]
        given = [field for field in ("node", "pod", "zone") if getattr(self, field) is not None]
        if kind == "cluster" and given:
            raise FieldError("happens to the cluster: give no node, pod or zone", "fault", got=self.fault)
        if kind != "cluster" and (len(given) != 1 or given[0] not in fields):
            others = " or ".join(field for field in ("node", "pod", "zone") if field not in fields)
            rule = f"happens to a {kind}: give {' or '.join(fields)}, and no {others}"
            raise FieldError(rule, "fault", got=self.fault)
        return self

    @model_validator(mode="after")
    def _times(self) -> Self:
        if (self.up_s is None) != (self.down_s is None):
            missing, there = ("up", "down") if self.up_s is None else ("down", "up")
            raise FieldError(f"is missing: {there} and {missing} go together", missing)
        if self.up_s is not None and self.for_s is not None:
            raise FieldError("is drawn where up and down are given: leave it out", "for", got=self.for_s)
        if self.fault in FOR_GOOD and (self.for_s is not None or self.up_s is not None):
            raise FieldError("has no end: give neither for nor up and down", "fault", got=self.fault)
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
        return self.node or self.pod or self.zone or "cluster"


def check_targets(
    events: Sequence[Event], *, nodes: Sequence[str], pods: Sequence[str], zones: Sequence[str]
) -> None:
    """Raise `FieldError` for the first event that names what is not there."""
    for what, names in (("node", nodes), ("pod", pods), ("zone", zones)):
        asked = {("events", e, what): getattr(event, what) for e, event in enumerate(events)}
        named = {path: name for path, name in asked.items() if name != EVERY or what == "zone"}
        check_known(what, names, named)
