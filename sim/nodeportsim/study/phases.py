"""The phase diagram of an experiment: at which load and with which retries a service comes back by itself.

A *metastable* failure outlives its trigger: the retries it caused keep the service too busy to answer
(Bronson et al. 2021, doi:10.1145/3458336.3465286). A cell is called so only if it answered well before the
trigger, and if the trigger was gone before the last quarter of the run began, in which it is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.metrics.recovery import BACK, LAST_PART

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.experiment import PhaseDiagram
    from nodeportsim.study.findings import Digest

RECOVERS, METASTABLE, OVERLOADED, STILL = "recovers", "metastable", "overloaded before", "trigger still there"


def phase_table(diagram: PhaseDiagram, digests: Sequence[Digest]) -> pd.DataFrame:
    """Tabulate the cells: x, y, estimate, low, high of `recovered_ratio`, and the state."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for d in digests:
        labels, found = d.cell.labels, d.rows["recovered_ratio"]
        rows.append(
            {
                "x": labels[diagram.x],
                "y": labels[diagram.y],
                **{name: found[name] for name in ("estimate", "low", "high")},
                "before_ratio": d.rows["before_ratio"]["estimate"],
                "state": state(d.scenario, d.rows["before_ratio"]["estimate"], found["estimate"]),
                "x_label": diagram.x_label or diagram.x,
                "y_label": diagram.y_label or diagram.y,
            }
        )
    return pd.DataFrame(rows).astype(dict.fromkeys(("estimate", "low", "high", "before_ratio"), float))


def state(scenario: Scenario, before: float, recovered: float) -> str:
    """Name what a cell did, by the answered shares before the trigger and in the last quarter of the run."""
    if before < BACK:
        return OVERLOADED
    if recovered >= BACK:
        return RECOVERS
    # A fault that comes and goes has no last end.
    ends_s = [None if event.for_s is None else event.at_s + event.for_s for event in scenario.events]
    gone = all(end_s is not None and end_s <= LAST_PART * scenario.run.duration_s for end_s in ends_s)
    return METASTABLE if gone else STILL
