"""Least squares for a `nodeportsim.calibrate.fitting.connect.Model`, and what its answer is worth.

Errors come from the curvature at the optimum, times the scatter that is left. A price counts as *identified*
if its standard error is below half its value and the data, not the prior, decide it; two numbers whose errors
are tied by a correlation beyond 0.95 are reported as ones that the data cannot tell apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nodeportsim.calibrate.fitting.connect import Counts, Model

TIED = 0.95
NOTHING = 1e-6
LARGEST_ERROR_RATIO = 0.5
LARGEST_PRIOR_SHARE = 0.5
Z95 = 1.959964  # 97.5 % quantile of the normal distribution.


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One number a fit gives.

    Parameters
    ----------
    name, value, error
        Value and standard error in the unit of the name.
    identified
        Whether the data decide it.
    rows
        How many cells it rests on.
    note
        What to know of it.
    """

    name: str
    value: float
    error: float
    identified: bool
    rows: int
    note: str = ""

    @property
    def low95(self) -> float:
        """Lower end of the 95 % interval; no price is negative."""
        return max(0.0, self.value - Z95 * self.error)

    @property
    def high95(self) -> float:
        """Upper end of the 95 % interval."""
        return self.value + Z95 * self.error


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Where the fit of a model ended."""

    model: Model
    numbers: np.ndarray
    covariance: np.ndarray
    cells: int

    def predict_ns(self, counts: Counts) -> np.ndarray:
        """Price cells with the fitted numbers."""
        return self.model.predict_ns(self.numbers, counts)

    def error(self, name: str) -> float:
        """Standard error of a fitted number."""
        return float(np.sqrt(self.covariance[self.model.place[name], self.model.place[name]]))

    def prior_share(self, name: str) -> float:
        """How much of what is known of a number was known before: 0 nothing, 1 all."""
        for n, _, sd in self.model.priors:
            if self.model.names[n] == name:
                return min(1.0, (self.error(name) / sd) ** 2)
        return 0.0

    def tied(self) -> list[tuple[str, str, float]]:
        """Pairs that the data cannot tell apart, with the correlation of their errors."""
        errors = np.sqrt(np.maximum(np.diag(self.covariance), 1e-300))
        found = self.covariance / np.outer(errors, errors)
        pairs = combinations(range(len(self.model.names)), 2)
        names = self.model.names
        return [(names[a], names[b], float(found[a, b])) for a, b in pairs if abs(found[a, b]) > TIED]


def solve(model: Model, counts: Counts, measured_ns: np.ndarray) -> Solution:
    """Fit; several starts, since a knee has local optima."""
    from scipy.optimize import least_squares

    found = [
        least_squares(
            model.residuals,
            start,
            bounds=(model.low, model.high),
            x_scale=np.maximum(np.abs(model.start), 0.1),
            args=(counts, measured_ns),
        )
        for start in _starts(model)
    ]
    best = min(found, key=lambda one: one.cost)
    freedom = max(1, len(measured_ns) + len(model.priors) - len(model.names))
    scatter = max(1.0, 2 * best.cost / freedom)
    covariance = np.linalg.pinv(best.jac.T @ best.jac) * scatter
    return Solution(model=model, numbers=best.x, covariance=covariance, cells=len(measured_ns))


def _starts(model: Model) -> list[np.ndarray]:
    """Vary what the knee depends on; everything else starts where the model says."""
    varied = {"ln_cache_capacity_bytes": (-0.5, 0.0, 0.5), "ln_cache_transition_width": (-0.7, 1.0)}
    steps = {name: moves for name, moves in varied.items() if name in model.place}
    starts = []
    for moves in product(*steps.values()):
        start = np.array(model.start, dtype=float)
        for name, move in zip(steps, moves, strict=True):
            start[model.place[name]] += move
        starts.append(np.clip(start, np.array(model.low) + 1e-9, np.array(model.high) - 1e-9))
    return starts


def estimates(solution: Solution) -> list[Estimate]:
    """Give the fitted numbers under the names of a profile's prices."""
    found = [_plain(solution, name) for name in solution.model.names if not name.startswith("ln_")]
    if "address_ns" in solution.model.place:
        found = [e for e in found if e.name not in {"address_ns", "node_port_ns", "loopback_ns"}]
        for short, name in (
            ("address", "address_mismatch"),
            ("loopback", "loopback_mismatch"),
            ("node_port", "node_port_match"),
        ):
            found += _hot_and_cold(solution, short, name)
        found += [
            _exponential(solution, "cache_capacity_bytes"),
            _exponential(solution, "cache_transition_width"),
            _exponential(solution, "node_port_bytes", "node_port_match_bytes"),
        ]
    return found


RENAMED = {"element_ns": "map_element_ns"} | {
    f"base_{target}_ns": f"connect_{target}_ns" for target in ("clusterip", "nodeport", "podip")
}


def _plain(solution: Solution, name: str) -> Estimate:
    value, error = float(solution.numbers[solution.model.place[name]]), solution.error(name)
    value = value if value > NOTHING * error else 0.0  # The optimum lies at the bound.
    identified = error <= LARGEST_ERROR_RATIO * value
    note = "" if identified else "not resolved: the error is more than half the value"
    return Estimate(
        name=RENAMED.get(name, name),
        value=value,
        error=error,
        identified=identified,
        rows=solution.cells,
        note=note,
    )


def _hot_and_cold(solution: Solution, short: str, name: str) -> list[Estimate]:
    """Give a long class's two prices; the loopback rule shares the address rule's ratio of cold to hot."""
    own = f"{short}_ns" in solution.model.place
    hot_name = f"{short}_ns" if own else "address_ns"
    ratio_name = f"ln_{'node_port' if short == 'node_port' else 'address'}_cold_ratio"
    hot, ratio = (solution.numbers[solution.model.place[n]] for n in (hot_name, ratio_name))
    a, b = solution.model.place[hot_name], solution.model.place[ratio_name]
    cold = float(hot * np.exp(ratio)) if hot > NOTHING * solution.error(hot_name) else 0.0
    slope = np.array([np.exp(ratio), cold])
    error = float(np.sqrt(slope @ solution.covariance[np.ix_([a, b], [a, b])] @ slope))
    share = solution.prior_share(ratio_name)
    first = _plain(solution, hot_name)
    note = "" if own else "taken as the price of an address that does not match: this rule was not measured"
    known = error <= LARGEST_ERROR_RATIO * cold and share <= LARGEST_PRIOR_SHARE
    cold_note = note or ("" if known else f"{share:.0%} of it is the prior: no cell lies far past the cache")
    return [
        Estimate(
            name=f"{name}_hot_ns",
            value=first.value,
            error=first.error,
            identified=first.identified and own,
            rows=solution.cells,
            note=note or first.note,
        ),
        Estimate(
            name=f"{name}_cold_ns",
            value=cold,
            error=error,
            identified=known and own,
            rows=solution.cells,
            note=cold_note,
        ),
    ]


def _exponential(solution: Solution, name: str, renamed: str | None = None) -> Estimate:
    fitted = f"ln_{name}"
    value = float(np.exp(solution.numbers[solution.model.place[fitted]]))
    share = solution.prior_share(fitted)
    return Estimate(
        name=renamed or name,
        value=value,
        error=value * solution.error(fitted),
        identified=share <= LARGEST_PRIOR_SHARE,
        rows=solution.cells,
        note=f"{share:.0%} of what is known of it is the prior" if share > LARGEST_PRIOR_SHARE else "",
    )
