"""Predicted against measured: every published row that no fit has seen.

A row of the table is one measured number: predicted by a rule of `predictors`, or not modelled, with the
reason. Nothing here is fitted. A miss is a finding, not an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.calibrate.shipped.published import pick, read_rows
from nodeportsim.calibrate.validating.predictors import balance, failures, prices, throughput, unmodelled
from nodeportsim.calibrate.validating.predictors.rule import BASE, MISS, OK, TOLERANCES, UNMODELLED, rounded
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from nodeportsim.calibrate.validating.predictors.rule import Rule

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
        raise InputError(rule, field=what, hint="calibrate/validating/predictors holds the rules")
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
    predicted = np.array([rounded(value) for value in rule.predict(group)])
    fine = rule.judge(group, predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(group["unit"] != "%", predicted / group["value"].to_numpy(float) - 1, np.nan)
    return table.assign(
        predicted=predicted,
        error_ratio=[rounded(each) for each in off],
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
        measured, predicted = measured_s * 1e9, rounded(predicted_s * 1e9)
        fine = TOLERANCES["slope"].holds(measured, predicted, "us")
        found.append(
            {
                "source_id": run,
                "metric": "slope of 1/rate",
                "case": "iptables, per 1,000 Services",
                "unit": "us",
                "measured": rounded(measured),
                "predicted": predicted,
                "error_ratio": rounded(predicted / measured - 1),
                "tolerance": TOLERANCES["slope"].says,
                "status": OK if fine else MISS,
                "how": SLOPE_HOW,
                "reason": "" if fine else "a round of 60 s a size",
            }
        )
    return pd.DataFrame(found, columns=list(COLUMNS))


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
