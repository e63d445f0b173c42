"""Several variants of a scenario beside their baseline: differences, how sure they are, which one is best.

Every variant has the same replications of the same seed, so all differences are paired. Quantiles are those
of the merged histograms, everything else is measured in each replication (`observables`). What the rows of
the table claim holds for all of them together (`certainty`): a user who asks one thing asks for one metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.metrics import certainty
from nodeportsim.metrics.compare import Pair, paired_mean, paired_quantile
from nodeportsim.metrics.histogram import BEYOND
from nodeportsim.metrics.intervals import FEWEST, Estimate
from nodeportsim.metrics.observables import NAMES, observe
from nodeportsim.metrics.replication import PHASES
from nodeportsim.metrics.summarise import QUANTILES, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Row = dict[str, Any]

METRICS = (
    "latency_s.p50",
    "latency_s.p99",
    "latency_s.mean",
    "first_packet_s.p50",
    "first_packet_s.p99",
    "failed_ratio",
    "throughput_rps",
    "balance.pods.max_over_mean",
)
"""Compared by default."""
HIGHER_IS_BETTER = ("throughput_rps", "recovered_ratio", "before_ratio", "requests.succeeded")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is kept of the replications of one variant.

    Parameters
    ----------
    measured
        By metric, shape (replications,); NaN where a replication cannot carry it.
    histograms
        By the beginning of a quantile's name, shape (replications, buckets).
    """

    measured: dict[str, Floats]
    histograms: dict[str, Counts]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A variant by name: its replications, and those at the profile's prices where it drew its own."""

    name: str
    own: Sample
    nominal: Sample | None = None
    pairs: dict[tuple[str, str], Pair] = field(default_factory=dict, repr=False, compare=False)


def sample(replications: Sequence[Replication], metrics: Sequence[str]) -> Sample:
    """Take from replications what `metrics` need."""
    rows = [observe(replication) for replication in replications]
    families = dict.fromkeys(family for name in metrics if (family := _quantile(name)[0]))
    return Sample(
        measured={name: np.array([row[name] for row in rows]) for name in metrics},
        histograms={name: np.stack([_histogram(r, name) for r in replications]) for name in families},
    )


def _quantile(metric: str) -> tuple[str, float]:
    """Split ``latency_s.p99`` into ``latency_s`` and 0.99; an empty name where it is no quantile of times."""
    family, _, last = metric.rpartition(".")
    return (family, QUANTILES[last]) if last in QUANTILES else ("", math.nan)


def _histogram(replication: Replication, family: str) -> Counts:
    if family == "first_packet_s":
        return replication.first_packet
    phase = family.split(".")[1] if family.startswith("phases.") else None
    latency = replication.latency
    return np.asarray(latency.sum(axis=0) if phase is None else latency[PHASES.index(phase)])


def pair(a: Variant, b: Variant, metric: str) -> Pair:
    """Compare two variants in one metric; b minus a."""
    if (known := a.pairs.get((b.name, metric))) is not None:
        return known
    if (known := b.pairs.get((a.name, metric))) is not None:
        return _reversed(known)
    family, q = _quantile(metric)
    both = a.nominal is not None and b.nominal is not None
    samples = [part for part in (a.own, b.own, *((a.nominal, b.nominal) if both else ())) if part is not None]
    if family:
        counts = [part.histograms[family] for part in samples]
        found = paired_quantile(counts[0], counts[1], q, tuple(counts[2:]))
    else:
        values = [part.measured[metric] for part in samples]
        found = paired_mean(values[0], values[1], tuple(values[2:]))
    a.pairs[b.name, metric] = found
    return found


def _reversed(pair: Pair) -> Pair:
    found = pair.difference
    turned = {
        name: None if value is None else -value
        for name, value in (("estimate", found.estimate), ("low", found.high), ("high", found.low))
    }
    difference = Estimate(**turned, reason=found.reason)
    return Pair(pair.after, pair.before, difference, pair.variance_ratio)


def differences(variants: Sequence[Variant], baseline: Variant, metrics: Sequence[str]) -> list[Row]:
    """Compare every variant with the baseline.

    Returns
    -------
    list of dict
        variant, baseline, metric, before, after, difference (after - before), low, high (95 %), the same over
        before (difference_ratio ...), p_value, p_adjusted (Holm, over all rows), sure (`certainty.word`),
        variance_ratio (what the pairing is worth), replications_needed, reason where something is None or
        cannot be told.
    """
    others = [variant for variant in variants if variant is not baseline]
    cells = [(variant, metric, pair(baseline, variant, metric)) for variant in others for metric in metrics]
    p_values = [certainty.p_value(found.difference, _runs(baseline)) for _, _, found in cells]
    adjusted = certainty.holm(p_values)
    return [
        _row(baseline, variant, metric, found, p, p_adjusted, len(cells))
        for (variant, metric, found), p, p_adjusted in zip(cells, p_values, adjusted, strict=True)
    ]


def _runs(variant: Variant) -> int:
    return len(next(iter(variant.own.measured.values())))


def _row(
    baseline: Variant,
    variant: Variant,
    metric: str,
    found: Pair,
    p: float | None,
    adjusted: float | None,
    rows: int,
) -> Row:
    parts = {name: getattr(found.difference, end) for name, end in _ENDS.items()}
    sure = certainty.word(found.difference, adjusted)
    needed = _needed(baseline, metric, found, rows) if sure == "cannot tell" else None
    row: Row = {
        "variant": variant.name,
        "baseline": baseline.name,
        "metric": metric,
        "before": found.before,
        "after": found.after,
        **parts,
        **{
            f"{name}_ratio": None if value is None or not found.before else value / found.before
            for name, value in parts.items()
        },
        "p_value": p,
        "p_adjusted": adjusted,
        "sure": sure,
        "variance_ratio": found.variance_ratio,
        "replications_needed": needed,
        "reason": found.difference.reason,
    }
    return dict(rounded(row))


_ENDS = {"difference": "estimate", "low": "low", "high": "high"}


def _needed(baseline: Variant, metric: str, found: Pair, rows: int) -> int | None:
    """Guess how many replications would tell; None where nobody can say, or too many."""
    runs = _runs(baseline)
    family, q = _quantile(metric)
    if found.before is None and family:
        beyond = (1 - q) * float(baseline.own.histograms[family].sum()) / runs
        needed = max(FEWEST, math.ceil((BEYOND + 1) / beyond)) if beyond else 0
        return needed if 0 < needed <= certainty.MOST_REPLICATIONS else None
    if found.difference.low is None:
        return FEWEST if runs < FEWEST else None
    return certainty.replications_for(found.difference, runs, rows)


def best(variants: Sequence[Variant], metrics: Sequence[str]) -> list[Row]:
    """Say which variant is best in each metric.

    Returns
    -------
    list of dict
        metric, best (the variant with the best estimate), survivors (the variants among which the best one is
        with 95 % confidence), confidence (that `best` is it; None below a half).
    """
    return [_best(variants, metric) for metric in metrics]


def _best(variants: Sequence[Variant], metric: str) -> Row:
    def difference(i: int, j: int) -> Estimate:
        return pair(variants[i], variants[j], metric).difference

    values = [pair(variant, variants[k == 0], metric).before for k, variant in enumerate(variants)]
    highest = metric in HIGHER_IS_BETTER or metric.endswith(".jain")
    found = certainty.select(values, difference, _runs(variants[0]), highest=highest)
    return {
        "metric": metric,
        "best": None if found.best is None else variants[found.best].name,
        "survivors": [variants[k].name for k in found.survivors],
        "confidence": None if found.confidence is None else round(found.confidence, 6),
    }


def assert_known(metrics: Sequence[str]) -> tuple[str, ...]:
    """Give the metrics asked for, in the order of `NAMES`; `METRICS` where none is.

    Raises
    ------
    InputError
        There is no such metric.
    """
    from nodeportsim.metrics.observables import chosen

    return chosen(metrics) if metrics else tuple(name for name in NAMES if name in METRICS)
