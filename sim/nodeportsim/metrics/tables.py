"""Tidy tables of a run, for people with pandas: one row an observation, the unit in the column name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.metrics import balance, histogram, timeline
from nodeportsim.metrics.recovery import fault_s
from nodeportsim.metrics.replication import CAUSES, PHASES, STAGES
from nodeportsim.metrics.stages import splits
from nodeportsim.metrics.survival import curve
from nodeportsim.metrics.where import where

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from nodeportsim.metrics.replication import Replication


def tables(replications: Sequence[Replication]) -> dict[str, pd.DataFrame]:
    """Return the tables by name.

    Returns
    -------
    dict of DataFrame
        requests (a row a replication), timeline (a row a second, over all replications), nodes and pods
        (replication and rank), latency (phase and time: share of its succeeded requests at or above it),
        stages (stage), milestones (replication, name and subject). After a fault also load (second, over all
        replications), clients (group and number of failed requests: clients that lost so many, summed over
        replications), survival (second after the first fault: what has become of the connections). Where
        they carry it, also routes, zones, programming and newborns (see `nodeportsim.metrics.where`).
    """
    faulty = [r for r in replications if fault_s(r) is not None]
    return {
        "requests": _requests(replications),
        "timeline": _timeline(replications),
        "nodes": _members([r.nodes for r in replications]),
        "pods": _members([r.pods for r in replications]),
        "latency": _latency(replications),
        "stages": _stages(replications),
        "milestones": _milestones(replications),
        **(_aftermath(faulty) if faulty else {}),
        **where(replications),
    }


def _requests(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd  # pandas takes half a second to import.

    names = ("offered", "succeeded", "failed", "in_flight", "attempts")
    counts = {name: [int(getattr(r, name)) for r in replications] for name in names}
    causes = dict(zip(CAUSES, np.stack([r.errors for r in replications], axis=1), strict=True))
    return pd.DataFrame({"replication": [r.number for r in replications], **counts, **causes})


def _timeline(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    merged = timeline.merge(r.timeline for r in replications)
    columns = dict(zip(("offered", "succeeded", *CAUSES), merged.T, strict=True))
    return pd.DataFrame({"second_s": np.arange(len(merged)), **columns})


def _members(members: Sequence[NDArray[np.int64]]) -> pd.DataFrame:
    import pandas as pd

    ranked = balance.ranked(balance.stacked(members))
    runs, size, _ = ranked.shape
    totals = np.maximum(ranked[:, :, 0].sum(axis=1, keepdims=True), 1)
    table = pd.DataFrame(
        {
            "replication": np.repeat(np.arange(runs), size),
            "rank": np.tile(np.arange(1, size + 1), runs),
            "connections": ranked[:, :, 0].ravel(),
            "share_ratio": (ranked[:, :, 0] / totals).ravel(),
            "requests": ranked[:, :, 1].ravel(),
        }
    )
    there = np.arange(size) < np.array([[len(given)] for given in members])
    return table[there.ravel()].reset_index(drop=True)


def _latency(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for at, phase in enumerate(PHASES):
        latency_s, share = histogram.ccdf(histogram.merge(r.latency[at] for r in replications))
        parts.append(pd.DataFrame({"phase": phase, "latency_s": latency_s, "ccdf_ratio": share}))
    return pd.concat(parts, ignore_index=True)


def _stages(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    columns = {f"{name}_s": np.nan if part is None else part for name, part in splits(replications).items()}
    return pd.DataFrame({"stage": STAGES, **columns})


def _milestones(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    rows = [(r.number, name, subject, time_s) for r in replications for time_s, name, subject in r.milestones]
    return pd.DataFrame(rows, columns=["replication", "name", "subject", "time_s"])


def _aftermath(faulty: Sequence[Replication]) -> dict[str, pd.DataFrame]:
    return {"load": _load(faulty), "clients": _clients(faulty), "survival": _survival(faulty)}


def _load(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    load = timeline.merge(r.load for r in replications)
    wanted = timeline.merge(r.timeline for r in replications)[:, timeline.OFFERED]
    offered = np.zeros(len(load), np.int64)
    offered[: len(wanted)] = wanted
    columns = dict(zip(("attempts", "answers", "orphans", "late"), load.T, strict=True))
    return pd.DataFrame({"second_s": np.arange(len(load)), "offered": offered, **columns})


def _clients(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    rows = np.concatenate([r.clients for r in replications])
    table = pd.DataFrame(rows, columns=["group", "failed", "clients", "offered"])
    table["group"] = [replications[0].groups[place][0] for place in table["group"]]
    return table.groupby(["group", "failed"], as_index=False).sum()


def _survival(replications: Sequence[Replication]) -> pd.DataFrame:
    import pandas as pd

    rows = curve(replications)
    table = pd.DataFrame(rows, columns=["standing", "closed", "torn", "timed_out"])
    table.insert(0, "since_fault_s", np.arange(len(rows)))
    return table


def warm_up(
    pilot_latency_s: Sequence[float], replications: Sequence[Replication], warmup_s: float
) -> pd.DataFrame:
    """Return what MSER-5 saw and chose: a row a second of intended arrival.

    Parameters
    ----------
    pilot_latency_s
        Mean latency of the requests of each second of the first run, from its beginning: the series.
    replications
        Those that count, from the end of the warm-up on.
    warmup_s
        What was chosen.

    Returns
    -------
    DataFrame
        second_s, pilot_latency_s, latency_s (over all replications; NaN where left out), mser5_s2 (the
        squared standard error of the mean if everything before were left out; one a batch), left_out.
    """
    import pandas as pd

    length = len(pilot_latency_s)
    sums_s, answered = np.zeros(length), np.zeros(length, np.int64)
    for r in replications:
        seconds = min(length, len(r.timeline))
        sums_s[:seconds] += r.second_latency_ns[:seconds] * np.float64(1e-9)
        answered[:seconds] += r.timeline[:seconds, timeline.SUCCEEDED]
    errors = np.full(length, np.nan)
    found = timeline.mser5_errors(pilot_latency_s)
    errors[np.arange(len(found)) * timeline.BATCH] = found
    second = np.arange(length)
    left_out = second < warmup_s
    means = np.where(left_out | (answered == 0), np.nan, sums_s / np.maximum(answered, 1))
    return pd.DataFrame(
        {
            "second_s": second,
            "pilot_latency_s": pilot_latency_s,
            "latency_s": means,
            "mser5_s2": errors,
            "left_out": left_out,
        }
    )
