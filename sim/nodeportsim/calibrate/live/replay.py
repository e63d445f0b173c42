"""What pods must have done with the very requests they got: chance taken out of the comparison.

Two runs differ by luck above all: which pod the kernel chose, and who queued behind whom. But a live run
tells which pod each request met. Each pod being some workers that take what has waited longest, every latency
follows, with no free number left, and so a live quantile can be held against its reach alone.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from nodeportsim.calibrate.live.lab import addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.calibrate.live.cases import Overheads
    from nodeportsim.calibrate.live.lab import Answer
    from nodeportsim.scenario.spec import Scenario


def replay(scenario: Scenario, answers: Sequence[Answer], machine: Overheads) -> list[float]:
    """Give the latency of each request (s); all must have been answered.

    A request meets its pod after three ways (SYN, its answer, itself) and takes a fourth back. With `free`
    the instant at which the first of the pod's workers is free: end = max(arrival, free) + demand + turn.
    """
    ways_s = [machine.way_s + node * machine.hop_s for node, _ in addresses(scenario)]
    free_s = [[0.0] * scenario.pods.workers for _ in ways_s]
    latencies_s = []
    for row in answers:  # In order of their arrival, at each pod too: its ways are all equally long.
        assert row.pod is not None
        begun_s = max(row.born_s + 3 * ways_s[row.pod], free_s[row.pod][0])
        ended_s = begun_s + row.demand_s + machine.turn_s
        heapq.heapreplace(free_s[row.pod], ended_s)
        latencies_s.append(ended_s + ways_s[row.pod] - row.born_s)
    return latencies_s
