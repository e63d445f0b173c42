"""What pods that are made within a run get to do: once a second, their requests beside everybody's.

A clock that only looks: it reads the counters of the data plane and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .aftermath import column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .control import Control, Process

PLANNED = ("scale", "rolling-update")  # What makes pods that no fault has killed others for.


def start(control: Control) -> None:
    """Look every second, where a planned change makes pods."""
    if any(event.fault in PLANNED for event in control.scenario.events):
        control.env.process(_look(control))


def _look(control: Control) -> Process:
    while True:
        yield control.env.timeout(1.0)
        served = np.array(column(control.world.pods, "requests"), np.int64)
        ready = np.array([pod.ready for pod in control.slices.pods])
        born = np.array(sorted(control.born_s), np.intp)
        counted = (served[born].sum(), served.sum(), ready[born].sum(), ready.sum())
        control.newborns.append(tuple(map(int, counted)))


def by_second(control: Control) -> NDArray[np.int64]:
    """Give, by second, requests of new pods and of all, new pods ready at its end and all ready."""
    table = np.array(control.newborns, np.int64).reshape(-1, 4)
    table[:, :2] = np.diff(table[:, :2], axis=0, prepend=0)
    return table
