"""Control variates: noise of an estimate that is noise of inputs whose mean theory knows.

A run with more arrivals than expected, or more work in them, is slower than usual. How many arrivals and how
much work to expect is known exactly, so this part of a replication's value can be taken off. The mean is then
the intercept of a regression of the values on the controls less their expectations (Lavenberg and Welch 1981,
doi:10.1287/mnsc.27.3.322). With n replications and q controls the interval is t of n - q - 1 degrees and
holds the error of the estimated coefficients; the variance falls by the squared multiple correlation, and
rises by (n - 2) / (n - q - 2) for having estimated them. Exact where values and controls are normal together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics.intervals import FEWEST, Estimate, t_factor, too_few

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_ALIKE = 1e-9  # Of its length: what is left of a control that others already are.


def controlled_mean(values: ArrayLike, controls: ArrayLike) -> Estimate:
    """Return the mean of one value per replication, less what its controls explain.

    Parameters
    ----------
    values
        Shape (replications,).
    controls
        Shape (replications, controls): inputs less their expectations. Those that do not vary, or say what
        earlier ones say, are left out.
    """
    y, x = np.asarray(values, dtype=np.float64), independent(controls)
    replications, count = x.shape
    if replications < FEWEST + count:
        return Estimate(estimate=float(y.mean()), reason=too_few(replications))
    centred = x - x.mean(axis=0)
    slopes, *_ = np.linalg.lstsq(centred, y - y.mean(), rcond=None)
    residuals = y - y.mean() - centred @ slopes
    degrees = replications - count - 1
    off = x.mean(axis=0) @ np.linalg.pinv(centred)
    error = math.sqrt(float(residuals @ residuals) / degrees * (1 / replications + float(off @ off)))
    mean, half = float(y.mean() - x.mean(axis=0) @ slopes), t_factor(degrees + 1) * error
    return Estimate(estimate=mean, low=mean - half, high=mean + half)


def independent(controls: ArrayLike) -> Floats:
    """Leave out controls that are constant, or a combination of earlier ones."""
    table = np.asarray(controls, dtype=np.float64)
    kept: list[Floats] = []
    bases: list[Floats] = []
    for column in table.T:
        centred = column - column.mean()
        length = float(np.linalg.norm(centred))
        left = centred - sum((base * float(base @ centred) for base in bases), start=np.zeros(len(column)))
        if float(np.linalg.norm(left)) > _ALIKE * max(length, float(np.abs(column).max())):
            kept.append(column)
            bases.append(left / np.linalg.norm(left))
    return np.stack(kept, axis=1) if kept else np.empty((len(table), 0))


def linearised(parts: ArrayLike, wholes: ArrayLike) -> Floats:
    """Return a value per replication: their mean is sum(parts) / sum(wholes), their spread the ratio's."""
    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    ratio = float(part.sum()) / float(whole.sum())
    return np.asarray(ratio + (part - ratio * whole) / whole.mean())
