"""Runs and studies to draw: the synthetic replications of `tests/synthetic.py`, summed up for real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import synthetic

from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.tables import tables, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = tuple[dict[str, Any], dict[str, pd.DataFrame]]


def made(
    replications: int = 10, *, name: str = "node-failure", thresholds: tuple[Any, ...] = (), **what: Any
) -> Run:
    """Summary and tables of synthetic replications, with the provenance that `study` would add."""
    runs = synthetic.replications(replications, **what)
    summary = summarise(runs)
    summary["thresholds"] = [
        dict(zip(("name", "limit", "value", "ok"), row, strict=True)) for row in thresholds
    ]
    summary["provenance"] = {
        "scenario": name,
        "scenario_sha256": "3f" * 32,
        "profile": "kernel-6.18",
        "profile_sha256": "ab" * 32,
        "version": "0.1.0",
        "seed": 1,
        "replications": replications,
        "engine": "compiled",
        "libraries": {"numpy": "2.0.0", "simpy": "4.1.1"},
        "assumptions": ["network.clientNode is 0.25 ms"],
        "assumed_prices": ["host.pod_share_ratio = 0.5: alike work"],
    }
    return summary, tables(runs)


@pytest.fixture(scope="session")
def make() -> Callable[..., Run]:
    return made


@pytest.fixture(scope="session")
def failure() -> Run:
    """Five nodes, one of them dead from 20 s until everybody knows at 45 s."""
    return made(
        fault=(20.0, 45.0),
        connections=40,
        zones=2,
        thresholds=(("latency.p99", "<50ms", 1.01, False), ("pods.max_over_mean", "<1.3", 1.02, True)),
    )


@pytest.fixture(scope="session")
def study() -> dict[str, pd.DataFrame]:
    """Tables in the shapes that studies hand over (docs/figures.md)."""
    curve = ["series", "kind", "estimate", "low", "high"]
    cost = [
        (mode, "simulated", base + slope * n, base, base + 2 * slope * n + 1, n)
        for mode, base, slope in (("iptables", 12.0, 0.02), ("ipvs", 14.0, 0.0), ("nftables", 13.5, 0.0))
        for n in (1, 100, 30_000)
    ]
    cost.append(("iptables", "measured", 14.2, None, None, 100))
    hottest = [
        ("random", kind, 1 + 3 / n**0.5, None, None, n)
        for kind in ("simulated", "closed form")
        for n in (10, 100, 2000)
    ]
    full = [
        (policy, "simulated", min(131_072, 120 * share * n), None, None, n, 131_072)
        for policy, share in (("Cluster", 1.0), ("Local", 0.5))
        for n in (100, 1000, 2000)
    ]
    dying = [
        (f"retry {name}", kind, share * (second >= 0), None, None, second, panel)
        for panel in (0, 1)
        for name, share in (("nowhere", 36.0), ("elsewhere", 2.7))
        for kind in ("simulated", "closed form")
        for second in (-2, 0, 20, 40)
    ]
    rolled = [
        (what, "simulated", most * max(0.0, 1 - sleep_s), None, None, sleep_s)
        for what, most in (("exit", 290.0), ("drain", 280.0))
        for sleep_s in (0.0, 0.5, 1.0, 2.0)
    ]
    paired = [
        ("p50 latency", "nftables", "iptables", -0.03, -0.04, -0.02),
        ("failed requests", "nftables", "iptables", 0.002, -0.01, 0.014),
    ]
    tornado = [
        ("latency_s.p99", "tornado", name, end, setting, value, value - 1e-3, value + 1e-3)
        for name, ends in (("rate", (-0.004, 0.03)), ("serviceTime.mean", (-0.01, 0.05)))
        for end, setting, value in zip(("low", "high"), ("10/s", "50/s"), ends, strict=True)
    ]
    phases = [
        (rate, attempts, ratio, ratio, ratio, 1.0, state, "requests per second", "attempts")
        for rate, attempts, ratio, state in (
            ("100/s", 1, 1.0, "recovers"),
            ("200/s", 1, 0.95, "recovers"),
            ("100/s", 4, 0.99, "recovers"),
            ("200/s", 4, 0.02, "metastable"),
        )
    ]
    diagram = ["x", "y", "estimate", "low", "high", "before_ratio", "state", "x_label", "y_label"]
    against = [
        (policy, panel, case, "simulated", value, None, None)
        for panel, rows in enumerate(
            ({"no retry": (28.6, 3.1), "next": (1.4, 0.2)}, {"no retry": (1, 1), "next": (1.4, 1.02)})
        )
        for policy, values in rows.items()
        for case, value in zip(("power-off", "pod-crash"), values, strict=True)
    ]
    matters = ["metric", "method", "parameter", "index", "setting", "estimate", "low", "high"]
    late = [
        (name, kind, 50.0 * (second > since), None, None, second)
        for name, since in (("kept for good", 99), ("at most 20 s", 19))
        for kind in ("simulated", "closed form")
        for second in range(-5, 40)
    ]
    syncs = [
        (mode, "simulated", base * n**power, None, None, n, panel)
        for panel in (0, 1)
        for mode, base, power in (("iptables", 0.01, 0.6), ("ipvs", 0.05, 0.0), ("nftables", 0.01, 0.7))
        for n in (10, 1000, 10_000)
    ]
    sticky = [
        (name, "simulated", most / n**0.3 * (1 - 0.1 * panel), None, None, n, panel)
        for panel in (0, 1)
        for name, most in (("one entry node", 10.0), ("three nodes by DNS", 4.0))
        for n in (1, 10, 100)
    ]
    traded = [
        (policy, panel, case, "simulated", value * (1 + panel), None, None)
        for panel in range(4)
        for policy, values in {"Cluster": (1.02, 1.1), "Local": (1.5, 1.0)}.items()
        for case, value in zip(("2+1 on 2 nodes", "5 each"), values, strict=True)
    ]
    differences = ["difference_ratio", "low_ratio", "high_ratio"]
    slow = [0.02 if second < 10 else 0.005 + 0.0001 * (second % 3) for second in range(60)]
    designs = [
        (5, 12, "iptables", 6.2, False, False, None, "p99 is 0.06, must be <50ms"),
        (5, 13, "iptables", 6.3, True, True, 0.13, ""),
        (5, 14, "iptables", 6.4, True, False, None, ""),
        (6, 12, "nftables", 7.2, True, True, 0.34, ""),
    ]
    tried = ["nodes", "pods", "family", "cost", "feasible", "chosen", "headroom", "reason"]
    sized = [
        (f"{nodes} nodes", kind, (20 + 9 * panel) * (1 + 30 / pods**2), None, None, pods, panel)
        for nodes in (3, 4)
        for kind in ("simulated", "closed form")
        for panel in (0, 1)
        for pods in (6, 10, 14)
    ]
    return {
        "warm_up": warm_up(slow, synthetic.replications(3), 10.0),
        "first_packet_cost": pd.DataFrame(cost, columns=[*curve, "services"]),
        "hottest_pod": pd.DataFrame(hottest, columns=[*curve, "connections"]),
        "conntrack_wall": pd.DataFrame(full, columns=[*curve, "connections_per_s", "limit"]),
        "pre_stop": pd.DataFrame(rolled, columns=[*curve, "pre_stop_s"]),
        "failure_retry": pd.DataFrame(dying[: len(dying) // 2], columns=[*curve, "since_fault_s", "panel"]),
        "failure_keep_alive": pd.DataFrame(dying, columns=[*curve, "since_fault_s", "panel"]),
        "tornado": pd.DataFrame(tornado, columns=matters),
        "frontier": pd.DataFrame(designs, columns=tried),
        "degraded_p99": pd.DataFrame(sized, columns=[*curve, "pods", "panel"]),
        "phase_diagram": pd.DataFrame(phases, columns=diagram),
        "newborns": pd.DataFrame(late, columns=[*curve, "since_event_s"]),
        "sync_time": pd.DataFrame(syncs, columns=[*curve, "services", "panel"]),
        "affinity": pd.DataFrame(sticky, columns=[*curve, "addresses", "panel"]),
        "traffic_policy": pd.DataFrame(traded, columns=["series", "panel", "case", *curve[1:]]),
        "policies": pd.DataFrame(against, columns=["series", "panel", "case", *curve[1:]]),
        "paired": pd.DataFrame(paired, columns=["metric", "variant", "baseline", *differences]),
    }
