"""Predicted against measured: every published row that no fit has seen, our own held out cells, your node.

A row of the table is one measured number: predicted by a rule of `predictors`, or not modelled, with the
reason. Nothing here is fitted. A miss is a finding, not an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.calibrate import holdout
from nodeportsim.calibrate.card import REACH
from nodeportsim.calibrate.predictors import balance, failures, prices, throughput, unmodelled
from nodeportsim.calibrate.predictors.rule import TOLERANCES
from nodeportsim.calibrate.published import pick, read_rows
from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.rules import walk
from nodeportsim.kubeproxy.walk import ServicePort, Shape
from nodeportsim.scenario.profile import data_folder, load_profile, mode_of, profiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from nodeportsim.calibrate.predictors.rule import Rule
    from nodeportsim.scenario.profile import Profile

RULES: tuple[Rule, ...] = (
    *prices.RULES,
    *throughput.RULES,
    *failures.RULES,
    *balance.RULES,
    *unmodelled.RULES,
)
COLUMNS = (
    "source_id",
    "metric",
    "case",
    "unit",
    "measured",
    "predicted",
    "error_ratio",
    "tolerance",
    "status",
    "how",
    "reason",
)
OK, MISS, BASE, UNMODELLED = "ok", "miss", "base", "not modelled"
DIGITS = 6
"""Significant digits of what is written: beyond what anything here carries."""
OWN_REASONS = {
    ("kernel-6.1", ""): "an emulated machine: its system calls cost more than what is measured, and scatter",
    ("kernel-6.18", "paths"): "one cell, whose error is median and all; the others of its kind keep 5 %",
    ("kernel-6.18", "requests"): "the machine ran at its slow speed while these cells were measured",
    ("kernel-6.18", "endpoints"): "at 100 and 500 endpoints no repetition was quiet",
}
"""Why held out cells miss their reach, by profile and experiment."""
SLOPE_HOW = "simulated: tke.yaml, straight line through all sizes"


def rule_of(row: Mapping[Any, Any], rules: tuple[Rule, ...] = RULES) -> Rule:
    """Find the one rule of a row.

    Raises
    ------
    InputError
        None, or more than one, accounts for the row.
    """
    found = [rule for rule in rules if rule.matches(row)]
    if len(found) != 1:
        what = ", ".join(str(row[name]) for name in ("source_id", "metric", "mode", "note"))
        rule = f"must be accounted for by one rule, not by {len(found)}"
        raise InputError(rule, field=what, hint="calibrate/predictors holds the rules")
    return found[0]


def published(rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare every row with ``use: val`` with its prediction, in the order of the rows.

    Parameters
    ----------
    rows
        Published rows; those of the package by default.
    """
    import pandas as pd

    every = read_rows() if rows is None else rows
    asked = pick(every, use="val").reset_index(drop=True)
    rules = [rule_of(row) for row in asked.to_dict("records")]
    parts = []
    for rule in dict.fromkeys(rules):
        group = asked[[mine is rule for mine in rules]]
        parts.append(_compared(group, rule))
    table = pd.concat(parts).sort_index()
    return pd.concat([table, _slopes(pick(every, use="val"))], ignore_index=True)[list(COLUMNS)]


def _compared(group: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """Predict the rows of one rule and judge them."""
    table = group[["source_id", "metric", "unit"]].assign(
        case=[_case(row) for row in group.to_dict("records")], measured=group["value"]
    )
    if rule.predict is None:
        status = BASE if rule.base else UNMODELLED
        told: dict[str, Any] = {
            "predicted": np.nan,
            "error_ratio": np.nan,
            "tolerance": "",
            "status": status,
            "how": "",
        }
        return table.assign(**told, reason=rule.reason)
    predicted = np.array([_rounded(value) for value in rule.predict(group)])
    fine = rule.judge(group, predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(group["unit"] != "%", predicted / group["value"].to_numpy(float) - 1, np.nan)
    return table.assign(
        predicted=predicted,
        error_ratio=[_rounded(each) for each in off],
        tolerance=TOLERANCES[rule.tolerance].says,
        status=[OK if one else MISS for one in fine],
        how=rule.how,
        reason=["" if one else rule.reason for one in fine],
    )


def _case(row: Mapping[Any, Any]) -> str:
    """Say in a few words which case of its metric a row is."""
    sizes = [f"{row[name]} {word}" for name, word in _SIZES.items() if row[name]]
    kept = {"yes": "kept", "no": "new"}.get(row["keepalive"], "")
    note = row["note"].split(";")[0] if row["source_id"] in _TOLD_BY_NOTE else ""
    return ", ".join(str(part) for part in (row["mode"], *sizes, kept, row["percentile"], note) if part)


_SIZES = {"n_services": "Services", "n_endpoints": "endpoints"}
_TOLD_BY_NOTE = {
    "AROSSBELL",
    "CILIUM18-FWD",
    "DAOCLOUD-CNI",
    "DAOCLOUD-INGRESS",
    "NGF-DPPERF",
    "NGF-ZDSCALE",
    "CILIUM-CNI21",
    "TKE-BENCH26-v3",
}


def _slopes(rows: pd.DataFrame) -> pd.DataFrame:
    """Add what Services cost a connection in each run: the slope of its rows."""
    import pandas as pd

    found = []
    for run, (measured_s, predicted_s) in throughput.slopes(rows).items():
        measured, predicted = measured_s * 1e9, _rounded(predicted_s * 1e9)
        fine = TOLERANCES["slope"].holds(measured, predicted, "us")
        found.append(
            {
                "source_id": run,
                "metric": "slope of 1/rate",
                "case": "iptables, per 1,000 Services",
                "unit": "us",
                "measured": _rounded(measured),
                "predicted": predicted,
                "error_ratio": _rounded(predicted / measured - 1),
                "tolerance": TOLERANCES["slope"].says,
                "status": OK if fine else MISS,
                "how": SLOPE_HOW,
                "reason": "" if fine else "a round of 60 s a size",
            }
        )
    return pd.DataFrame(found, columns=list(COLUMNS))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


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
        errors = {name: _rounded(float(value)) for name, value in told.items() if name != "cells"}
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
    import pandas as pd

    from nodeportsim.calibrate.connect import CASE
    from nodeportsim.calibrate.fit import SWEEPS
    from nodeportsim.calibrate.measurements import cells, read

    told, prices_of = read(folder), load_profile(profile)
    parts = []
    for sweep, file in SWEEPS.items():
        rows = told.rows(file)
        rows = rows[rows["mode"].isin(prices_of.modes)]
        if len(rows):
            seen = cells(rows, ["mode", *CASE], "connect").rename(columns={"quiet_ns": "measured_ns"})
            parts.append(seen.assign(experiment=sweep, predicted_ns=_predicted_ns(seen, prices_of)))
    if not parts:
        hint = f"it has {', '.join(prices_of.modes)}"
        raise InputError(
            "holds no connects that this profile prices", field="DIR", got=str(folder), hint=hint
        )
    table = pd.concat(parts, ignore_index=True)
    return table, _errors(table.assign(profile=profile))


def _predicted_ns(seen: pd.DataFrame, profile: Profile) -> list[float]:
    """Price each cell: one Service is tested, the others have one endpoint, as the lab writes them."""
    found = []
    for row in seen.to_dict("records"):
        tested = ServicePort(endpoints=int(row["endpoints_per_service"]))
        others = int(row["services"]) - 1
        version = (1, 36) if row["rules_per_node_port"] > 1 else (1, 30)
        shape = Shape(((others, ServicePort(endpoints=1)), (1, tested)), version=version)
        packet, place = row["target"], int(row["service_position"]) + 1
        at = None if packet == "podip" else place
        passed = walk(mode_of(row["mode"]), shape, tested, packet, position=at)
        found.append(_rounded(profile.path_s(row["mode"], packet, passed) * 1e9))
    return found


def by_source(table: pd.DataFrame) -> pd.DataFrame:
    """Count a table's rows by source: predicted, near enough, not modelled; and the median error."""
    import pandas as pd

    rows = []
    for name, group in table.groupby("source_id", sort=False):
        predicted = group[group["status"].isin([OK, MISS])]
        error = float(predicted["error_ratio"].abs().median()) if len(predicted) else np.nan
        rows.append(
            {
                "source_id": name,
                "rows": len(group),
                "predicted": len(predicted),
                "ok": int((group["status"] == OK).sum()),
                "missed": int((group["status"] == MISS).sum()),
                "no_test": int((group["status"] == BASE).sum()),
                "not_modelled": int((group["status"] == UNMODELLED).sum()),
                "median_error": error,
            }
        )
    return pd.DataFrame(rows)
