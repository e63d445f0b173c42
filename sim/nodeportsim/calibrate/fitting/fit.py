"""From a folder of measurements to a profile: every price, with its error and the rows it rests on.

What is fitted together is what one sweep tells together: the connects of a mode, over Services, positions,
endpoints and affinity (`connect`). The rest are averages and differences (`parts`, `programming`). What the
measurements do not tell is taken over from another profile and marked so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from nodeportsim.calibrate.fitting import connect, holdout, parts, programming
from nodeportsim.calibrate.fitting.measurements import cells
from nodeportsim.calibrate.fitting.solve import Estimate, Solution, estimates, solve
from nodeportsim.errors import InputError
from nodeportsim.scenario.prices import ModeKey

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.calibrate.fitting.measurements import Measurements

SWEEPS = {
    "services": "connect_latency_vs_services.csv",
    "endpoints": "connect_latency_vs_endpoints.csv",
    "affinity": "connect_latency_affinity.csv",
}
COLD, REQUESTS, PATHS = (
    "connect_latency_cold_cache.csv",
    "keepalive_request_latency.csv",
    "node_path_latency.csv",
)
SYNCS, LOADING = "kubeproxy_sync_time.csv", "rule_programming_time.csv"


DOUBTFUL, ABSURD = 0.15, 0.5
"""Half of a mode's cells missed by more: a warning, a refusal."""


@dataclass(kw_only=True)
class Fit:
    """What one folder of measurements says.

    Parameters
    ----------
    label
        The environment that was fitted.
    host, modes
        Estimates, those of a mode by its name; and the files each rests on.
    cells
        Every measured cell: ``mode, experiment, target`` and its case, ``measured_ns``, ``predicted_ns`` (by
        the fit that did not see the held out cells), ``held``.
    tied
        Pairs of numbers per mode that the data cannot tell apart.
    warnings
        What the data say against the fit.
    syncs_up_to
        Service ports and endpoints of the largest rule set whose loading was timed.
    """

    label: str
    host: list[tuple[Estimate, str]] = field(default_factory=list)
    modes: dict[ModeKey, list[tuple[Estimate, str]]] = field(default_factory=dict)
    cells: list[pd.DataFrame] = field(default_factory=list)
    tied: dict[ModeKey, list[tuple[str, str, float]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    syncs_up_to: tuple[int, int] | None = None

    def table(self) -> pd.DataFrame:
        """All cells."""
        import pandas as pd

        return pd.concat(self.cells, ignore_index=True)

    def held_out(self) -> pd.DataFrame:
        """Errors on held out cells, a row a mode, experiment and target."""
        import pandas as pd

        table = self.table()
        table = table[table["held"]]
        table = table.assign(error=table["predicted_ns"] / table["measured_ns"] - 1)
        rows = [
            {"mode": mode, "experiment": experiment, "target": target}
            | holdout.summary(group["error"].to_numpy())
            for (mode, experiment, target), group in table.groupby(["mode", "experiment", "target"])
        ]
        return pd.DataFrame(rows)


def fit(measured: Measurements, *, label: str | None = None) -> Fit:
    """Fit all that a folder tells.

    Parameters
    ----------
    measured
        The tables.
    label
        Which environment of several in them; by default the one with most rows.

    Raises
    ------
    InputError
        No such environment; too little to fit a price; or data that contradict themselves.
    """
    if label is not None and label not in measured.labels:
        raise InputError(
            "must be an environment in the data", field="label", got=label, hint=", ".join(measured.labels)
        )
    found = Fit(label=label or measured.labels[0])
    connects = warm_connects(measured, found.label)
    for mode in get_args(ModeKey):
        if (connects["mode"] == mode).any():
            _fit_mode(found, measured, connects[connects["mode"] == mode], mode)
    if not found.modes:
        hint = f"{SWEEPS['services']} must hold rows of iptables-legacy, iptables-nft, nftables or ipvs"
        raise InputError("holds no connects through any rules", field="DIR", got=found.label, hint=hint)
    _fit_host(found, measured)
    found.syncs_up_to = _largest_sync(measured, found.label)
    return found


def _largest_sync(measured: Measurements, label: str) -> tuple[int, int] | None:
    """Find the largest rule set whose loading was timed, with default/kubernetes."""
    own, loading = (measured.rows(name, label) for name in (SYNCS, LOADING))
    rows = own if len(own) else loading
    if rows.empty:
        return None
    endpoints = rows["services"] * rows["endpoints_per_service"]
    return int(rows["services"].max()) + 1, int(endpoints.max()) + 1


def warm_connects(measured: Measurements, label: str | None = None) -> pd.DataFrame:
    """Take all connects over warm caches, with the sweep they belong to."""
    import pandas as pd

    tables = [
        measured.rows(name, label).assign(experiment=sweep, file=name) for sweep, name in SWEEPS.items()
    ]
    rows = pd.concat([table for table in tables if len(table)] or tables[:1])
    return rows[rows["sticky"].fillna(0) == 0] if "sticky" in rows else rows


def _fit_mode(found: Fit, measured: Measurements, rows: pd.DataFrame, mode: ModeKey) -> None:
    if mode == "ipvs":  # One look-up, whatever the size: all repetitions of a target are one case.
        rows = rows.assign(experiment="services", services=1, service_position=0, endpoints_per_service=1)
    seen = cells(rows, ["experiment", *connect.CASE], "connect")
    counts, quiet_ns = connect.count(seen, mode), seen["quiet_ns"].to_numpy(float)
    held = _held(seen)
    l2_bytes = float(rows["l2_bytes"].max())
    model = connect.model(counts, quiet_ns, l2_bytes)
    if held.any() and (~held).sum() > len(model.names):
        blind = solve(model, counts.at(~held), quiet_ns[~held])
    else:
        held, blind = np.zeros(len(seen), dtype=bool), None
    whole = solve(model, counts, quiet_ns)
    _doubt(found, mode, np.abs(whole.predict_ns(counts) / quiet_ns - 1))
    table = seen.rename(columns={"quiet_ns": "measured_ns"})
    found.cells.append(table.assign(predicted_ns=(blind or whole).predict_ns(counts), held=held))
    found.tied[mode] = whole.tied()
    swept = set(rows["file"])
    files = " ".join(f"data/{name}" for name in SWEEPS.values() if name in swept)
    prices = [(estimate, files) for estimate in estimates(whole)]
    prices += _cold(measured, found.label, mode, whole)
    asked, table = parts.requests(measured.rows(REQUESTS, found.label), mode)
    prices += [(estimate, f"data/{REQUESTS}") for estimate in asked]
    if len(table):
        found.cells.append(table.assign(experiment="requests"))
    own, loading = measured.rows(SYNCS, found.label), measured.rows(LOADING, found.label)
    source = SYNCS if (own["mode"] == mode).any() else LOADING
    prices += [(estimate, f"data/{source}") for estimate in programming.sync_prices(own, loading, mode)]
    found.modes[mode] = prices


def _doubt(found: Fit, mode: ModeKey, errors: np.ndarray) -> None:
    """Say how badly the cells of a mode fit, where they do.

    Raises
    ------
    InputError
        They contradict one another, or are no times of these rules.
    """
    median = float(np.median(errors))
    if median > ABSURD:
        hint = "the rows contradict one another, or are not what their columns say: look at the typical times"
        rule = f"fits no prices: half of its {len(errors)} cells are missed by more than {median:.0%}"
        raise InputError(rule, field=f"mode {mode}", got=found.label, hint=hint)
    if median > DOUBTFUL:
        found.warnings.append(f"{mode}: half of the cells are missed by more than {median:.0%}")


def _held(seen: pd.DataFrame) -> np.ndarray:
    held = np.zeros(len(seen), dtype=bool)
    for sweep in SWEEPS:
        mine = (seen["experiment"] == sweep).to_numpy()
        if mine.any():
            part = seen[mine]
            by_size = sweep == "services"
            held[mine] = (
                holdout.services_sweep(part)
                if by_size
                else holdout.every_second(part["endpoints_per_service"])
            )
    return held


def _cold(measured: Measurements, label: str, mode: ModeKey, whole: Solution) -> list[tuple[Estimate, str]]:
    rows = measured.rows(COLD, label)
    rows = rows[(rows["mode"] == mode) & (rows["thrash_mib_before_connect"] > 0)]
    if rows.empty:
        return []
    seen = cells(rows, connect.CASE, "connect")
    counts = connect.count(seen, mode)
    return [(parts.cold_base(whole, counts, seen["quiet_ns"].to_numpy(float)), f"data/{COLD}")]


def _fit_host(found: Fit, measured: Measurements) -> None:
    for name, file, time in (
        ("connect_ns", SWEEPS["services"], "connect"),
        ("request_ns", REQUESTS, "cycle"),
    ):
        bare = parts.bare_path(measured.rows(file, found.label), name, time)
        if bare is not None:
            found.host.append((bare, f"data/{file}"))
    paths = measured.rows(PATHS, found.label)
    if len(paths):
        found.host += [(estimate, f"data/{PATHS}") for estimate in parts.between_paths(paths)]
        predicted = parts.other_modes_paths(paths)
        if len(predicted):
            found.cells.append(predicted.assign(experiment="paths", held=True))


def environment(measured: Measurements, label: str) -> dict[str, str]:
    """Describe the machine, from the columns every row carries."""
    first: dict[str, Any] = {}
    for table in measured.tables.values():
        mine = table[table["env_label"] == label]
        for column in ("kernel", "cpu", "vcpus", "spectre_v2_mitigation", "l2_bytes", "timer"):
            if column in mine and len(mine) and column not in first and mine[column].iloc[0]:
                first[column] = str(mine[column].iloc[0])
    return first
