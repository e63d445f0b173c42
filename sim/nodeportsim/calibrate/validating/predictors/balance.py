"""Who gets how much: unevenness, replayed queues, retries, shapes of service times."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.calibrate.shipped.published import each, pick, read_rows
from nodeportsim.calibrate.validating.predictors.rule import Rule, simulated

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.study.run import Outcome

WIDER = "clients.rate=2700/s"
"""30 % of 300 backends: 90 connections a client."""


def subset(rows: pd.DataFrame) -> list[float]:
    """Predict the most and least loaded of 300 backends over the mean."""
    predicted = []
    for mode, end in zip(rows["mode"], rows["percentile"], strict=True):
        found = simulated("subset", *((WIDER,) if "30%" in mode else ()))
        ratios = [r.pods[:, 0] / r.pods[:, 0].mean() for r in found.replications]
        predicted += [float(np.mean([ratio.max() if end == "max" else ratio.min() for ratio in ratios]))]
    return predicted


def commonest(rows: pd.DataFrame) -> list[float]:
    """Predict how many of 400 connections most pods get from eight round robins."""
    counts = np.concatenate([r.pods[:, 0] for r in simulated("ipvs-addresses").replications])
    return [float(np.bincount(counts).argmax())] * len(rows)


def replayed(rows: pd.DataFrame) -> list[float]:
    """Replay each pod's queue: one at a time, first come first served, times as requested."""
    ended_s: dict[str, float] = {}
    predicted = []
    for pod, note in zip(rows["percentile"], rows["note"], strict=True):
        asked = re.search(r"requested sleep (\d+) s", note)
        assert asked is not None
        ended_s[pod] = ended_s.get(pod, 0.0) + float(asked[1])
        predicted += [ended_s[pod]]
    return predicted


def _tries(found: Outcome) -> tuple[float, float]:
    """Success ratio, and attempts a request."""
    requests = found.summary["requests"]
    return requests["succeeded"] / requests["offered"], found.summary["attempts"] / requests["offered"]


def growth(rows: pd.DataFrame) -> list[float]:
    """Predict attempts a request where nearly all are rejected."""
    return [_tries(simulated("overload"))[1]] * len(rows)


def budgeted(rows: pd.DataFrame) -> list[float]:
    """Predict the same where every client grants itself one retry for ten requests."""
    sets = ("budget.kind=ratio", "budget.ratio=10%", "budget.minPerSecond=0")
    return [_tries(simulated("overload", *sets))[1]] * len(rows)


def retried(rows: pd.DataFrame) -> list[float]:
    """Predict success and attempts with one and with three attempts."""
    predicted = []
    for mode, metric in zip(rows["mode"], rows["metric"], strict=True):
        found = simulated("retry", f"retry.attempts={1 if mode.startswith('no retry') else 3}")
        predicted += [_tries(found)[metric == "amplification"]]
    return predicted


def gateway(rows: pd.DataFrame) -> list[float]:
    """Predict latencies (us) by the simulated ratio to the median, and the row's own median.

    The median itself is the simulated one: there the scale is tested.
    """
    from nodeportsim.metrics import histogram

    found = simulated("gateway")
    counts = sum(r.latency.sum(axis=0) for r in found.replications)
    middle = histogram.quantile(counts, 0.5)
    shares = {"min": 0.0, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
    ratios = {end: histogram.quantile(counts, share) / middle for end, share in shares.items()}
    ratios["mean"] = histogram.mean_s(counts) / middle
    every, predicted = read_rows(), []
    for row in each(rows):
        own = pick(every, source_id=row.source_id, metric=row.metric, percentile="p50", note=row.note)
        scale = float(own["value"].iloc[0])
        predicted += [middle * 1e6 if row.percentile == "p50" else scale * ratios[row.percentile]]
    return predicted


RULES = (
    Rule(
        source="SRE-BOOK-LB",
        metric="m.._over_mean_connections",
        predict=subset,
        how="simulated: subset.yaml",
        reason="the book's clients choose no backend twice, kube-proxy's choices may",
    ),
    Rule(
        source="K8S-I88580",
        predict=commonest,
        how="simulated: ipvs-addresses.yaml, commonest of 50 x 30",
        reason=(
            "the source's addresses were not asked equally often: 50 connections each give a pod at "
            "most 16, it saw 19"
        ),
    ),
    Rule(
        source="AROSSBELL",
        tolerance="replay",
        predict=replayed,
        how="each pod a queue: first come first served, one worker",
    ),
    Rule(
        source="SRE-BOOK-OVERLOAD",
        metric="request_growth",
        mode="3 attempts, no budget",
        predict=growth,
        how="simulated: overload.yaml",
    ),
    Rule(
        source="SRE-BOOK-OVERLOAD",
        metric="request_growth",
        mode=r"3 attempts \+ 10% client budget",
        predict=budgeted,
        how="simulated: overload.yaml with a budget",
    ),
    Rule(
        source="RETRY-EXP-JUANCHI",
        predict=retried,
        how="simulated: retry.yaml",
    ),
    Rule(
        source="NGF-DPPERF",
        tolerance="percentile",
        predict=gateway,
        how="simulated: gateway.yaml; all but the median from the row's own median",
        reason=(
            "a log-normal law has no rare stalls, so no maximum; the scale is that of another release"
            " and of simpler rules"
        ),
    ),
)
