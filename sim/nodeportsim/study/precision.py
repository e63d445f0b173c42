"""Further replications until the intervals are narrow enough (see `nodeportsim.metrics.precision`).

The numbers of replications at which a run looks follow from the scenario alone, and a replication from its
number and the seed. So a run that went on to 45 has the numbers of one that was told to make 45.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.metrics.intervals import FEWEST
from nodeportsim.metrics.precision import looks, parse, reached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.engine.simulate import Replication
    from nodeportsim.scenario.spec import Run


class Watch:
    """Says after each look whether to go on, and keeps what was seen.

    Parameters
    ----------
    run
        With `precision`; without, there is one look and nothing to see.

    Raises
    ------
    InputError
        A metric or width cannot be read, or fewer replications are allowed than one look takes.
    """

    def __init__(self, run: Run) -> None:
        self.aims = parse(run.precision)
        self.sizes: tuple[int, ...] = (run.replications,)
        if self.aims:
            if run.max_replications < max(run.replications, FEWEST):
                rule = f"must be at least run.replications, and {FEWEST}"
                raise InputError(rule, field="run.maxReplications", got=run.max_replications)
            self.sizes = tuple(looks(run.replications, run.max_replications))
        self.rows: list[dict[str, Any]] = []
        self._held = False

    def enough(self, own: Sequence[Replication], nominal: Sequence[Replication]) -> bool:
        """Look: whether every width holds now and did so at the look before."""
        self.rows = reached(self.aims, own, nominal)
        holds = all(row["ok"] for row in self.rows)
        done = holds and self._held
        self._held = holds
        return done

    def summary(self, replications: int) -> dict[str, Any]:
        """What stands in ``summary.json``: nothing where nothing was asked."""
        if not self.aims:
            return {}
        looked = [size for size in self.sizes if size <= replications]
        ok = all(row["ok"] for row in self.rows)
        return {"precision": {"ok": ok, "replications": replications, "looks": looked, "metrics": self.rows}}
