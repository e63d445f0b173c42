"""What the clients of a scenario will want, and when: known before anything is simulated.

Arrivals and demands are draws by who and why, so they do not depend on what happens. A real client can be
given the very requests of a replication.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nodeportsim.engine.records import World
    from nodeportsim.scenario.spec import Scenario


def wanted(scenario: Scenario, replication: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """List the requests of one replication, in order of time.

    Parameters
    ----------
    scenario
        Its clients must all be open loop: others wait for answers.
    replication
        Number of the replication.

    Returns
    -------
    born_s, demand_s
        Intended arrival, and the time a worker will need.

    Raises
    ------
    InputError
        A group of clients is closed loop.
    """
    from nodeportsim.engine.build import Plain, world_of

    if any(group.loop == "closed" for group in scenario.clients):
        raise InputError("must be open: what a closed loop wants depends on its answers", field="loop")
    world = world_of(scenario, replication, Plain, warmup_s=0.0, trace=0)
    rows = sorted(row for c in range(len(world.clients)) for row in _of(world, c))
    born_s, demand_s = np.array(rows, np.float64).reshape(-1, 2).T
    return born_s, demand_s


def _of(w: World, c: int) -> Iterator[tuple[float, float]]:
    """List one client's requests."""
    from nodeportsim.engine.arrivals import first_s, gap_s, trace_at
    from nodeportsim.engine.codes import TRACE
    from nodeportsim.engine.draws import ARRIVAL, draw_law, uniform2

    config, traced = w.config, w.groups[w.clients[c].group].arrivals == TRACE
    law, mean_s, sigma = config.service_law, config.service_mean_s, config.service_sigma
    t, k = first_s(w, c), 0
    while t < config.duration_s:
        u_gap, u_demand = uniform2(config.key0, config.key1, ARRIVAL, c, k, 0)
        yield t, draw_law(law, mean_s, sigma, u_demand)
        t, k = trace_at(w, c, k + 1) if traced else t + gap_s(w, c, k, u_gap), k + 1
