"""The answer of `size` as rows, as the table of its figure, and as patches for the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.size import Answer, Sized
    from nodeportsim.study.space import Design

    Row = dict[str, Any]

DIGITS = 6


def as_rows(answer: Answer) -> list[Row]:
    """Give a row a design, the cheapest first; times in s, headroom as a share."""
    return [_row(sized) for sized in answer.designs]


def _row(sized: Sized) -> Row:
    design = sized.design
    return {
        "nodes": design.nodes,
        "pods": design.pods,
        "workers": design.workers,
        "mode": design.mode,
        "policy": design.policy,
        "entry": design.entry,
        "cost": sized.cost,
        "p99_s": _digits(sized.p99_s),
        "p99_degraded_s": _digits(sized.p99_degraded_s),
        "headroom": _digits(sized.headroom),
        "binding": sized.binding.name,
    }


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def frontier(answer: Answer) -> pd.DataFrame:
    """Tabulate the designs tried: ``nodes, pods, family, cost, feasible, chosen, headroom, reason``."""
    import pandas as pd

    headroom = {sized.design: _digits(sized.headroom) for sized in answer.designs}
    rows = [
        {
            "nodes": design.nodes,
            "pods": design.pods,
            "family": family_of(design),
            "cost": cost,
            "feasible": reason is None,
            "chosen": design in headroom,
            "headroom": headroom.get(design),
            "reason": reason or "",
        }
        for design, cost, reason in answer.tried
    ]
    columns = ["nodes", "pods", "family", "cost", "feasible", "chosen", "headroom", "reason"]
    return pd.DataFrame(rows, columns=columns)


def family_of(design: Design) -> str:
    """Name what a design has besides nodes and pods."""
    return f"{design.mode}, {design.policy}, {design.entry}, {design.workers} workers"


def deployment_patch(scenario: Scenario, design: Design) -> Row:
    """Make a patch of the Deployment: replicas, evenly over the nodes, as the design assumes."""
    name, namespace = scenario.service.name, scenario.service.namespace
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": name}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": design.pods,
            "template": {"spec": {"topologySpreadConstraints": [constraint]}},
        },
    }


def service_patch(scenario: Scenario, design: Design) -> Row:
    """Make a patch of the Service."""
    name, namespace = scenario.service.name, scenario.service.namespace
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"externalTrafficPolicy": design.policy},
    }
