"""Which parameters may be said to matter most: those that stand out of their intervals.

Rows are those of a sensitivity analysis: ``metric, method, parameter, index, setting, estimate, low,
high``. An index is ranked only as far as its 95 % intervals part; one whose interval holds zero is not
said to do anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.metrics.intervals import FEWEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    Row = dict[str, Any]

IMPORTANCE = {"morris": "mu_star", "sobol": "total"}
"""The index by which parameters are ranked."""


def importance(rows: Sequence[Row]) -> list[Row]:
    """Give each parameter one number with its interval, the largest first: the index it is ranked by.

    Of `tornado` that is the size of the larger of its two bars.
    """
    by = IMPORTANCE.get(rows[0]["method"])
    found: dict[str, Row] = {}
    for row in rows:
        if by in {None, row["index"]}:
            size = _size(row) if by is None else row
            known = found.get(row["parameter"])
            if known is None or size["estimate"] > known["estimate"]:
                found[row["parameter"]] = size
    return sorted(found.values(), key=lambda row: -row["estimate"])


def _size(row: Row) -> Row:
    """Take a difference without its sign."""
    if row["low"] is None:
        return row | {"estimate": abs(row["estimate"])}
    ends = sorted((abs(row["low"]), abs(row["high"])))
    low = 0.0 if row["low"] <= 0.0 <= row["high"] else ends[0]
    return row | {"estimate": abs(row["estimate"]), "low": low, "high": ends[1]}


def leaders(rows: Sequence[Row]) -> list[Row]:
    """Give the parameters that matter most: one, or several that cannot be told apart, or none.

    Parameters
    ----------
    rows
        With intervals, see `importance`.
    """
    ranked = [row for row in importance(rows) if row["low"] > 0.0]
    return [row for row in ranked if row["high"] >= ranked[0]["low"]]


def verdict(rows: Sequence[Row]) -> str:
    """Say in words which parameter matters most; those whose intervals overlap are not ranked."""
    ranked, metric = importance(rows), rows[0]["metric"]
    if any(row["low"] is None for row in ranked):
        return f"Parameters are not ranked for {metric}: an interval needs {FEWEST} replications."
    if not (found := leaders(rows)):
        return f"No parameter can be shown to matter for {metric}."
    first, names = found[0], [row["parameter"] for row in found]
    number = f"{first['estimate']:.3g} [{first['low']:.3g}, {first['high']:.3g}]"
    said = f"{names[0]} matters most for {metric}: {number}."
    if len(names) > 1:
        said = f"{_and(names)} matter most for {metric}, and cannot be told apart: their intervals overlap."
    inert = [row["parameter"] for row in ranked if row["low"] <= 0.0]
    return said + (f" No effect can be shown of {_and(inert)}." if inert else "")


def _and(names: Sequence[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
