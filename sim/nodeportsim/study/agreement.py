"""Every closed form of the capacity model against the simulator, over a designed experiment.

A Latin hypercube (McKay, Beckman and Conover 1979, doi:10.1080/00401706.1979.10489755) of `POINTS` scenarios
over rate, nodes, pods, workers, service-time law, mode, Services, policy and keep-alive. TIME_WAIT is 20 s
there, for a run to see its steady state. At each point each form is compared with what was simulated, and it
is noted whether the form claims to hold there: the claim is made from the scenario, before the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.scenario.spec import Scenario
from nodeportsim.study.capacity import Capacity
from nodeportsim.study.trial import profile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from nodeportsim.engine.simulate import Engine, Replication

    Progress = Callable[[int, int], None]

POINTS = 60
REPLICATIONS = 10
SEED = 2026
REQUESTS = 10_000
"""Requests of a replication, at least."""
TIME_WAIT_S = 20.0
WARM_UP_S = 22.0
LAWS: tuple[dict[str, Any], ...] = (
    {"dist": "constant"},
    {"dist": "uniform"},
    {"dist": "exponential"},
    {"dist": "lognormal", "p99": 5.0},
    {"dist": "lognormal", "p99": 8.0},
)
"""Of service times; p99 over the mean."""
MODES = ("iptables", "ipvs", "nftables")
FASTEST_RPS = 4000.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One scenario of the design, and what it is called."""

    number: int
    scenario: Scenario


def design(points: int = POINTS, seed: int = SEED) -> tuple[Point, ...]:
    """Draw the scenarios."""
    from nodeportsim.study.design import unit_cube

    cube = unit_cube(9, "lhs", points, seed)
    return tuple(Point(number=k, scenario=_scenario(u)) for k, u in enumerate(cube))


def _scenario(u: Sequence[float]) -> Scenario:
    """Make a scenario of nine numbers from 0 to 1."""
    mean_s = float(f"{_log(u[0], 0.002, 0.1):.3g}")
    nodes, pods = 1 + int(u[1] * 12), 2 + int(u[2] * 29)
    workers = 2 ** int(u[3] * 4)
    offered = (0.1 + 0.88 * u[4]) * pods * workers
    rate_rps = float(f"{min(FASTEST_RPS, offered / mean_s):.4g}")
    law = dict(LAWS[int(u[5] * len(LAWS))])
    law = {"mean_s": mean_s, **{"p99_s" if k == "p99" else k: v for k, v in law.items()}}
    if "p99_s" in law:
        law["p99_s"] = law["p99_s"] * mean_s
    kept = u[6] > 0.5  # noqa: PLR2004  (Half of them.)
    connections = int(_log(2 * u[6] - 1, 100, 3000)) if kept else 100
    return Scenario.model_validate(
        {
            "cluster": {
                "nodes": nodes,
                "conntrack": {"time_wait_s": TIME_WAIT_S},
                "proxy": {"mode": MODES[int(u[7] * len(MODES))]},
                "background": {"services": int(_log(u[8], 1, 10_000))},
            },
            "service": {"replicas": pods},
            "pods": {"workers": workers, "service_time": law},
            "clients": [
                {
                    "rate_rps": rate_rps,
                    "count": connections,
                    "connections": {"reuse": "lifo", "idle_timeout_s": 0.0} if kept else {},
                }
            ],
            "run": {
                "duration_s": WARM_UP_S + max(12.0, REQUESTS / rate_rps),
                "warmup_s": WARM_UP_S,
                "replications": REPLICATIONS,
                "seed": SEED,
            },
        },
        by_name=True,
    )


def _log(u: float, low: float, high: float) -> float:
    return float(low * (high / low) ** u)


def compare(
    points: Sequence[Point], *, engine: Engine = "compiled", progress: Progress | None = None
) -> pd.DataFrame:
    """Simulate the points.

    Returns
    -------
    DataFrame
        ``point, form, closed_form, simulated, error_ratio, claimed, why_not`` and what was varied.
    """
    import pandas as pd

    from nodeportsim.engine.simulate import simulate

    rows = []
    for point in points:
        scenario, profile = point.scenario, profile_of(point.scenario)
        runs = [
            simulate(scenario, n, engine=engine, profile=profile) for n in range(scenario.run.replications)
        ]
        rows += rows_of(point, runs)
        if progress:
            progress(point.number + 1, len(points))
    return pd.DataFrame(rows)


def rows_of(point: Point, runs: Sequence[Replication]) -> list[dict[str, Any]]:
    """Compare each form at one point."""
    from nodeportsim.study.slo import MEASURES

    forms = Capacity(scenario=point.scenario, profile=profile_of(point.scenario))
    resources = {r.name: r for r in forms.resources()}
    workers, conntrack = resources["pod workers"], resources["conntrack"]

    def hottest(name: str) -> float:
        """Give the mean of the hottest; where all are alike, the hottest mean: less of it is chance."""
        parts = np.array([getattr(run, name) for run in runs])
        return float(parts.max(axis=1).mean() if forms.standing else parts.mean(axis=0).max())

    cpu = forms.node_cpu(opened_over_s=point.scenario.run.duration_s)

    peak = float(np.mean([run.conntrack_peak.max() for run in runs]))
    latency = {name: MEASURES[name][0](runs).estimate for name in ("mean", "p50", "p99")}
    pairs: dict[str, tuple[float, float | None, str | None]] = {
        "mean latency": (forms.latency_mean_s, latency["mean"], forms.claim),
        "p50 latency": (forms.latency_quantile_s(0.5), latency["p50"], forms.claim),
        "p99 latency": (forms.latency_quantile_s(0.99), latency["p99"], forms.claim),
        "node CPU": (cpu.utilisation, hottest("node_utilisation"), cpu.doubt),
        "pod workers": (workers.utilisation, hottest("pod_utilisation"), workers.doubt),
        "conntrack": (conntrack.load, peak, conntrack.doubt),
    }
    return [
        {
            "point": point.number,
            "form": form,
            "closed_form": _digits(expected),
            "simulated": _digits(simulated),
            "error_ratio": _digits(expected / simulated - 1),
            "claimed": doubt is None,
            "why_not": doubt or "",
            **_varied(point.scenario),
        }
        for form, (expected, simulated, doubt) in pairs.items()
        if simulated
    ]


def _varied(s: Scenario) -> dict[str, Any]:
    group, law = s.clients[0], s.pods.service_time
    kept = group.connections.reuse != "none"
    return {
        "rate_rps": group.rate_rps,
        "nodes": s.cluster.nodes,
        "pods": s.service.replicas,
        "workers": s.pods.workers,
        "service_ms": _digits(1e3 * law.mean_s),
        "law": law.dist if law.p99_s is None else f"lognormal {law.p99_s / law.mean_s:g}",
        "mode": s.cluster.proxy.mode,
        "services": s.cluster.background.services,
        "connections": group.count if kept else 0,
    }


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def errors(table: pd.DataFrame) -> pd.DataFrame:
    """Sum up: of each form, how many points it claims, its errors there, and outside.

    Returns
    -------
    DataFrame
        ``form, claimed, median, largest, outside, largest_outside``; errors as shares of what was simulated,
        without sign.
    """
    import pandas as pd

    rows = []
    for form, part in table.groupby("form", sort=False):
        size = part["error_ratio"].abs()
        inside, outside = size[part["claimed"]], size[~part["claimed"]]
        rows.append(
            {
                "form": form,
                "claimed": len(inside),
                "median": inside.median(),
                "largest": inside.max(),
                "outside": len(outside),
                "largest_outside": outside.max() if len(outside) else float("nan"),
            }
        )
    return pd.DataFrame(rows)
