"""Which measured cells no fit may see, and how far predictions miss them.

The rule was fixed before any fit, by the study that measured the first profile, and holds for all since: of
a sweep over Services all cells at 2,000 of them, and of 1,000, 5,000 and 10,000 every position but the first
and the last; of a sweep over endpoints, and of requests over rule set sizes, every second size, beginning
with the second smallest. Errors are stated for a fit without these cells. The prices that are shipped come
from one more fit, the same in everything, with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

WHOLE_SIZE = 2000
INNER_SIZES = (1000, 5000, 10_000)


def services_sweep(cells: pd.DataFrame) -> np.ndarray:
    """Mark the held out cells of a sweep over the number of Services."""
    services, position = cells["services"], cells["service_position"]
    inner = (position > 0) & (position < services - 1) & services.isin(INNER_SIZES)
    return np.asarray((services == WHOLE_SIZE) | inner)


def every_second(sizes: pd.Series[float]) -> np.ndarray:
    """Mark every second size, beginning with the second smallest."""
    ordered = np.unique(sizes)
    return np.asarray(sizes.isin(ordered[1::2]))


def summary(errors: np.ndarray) -> dict[str, float | int]:
    """Sum up relative errors: how many, their median, 90th percentile and largest."""
    errors = np.abs(errors)
    if not len(errors):
        return {"cells": 0, "median_error": np.nan, "p90_error": np.nan, "max_error": np.nan}
    return {
        "cells": len(errors),
        "median_error": float(np.median(errors)),
        "p90_error": float(np.quantile(errors, 0.9)),
        "max_error": float(errors.max()),
    }
