"""How long a sync of kube-proxy takes, fitted to measured ones.

A sync writes text for every Service and endpoint and has the kernel load it: a constant, a price per service
port and one per endpoint; nf_tables, which has the modes nftables and iptables-nft, loads a full set in time
that grows with the square of the rules.
``kubeproxy_sync_time.csv`` holds kube-proxy's own times; ``rule_programming_time.csv`` those of the loading
alone, as `nodeportsim measure` takes them: kube-proxy's own work, about 5 us a rule, is not in these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.calibrate.fitting.solve import LARGEST_ERROR_RATIO, Estimate
from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, ServicePort, Shape
from nodeportsim.scenario.profile import mode_of, sync_rules

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.scenario.prices import ModeKey

KINDS = ("partial", "full", "restart")
OPERATIONS = {"partial": "partial_one_service_kubeproxy", "full": "full_restore", "restart": "full_restore"}
SQUARED = ("iptables-nft", "nftables")
"""Modes that load a full set in time that grows with the square of its rules, as one transaction of
nf_tables does. In mode nftables a linear law misses kube-proxy's own times by up to 24 %, this one by up to
13 %; its square, fitted to at most 2,000 Services, makes 4.9 s of 5,000, whose loading took 4.5 s on another
machine."""
KUBE_PROXY_ITSELF = "loading the rules alone: kube-proxy's own work is not in it"


def sync_prices(own: pd.DataFrame, loading: pd.DataFrame, mode: ModeKey) -> list[Estimate]:
    """Fit all three kinds of sync, from kube-proxy's own times where there are any."""
    found: list[Estimate] = []
    for kind in KINDS:
        rows, note = own[(own["mode"] == mode) & (own["sync"] == kind)], ""
        if rows.empty:
            rows = loading[(loading["mode"] == mode) & (loading["op"] == OPERATIONS[kind])]
            note = KUBE_PROXY_ITSELF
        if not rows.empty:
            found += _fit(rows, mode, kind, note)
    return found


def _fit(rows: pd.DataFrame, mode: ModeKey, kind: str, note: str) -> list[Estimate]:
    by_size = rows.groupby(["services", "endpoints_per_service"], as_index=False)[["seconds"]]
    sizes = by_size.median() if kind == "partial" else by_size.mean()
    measured_s = sizes["seconds"].to_numpy(float)
    columns = _columns(sizes, mode, kind)
    if len(sizes) < len(columns) or _alike(columns):
        columns.pop("per_endpoint_s", None)
        note = f"{note}; services and endpoints grew together: not told apart".lstrip("; ")
    if len(sizes) < len(columns):
        columns = {"constant_s": np.ones(len(sizes))}
        note = "one size only: its growth is not known"
    return _solve(columns, measured_s, kind, note)


def _columns(sizes: pd.DataFrame, mode: ModeKey, kind: str) -> dict[str, np.ndarray]:
    services = sizes["services"].to_numpy(float)
    endpoints = services * sizes["endpoints_per_service"].to_numpy(float) + 1
    columns = {"constant_s": np.ones(len(sizes))}
    if mode in SQUARED and kind != "partial":
        per_endpoint = {"per_endpoint_s": endpoints} if mode == "nftables" else {}
        rules = [
            sync_rules(
                mode_of(mode), Shape(((int(s), ServicePort(endpoints=int(e))), (1, KUBERNETES_SERVICE)))
            )
            for s, e in zip(services, sizes["endpoints_per_service"], strict=True)
        ]
        return columns | per_endpoint | {"per_rule_squared_s": np.array(rules, dtype=float) ** 2}
    return columns | {"per_service_port_s": services + 1, "per_endpoint_s": endpoints}


def _alike(columns: dict[str, np.ndarray]) -> bool:
    matrix = np.column_stack([column / column.max() for column in columns.values()])
    return bool(np.linalg.matrix_rank(matrix, tol=1e-2) < len(columns))


def _solve(columns: dict[str, np.ndarray], measured_s: np.ndarray, kind: str, note: str) -> list[Estimate]:
    """Least squares on relative errors; no part of a time is negative."""
    from scipy.optimize import nnls

    matrix = np.column_stack(list(columns.values())) / measured_s[:, None]
    scale = np.abs(matrix).max(axis=0)
    values, left = nnls(matrix / scale, np.ones(len(measured_s)))
    freedom = max(1, len(measured_s) - len(columns))
    covariance = np.linalg.pinv((matrix / scale).T @ (matrix / scale)) * left**2 / freedom
    worst = float(np.abs(matrix @ (values / scale) - 1).max())
    told = f"{note}; within {worst:.0%} of every size".lstrip("; ")
    return [
        Estimate(
            name=f"sync_{kind}.{name}",
            value=float(value / unit),
            error=float(np.sqrt(covariance[n, n]) / unit),
            identified=bool(np.sqrt(covariance[n, n]) <= LARGEST_ERROR_RATIO * value),
            rows=len(measured_s),
            note=told,
        )
        for n, (name, value, unit) in enumerate(zip(columns, values, scale, strict=True))
    ]
