"""Prices against measured cells: our own held out ones, and those of a folder that `measure` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.fitting import holdout
from nodeportsim.calibrate.fitting.card import REACH
from nodeportsim.calibrate.validating.predictors.rule import MISS, OK, rounded
from nodeportsim.errors import InputError
from nodeportsim.scenario.profile import data_folder, load_profile, profiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd

    from nodeportsim.scenario.profile import Profile

OWN_REASONS = {
    ("kernel-6.1", ""): "an emulated machine: its system calls cost more than what is measured, and scatter",
    ("kernel-6.18", "paths"): "one cell, whose error is median and all; the others of its kind keep 5 %",
    ("kernel-6.18", "requests"): "the machine ran at its slow speed while these cells were measured",
    ("kernel-6.18", "endpoints"): "at 100 and 500 endpoints no repetition was quiet",
}
"""Why held out cells miss their reach, by profile and experiment."""


def own() -> pd.DataFrame:
    """Sum up the errors of our own held out cells, a row a profile, mode, experiment and target."""
    import pandas as pd

    tables = []
    for name in profiles():
        file = data_folder("models") / name / "cells.csv"
        if file.is_file():
            cells = pd.read_csv(file)
            tables.append(_errors(cells[cells["held"]].assign(profile=name)))
    return pd.concat(tables, ignore_index=True)


def _errors(cells: pd.DataFrame) -> pd.DataFrame:
    """Sum up relative errors, and judge them by the reach."""
    import pandas as pd

    rows = []
    by = ["profile", "mode", "experiment", "target"]
    for keys, group in cells.groupby(by):
        off = (group["predicted_ns"] / group["measured_ns"] - 1).to_numpy(float)
        told = holdout.summary(off)
        fine = told["median_error"] <= REACH[0] and told["p90_error"] <= REACH[1]
        named = dict(zip(by, keys, strict=True))
        whys = [named["profile"], ""], [named["profile"], named["experiment"]]
        reason = next((OWN_REASONS[key] for key in map(tuple, whys) if key in OWN_REASONS), "")
        errors = {name: rounded(float(value)) for name, value in told.items() if name != "cells"}
        rows.append(
            named
            | {"cells": told["cells"]}
            | errors
            | {"status": OK if fine else MISS, "reason": "" if fine else reason}
        )
    return pd.DataFrame(rows)


def measured(folder: Path, profile: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare a folder of measurements, as `nodeportsim measure` writes it, with a profile.

    Returns
    -------
    (DataFrame, DataFrame)
        Every cell, measured and predicted; their errors summed up.

    Raises
    ------
    InputError
        The folder holds no connects of a mode that the profile has prices for.
    """
    from nodeportsim.calibrate.fitting.connect import CASE
    from nodeportsim.calibrate.fitting.fit import warm_connects
    from nodeportsim.calibrate.fitting.measurements import cells, read

    prices_of, rows = load_profile(profile), warm_connects(read(folder))
    rows = rows[rows["mode"].isin(prices_of.modes)]
    if rows.empty:
        hint = f"it has {', '.join(prices_of.modes)}"
        raise InputError(
            "holds no connects that this profile prices", field="DIR", got=str(folder), hint=hint
        )
    seen = cells(rows, ["experiment", *CASE], "connect").rename(columns={"quiet_ns": "measured_ns"})
    table = seen.assign(predicted_ns=_predicted_ns(seen, prices_of))
    return table, _errors(table.assign(profile=profile))


def _predicted_ns(seen: pd.DataFrame, profile: Profile) -> list[float]:
    """Price each cell by the walk it was measured on."""
    from nodeportsim.calibrate.fitting.connect import walk_of

    cases: Iterable[Any] = seen.itertuples()
    return [rounded(profile.path_s(case.mode, case.target, walk_of(case, case.mode)) * 1e9) for case in cases]
