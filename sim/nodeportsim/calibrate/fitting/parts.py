"""Prices of everything but the rules: the path without them, requests, a further node, overlay, cold caches.

Each is a difference of two measured paths, or a time that does not depend on the size of the rule set. A
difference is taken in every mode that was measured, and averaged: a second node, an overlay and masquerading
are the kernel's and not the mode's (the differences by mode agree within their errors).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.calibrate.fitting.holdout import every_second
from nodeportsim.calibrate.fitting.measurements import cells
from nodeportsim.calibrate.fitting.solve import LARGEST_ERROR_RATIO, Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from nodeportsim.calibrate.fitting.connect import Counts
    from nodeportsim.calibrate.fitting.solve import Solution

QUIET_RATIO = 1.15
"""Cells within this of the quietest ran at the machine's quiet speed; the next speed is half above it."""

PATHS: dict[str, tuple[tuple[str, str], ...]] = {
    "masquerade": (("nodeport_cluster_local_pod", "nodeport_local_local_pod"),),
    "forward": (
        ("nodeport_cluster_remote_pod_routed", "nodeport_cluster_local_pod"),
        ("nodeport_local_remote_pod_routed_nomasq", "nodeport_local_local_pod"),
    ),
    "overlay": (("nodeport_cluster_remote_pod_vxlan", "nodeport_cluster_remote_pod_routed"),),
}
"""What lies between two paths, each (longer, shorter)."""

OF_PATH = {"connect": "connect", "request": "request_cycle"}


def estimate(name: str, values: np.ndarray, note: str = "") -> Estimate:
    """Average repeated findings of one number; their scatter is its error."""
    value = float(np.mean(values))
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else abs(value) / 2
    known = len(values) > 1 and error <= LARGEST_ERROR_RATIO * abs(value)
    why = note or ("" if known else "one finding only" if len(values) == 1 else "not resolved")
    return Estimate(name=name, value=value, error=error, identified=known, rows=len(values), note=why)


def bare_path(rows: pd.DataFrame, name: str, time: str) -> Estimate | None:
    """Give the path with neither rules nor conntrack; its error is half way to its typical repetition."""
    bare = rows[rows["mode"] == "none"]
    if bare.empty:
        return None
    quiet, median = bare[f"{time}_p25_ns"].min(), bare[f"{time}_p25_ns"].median()
    slowest = bare[f"{time}_p25_ns"].max()
    note = f"quietest of {len(bare)} repetitions, which lay in {quiet:.0f} to {slowest:.0f} ns"
    error = float(max((median - quiet) / 2, 0.01 * quiet))
    return Estimate(name=name, value=float(quiet), error=error, identified=True, rows=len(bare), note=note)


def between_paths(rows: pd.DataFrame) -> list[Estimate]:
    """Average what a second node, masquerading and an overlay add, to connects and to requests."""
    found = []
    for what, time in OF_PATH.items():
        quiet = _quiet_paths(rows, time)
        for name, pairs in PATHS.items():
            differences = np.array(list(_differences(quiet, pairs)))
            if len(differences) and not (name == "masquerade" and what == "request"):
                found.append(estimate(f"{name}_{what}_ns", differences))
    return found


def _quiet_paths(rows: pd.DataFrame, time: str) -> pd.DataFrame:
    return cells(rows, ["mode", "path"], time).pivot_table(index="mode", columns="path", values="quiet_ns")


def _differences(quiet: pd.DataFrame, pairs: tuple[tuple[str, str], ...]) -> Iterator[float]:
    for longer, shorter in pairs:
        if longer in quiet and shorter in quiet:
            yield from (quiet[longer] - quiet[shorter]).dropna()


def other_modes_paths(rows: pd.DataFrame) -> pd.DataFrame:
    """Predict every mode's paths from its own local one and what the other modes say of the rest.

    Returns
    -------
    DataFrame
        ``mode, target, measured_ns, predicted_ns``; `target` is the path and what was timed.
    """
    import pandas as pd

    found = []
    for what, time in OF_PATH.items():
        quiet = _quiet_paths(rows, time)
        for mode in quiet.index if len(quiet) > 1 else ():
            others = quiet.drop(index=mode)
            for pairs in PATHS.values():
                added = list(_differences(others, pairs))
                for longer, shorter in pairs:
                    if added and longer in quiet and shorter in quiet:
                        predicted = quiet.loc[mode, shorter] + float(np.mean(added))
                        found.append((mode, f"{what} {longer}", quiet.loc[mode, longer], predicted))
    return pd.DataFrame(found, columns=["mode", "target", "measured_ns", "predicted_ns"])


def requests(rows: pd.DataFrame, mode: str) -> tuple[list[Estimate], pd.DataFrame]:
    """Average requests on open connections over rule set sizes, on which they do not depend.

    Returns
    -------
    (list of Estimate, DataFrame)
        A price per target; and the cells, ``measured_ns, predicted_ns, held``, the held out not used.
    """
    import pandas as pd

    found, tables = [], []
    own = cells(rows[rows["mode"] == mode], ["mode", "services", "target"], "cycle")
    for target, group in own.groupby("target"):
        held = every_second(group["services"])
        quiet = group["quiet_ns"] <= group["quiet_ns"].min() * QUIET_RATIO
        found.append(estimate(f"request_{target}_ns", group.loc[quiet, "quiet_ns"].to_numpy()))
        seen = group.loc[quiet & ~held, "quiet_ns"]
        predicted = float(seen.mean()) if len(seen) else np.nan
        table = group.rename(columns={"quiet_ns": "measured_ns"})
        tables.append(table.assign(predicted_ns=predicted, held=held))
    return found, pd.concat(tables) if tables else pd.DataFrame()


def cold_base(solution: Solution, counts: Counts, measured_ns: np.ndarray) -> Estimate:
    """Say how much dearer the base is after the caches were emptied; rules are priced cold."""
    model, values = solution.model, solution.numbers
    base_ns = np.zeros(len(measured_ns))
    for target in np.unique(counts.target):
        base_ns[counts.target == target] = model.get(values, f"base_{target}_ns")
    loopback = model.get(values, "loopback_ns") or model.get(values, "address_ns")
    address_cold = np.exp(model.get(values, "ln_address_cold_ratio"))
    node_port_cold = np.exp(model.get(values, "ln_node_port_cold_ratio"))
    rules_ns = counts.address * model.get(values, "address_ns") * address_cold
    rules_ns = rules_ns + counts.loopback * loopback * address_cold
    rules_ns = rules_ns + counts.node_port * model.get(values, "node_port_ns") * node_port_cold
    ratios = (measured_ns - rules_ns)[base_ns > 0] / base_ns[base_ns > 0]
    error = float(1.2533 * np.std(ratios, ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else 0.5
    return Estimate(
        name="cold_base_ratio",
        value=float(np.median(ratios)),
        error=error,
        identified=len(ratios) > 2,  # noqa: PLR2004  (a scatter takes three)
        rows=len(ratios),
        note="the rules taken at their cold price; single cells scatter",
    )
