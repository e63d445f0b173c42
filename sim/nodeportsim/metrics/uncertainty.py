"""Intervals that hold what is not known of the prices, and not chance alone.

Each replication r has run twice: with prices of its own, drawn from their errors, and with the profile's
values; draws of arrivals, demands and choices are the same in both. So the difference of a statistic between
the two, the *effect* d_r, is what these prices do to it. Its variance over replications is that of the answer
over what the true prices may be. More replications tell it better and do not make it less.

With n replications, s the standard deviation of the effects and t of n - 1 degrees of freedom, the interval
predicts the answer on one node whose prices are somewhere in their errors:

* a mean or a ratio comes from the runs with drawn prices. Its t interval, of half-width h, holds chance and
  what n draws of prices leave open about their mean: the half-width becomes sqrt(h**2 + (t s)**2);
* a quantile of histograms with different prices would be that of a mixture, farther out than that of any one
  node. It is the quantile at the profile's values, moved by the mean effect: sqrt(h**2 + (t s)**2 (1 + 1/n)).

The two are one where a statistic is linear. What the two runs of a replication do not share by chance counts
as an effect, so the interval errs towards the wide side (docs/decisions/0016).
"""

from __future__ import annotations

from collections import defaultdict
from math import hypot, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics.intervals import FEWEST, POSITIVE, SHARE, Estimate, t_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike

    from nodeportsim.metrics.replication import Replication

    Path = tuple[str | int, ...]
    Row = dict[str, Any]

NOT_SEEN = "a replication alone is too small to show what its prices do"
QUANTILES = ("p50", "p90", "p99", "p999")
SHARES = (
    "failed_ratio",
    "share",
    "hit_ratio",
    "closed_ratio",
    "torn_ratio",
    "timed_out_ratio",
    "usable_ratio",
)


def widened(found: Estimate, effects: ArrayLike, within: tuple[float, float] = POSITIVE) -> Estimate:
    """Widen the interval of a mean or ratio over replications with drawn prices.

    Parameters
    ----------
    found
        With the interval that holds chance alone; None stays None.
    effects
        What the prices of each replication do to it.
    within
        Limits that the quantity has by nature.
    """
    each = np.asarray(effects, dtype=np.float64)
    if found.estimate is None or (found.low is None and found.high is None):
        return found
    if len(each) < FEWEST:
        return Estimate(estimate=found.estimate, reason=NOT_SEEN)
    return _around(found, found.estimate, t_factor(len(each)) * float(each.std(ddof=1)), within)


def moved(nominal: Estimate, effects: ArrayLike, within: tuple[float, float] = POSITIVE) -> Estimate:
    """Move a quantile at the profile's values by the mean effect, and widen its interval.

    Parameters
    ----------
    nominal
        With the interval that holds chance alone; None stays None.
    effects, within
        As in `widened`.
    """
    each = np.asarray(effects, dtype=np.float64)
    if nominal.estimate is None:
        return nominal
    centre = nominal.estimate + (float(each.mean()) if each.size else 0.0)
    if nominal.low is None or len(each) < FEWEST:
        return Estimate(estimate=centre, reason=nominal.reason or NOT_SEEN)
    spread = t_factor(len(each)) * float(each.std(ddof=1)) * sqrt(1 + 1 / len(each))
    return _around(nominal, centre, spread, within)


def _around(found: Estimate, centre: float, spread: float, within: tuple[float, float]) -> Estimate:
    """Join an interval and what the prices add to it, side by side."""
    low, high, was = found.low, found.high, found.estimate or 0.0
    return Estimate(
        estimate=centre,
        low=None if low is None else max(centre - hypot(was - low, spread), within[0]),
        high=None if high is None else min(centre + hypot(high - was, spread), within[1]),
        reason=found.reason,
    )


def with_prices(
    summary_of: Callable[[Sequence[Replication]], Any],
    sampled: Sequence[Replication],
    nominal: Sequence[Replication],
) -> Any:
    """Sum up replications with prices of their own; each interval holds what is not known of these.

    Parameters
    ----------
    summary_of
        Gives mappings and lists, in which every ``{estimate, low, high}`` is an interval.
    sampled, nominal
        The same replications, with prices of their own and with the profile's values.
    """
    effects: dict[Path, list[float]] = defaultdict(list)
    for own, plain in zip(sampled, nominal, strict=True):
        before, after = (dict(_intervals(summary_of([run]))) for run in (plain, own))
        for path, interval in after.items():
            pair = (before.get(path, {}).get("estimate"), interval["estimate"])
            if None not in pair:
                effects[path].append(pair[1] - pair[0])
    base = dict(_intervals(summary_of(nominal)))
    return _replaced(summary_of(sampled), effects, base, ())


def _intervals(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Row]]:
    """Walk down to every interval."""
    if isinstance(tree, dict) and "estimate" in tree:
        yield path, tree
    elif isinstance(tree, dict | list):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _intervals(part, (*path, key))


def _replaced(tree: Any, effects: Mapping[Path, list[float]], base: Mapping[Path, Row], path: Path) -> Any:
    """Copy a summary, its intervals with what the prices add."""
    if isinstance(tree, list):
        return [_replaced(part, effects, base, (*path, k)) for k, part in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    if "estimate" not in tree:
        return {key: _replaced(part, effects, base, (*path, key)) for key, part in tree.items()}
    each = effects.get(path, [])
    if path[-1] in QUANTILES:
        # A phase that only drawn prices led to has no value of the profile's to start from.
        return moved(Estimate(**base.get(path, {"estimate": None, "reason": NOT_SEEN})), each).as_dict()
    return widened(Estimate(**tree), each, SHARE if path[-1] in SHARES else POSITIVE).as_dict()
