"""Which rows a prediction is for, how far it may be off, and what is known of its misses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.calibrate.shipped.published import collection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from nodeportsim.study.run import Outcome

    Predict = Callable[[pd.DataFrame], Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a prediction may be off: by either of the two.

    Parameters
    ----------
    says
        In words.
    ratio
        Relative error.
    absolute
        Difference, by unit of the row.
    order
        Only the order of the rows must be right.
    """

    says: str
    ratio: float = 0.0
    absolute: tuple[tuple[str, float], ...] = ()
    order: bool = False

    def holds(self, measured: float, predicted: float, unit: str) -> bool:
        """Whether a prediction is near enough."""
        off = abs(predicted - measured)
        return bool(off <= self.ratio * abs(measured) + 1e-12 or off <= dict(self.absolute).get(unit, -1.0))


TOLERANCES = {
    "exact": Tolerance(says="0.1 %", ratio=0.001),
    "replay": Tolerance(says="0.02 s", absolute=(("s", 0.02),)),
    "slope": Tolerance(says="10 %", ratio=0.10),
    "ratio": Tolerance(says="10 %", ratio=0.10),
    "percentile": Tolerance(says="25 % or 8 µs", ratio=0.25, absolute=(("us", 8.0),)),
    "time": Tolerance(says="25 %", ratio=0.25),
    "outage": Tolerance(says="5 s", absolute=(("s", 5.0),)),
    "share": Tolerance(says="5 points", absolute=(("ratio", 0.05), ("%", 5.0))),
    "shape": Tolerance(says="order only", order=True),
}
"""The acceptance of the project's calibration: slopes within 10 %, percentiles within 25 % or 8 us, outages
within 5 s, shares within 5 points. Ratios and counts, rates at a stated base,
and shapes of the years before 2021 as proposed with the collection of the rows. `exact` is what counts
and Little's law must give, `replay` what the source's own repetition reached."""
OK, MISS, BASE, UNMODELLED = "ok", "miss", "base", "not modelled"
DIGITS = 6
"""Significant digits of what is written: beyond what anything here carries."""
UNTOLD = 0.02
"""Rows of a shape that differ by less are told apart by no chart."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A prediction for some rows.

    Parameters
    ----------
    source, metric, mode, note, services
        Regular expressions that the whole of ``source_id``, ``metric`` and ``n_services``, a
        beginning of ``mode`` and any part of ``note`` must match.
    how
        How it is predicted; where `predict` is None, empty.
    reason
        Why it misses, where it does; why it is not modelled, where `predict` is None.
    predict
        From the rows, in their order, to values in their units.
    tolerance
        A name of `TOLERANCES`.
    base
        The rows are where a curve starts, or the same measurement as one that was fitted: no test.
    within
        Rows that are ends of a published range (``min``, ``max``) must not be passed by more than that.
    """

    source: str
    metric: str = ".*"
    mode: str = ""
    note: str = ""
    services: str = ".*"
    how: str = ""
    reason: str = ""
    predict: Predict | None = None
    tolerance: str = "ratio"
    within: bool = False
    base: bool = False

    def matches(self, row: Mapping[Any, Any]) -> bool:
        """Whether a row is this prediction's."""
        return bool(
            re.fullmatch(self.source, row["source_id"])
            and re.fullmatch(self.metric, row["metric"])
            and re.fullmatch(self.services, row["n_services"])
            and re.match(self.mode, row["mode"])
            and re.search(self.note, row["note"])
        )

    def judge(self, rows: pd.DataFrame, predicted: np.ndarray) -> list[bool]:
        """Say of each row whether its prediction is near enough."""
        allowed, measured = TOLERANCES[self.tolerance], rows["value"].to_numpy(float)
        if allowed.order:
            return [bool(kept) for kept in in_order(measured, predicted)]
        verdicts = []
        for m, p, unit, end in zip(measured, predicted, rows["unit"], rows["percentile"], strict=True):
            inside = self.within and ((end == "min" and p >= m) or (end == "max" and p <= m))
            verdicts.append(inside or allowed.holds(m, p, unit))
        return verdicts


def in_order(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Of each value, whether none of the others stands on the wrong side of it."""
    ratio = np.log(measured[:, None] / measured[None, :])
    ours = np.log(predicted[:, None] / predicted[None, :])
    wrong = (np.abs(ratio) > UNTOLD) & (np.abs(ours) > UNTOLD) & (np.sign(ratio) != np.sign(ours))
    kept: np.ndarray = ~wrong.any(axis=1)
    return kept


def rounded(value: float) -> float:
    """Round to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


@lru_cache(maxsize=64)
def simulated(name: str, *sets: str) -> Outcome:
    """Run a scenario of ``experiments/validation``; the seeds stand in it."""
    from nodeportsim.scenario.read import read
    from nodeportsim.study.run import run

    return run(read(str(collection().with_name(f"{name}.yaml")), sets=sets))
