"""Measure one cell: load its rules, check a packet's walk, time everything in a shuffled order, clear."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from nodeportsim.calibrate.measuring import backends, tables, walked
from nodeportsim.calibrate.measuring.lab import connect_columns
from nodeportsim.calibrate.measuring.plans import path_name
from nodeportsim.calibrate.measuring.scene import (
    Subject,
    pod_target,
    pods_of,
    targets,
    with_known_clients,
    with_new_clients,
)
from nodeportsim.calibrate.measuring.timing import WARM, quantiles
from nodeportsim.errors import ThresholdError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.calibrate.measuring.lab import Lab
    from nodeportsim.calibrate.measuring.plans import Cell, Experiment
    from nodeportsim.calibrate.measuring.scene import Target
    from nodeportsim.kubeproxy.concrete import View

    Tasks = list[Callable[[], None]]

COLD_MIB = 16
"""Read before each connection of a cold run: more than a second cache holds."""
CHECKED_SERVICES = 1000
"""Up to here the walks to all targets are checked. Beyond, nftables' are not: they do not grow."""


def measure(lab: Lab, cell: Cell) -> None:
    """Measure one cell; `CommandError` when its rules cannot be loaded.

    Raises
    ------
    ThresholdError
        A packet's walk is not the counted one: these rules are not timed.
    """
    bed, view = lab.beds[cell.backend], cell.scene.view()
    if cell.backend == "nftables":
        _check_copy(lab, cell, view)
    try:
        for op, seconds in backends.load(bed, cell.backend, view).items():
            lab.programming(cell, op, seconds)
        if backends.BACKENDS[cell.backend] == "iptables":
            _check(lab, cell, view)
        tasks = _TASKS[cell.experiment](lab, cell, view)
        lab.rng.shuffle(tasks)
        for task in tasks:
            task()
        if cell.experiment == "services":
            _change(lab, cell, view)
    finally:
        seconds = backends.clear(bed, cell.backend)
    lab.programming(cell, "clear", seconds)


def _check_copy(lab: Lab, cell: Cell, view: View) -> None:
    """Check the walks through nftables rules on a copy that counts."""
    if cell.round or cell.services > CHECKED_SERVICES:
        return
    bed = lab.beds[cell.backend]
    try:
        backends.load_text(bed, walked.counted_copy(view))
        _check(lab, cell, view)
    finally:
        backends.clear(bed, cell.backend)


def _check(lab: Lab, cell: Cell, view: View) -> None:
    """Send a packet to each target, and refuse rules whose walk is not as counted; once is enough."""
    if cell.round:
        return
    numbers = list(cell.scene.tested) if cell.services <= CHECKED_SERVICES else [cell.services - 1]
    wanted = [*_targets(cell, view, numbers), pod_target(view)]
    for differs in walked.differences(lab.beds[cell.backend], cell.backend, view, wanted):
        raise ThresholdError(f"{cell.backend}, {cell.services} Services, {cell.experiment}: {differs}")


def _targets(cell: Cell, view: View, numbers: list[int]) -> list[Target]:
    """List targets whose packets meet no rules but the cell's: an overlay's outer packets meet them too."""
    tested = cell.scene.tested
    return [
        target
        for number in numbers
        if tested[number].where != "vxlan"
        for target in targets(view, [number], pods=pods_of(tested[number].where))
    ]


def _services(lab: Lab, cell: Cell, view: View) -> Tasks:
    """Connections to every place in the rules, requests, cold caches; both baselines in between."""
    numbers, last = list(cell.scene.tested), cell.services - 1
    ends = [*targets(view, sorted({0, last})), pod_target(view)]
    tasks: Tasks = []
    for repetition in _repetitions(lab, cell):
        tasks.append(lab.baselines)
        tasks += [
            partial(lab.connect, tables.SERVICES, cell, target, repetition)
            for target in [*targets(view, numbers), pod_target(view)]
        ]
        tasks += [
            partial(lab.request, cell, target, repetition)
            for target in [*targets(view, [last]), pod_target(view)]
        ]
        if cell.services in lab.plan.cold:
            tasks += [
                partial(_cold, lab, cell, target, repetition, mib) for target in ends for mib in (COLD_MIB, 0)
            ]
    return tasks


def _cold(lab: Lab, cell: Cell, target: Target, repetition: int, mib: int) -> None:
    """Time connections, other memory being read before each; with 0 MiB, the same few with warm caches."""
    count = lab.plan.cold_connections
    lab.connect(tables.COLD, cell, target, repetition, count=count, thrash_mib_before_connect=mib)


def _endpoints(lab: Lab, cell: Cell, view: View) -> Tasks:
    """Connections to Services of more and fewer endpoints."""
    return [
        partial(lab.connect, tables.ENDPOINTS, cell, target, repetition)
        for repetition in _repetitions(lab, cell)
        for target in targets(view, list(cell.scene.tested))
    ]


def _affinity(lab: Lab, cell: Cell, view: View) -> Tasks:
    """Connections of clients the rules have never seen, and of clients they remember."""
    count = lab.connections(cell)

    def new(target: Target, repetition: int) -> None:
        # The rules were loaded for this round: what they remembered in the last one is gone.
        fresh = with_new_clients(target, repetition % lab.plan.repetitions, count + WARM)
        lab.connect(tables.AFFINITY, cell, fresh, repetition, sticky=0)

    def known(target: Target, repetition: int) -> None:
        lab.connect(tables.AFFINITY, cell, with_known_clients(target), repetition, sticky=1)

    return [
        partial(kind, target, repetition)
        for repetition in _repetitions(lab, cell)
        for target in targets(view, list(cell.scene.tested))
        for kind in (new, known)
    ]


def _paths(lab: Lab, cell: Cell, view: View) -> Tasks:
    """Connections and requests to pods of this node and of the other, masqueraded or not."""

    def path(number: int, tested: Subject, repetition: int) -> None:
        _, target = targets(view, [number], pods=pods_of(tested.where))
        bed = lab.beds[cell.backend]
        connected = lab.timer.time(bed, target, "connections", lab.connections(cell))
        requested = lab.timer.time(bed, target, "requests", lab.plan.requests)
        row = {
            "mode": cell.backend,
            "repetition": repetition,
            "path": path_name(tested),
            **connect_columns(connected),
            **quantiles("request_cycle", requested.cycle_ns),
        }
        lab.add(tables.PATHS, cell, row)

    return [
        partial(path, number, tested, repetition)
        for repetition in _repetitions(lab, cell)
        for number, tested in cell.scene.tested.items()
    ]


def _distribution(lab: Lab, cell: Cell, view: View) -> Tasks:
    """How connections to a NodePort spread over its endpoints."""

    def split(number: int) -> None:
        _, target = targets(view, [number])
        total = lab.plan.split_connections
        timing = lab.timer.time(lab.beds[cell.backend], target, "connections", total)
        accepted = Counter(str(IPv4Address(int(address))) for address in timing.addresses)
        for index, endpoint in enumerate(view.ports[number].endpoints):
            row = {
                "mode": cell.backend,
                "scheduler": "rr" if cell.backend == "ipvs" else "random",
                "endpoints": len(view.ports[number].endpoints),
                "endpoint_index": index,
                "weight": 1,
                "connections_total": total,
                "connections_to_endpoint": accepted[endpoint.address],
            }
            lab.add(tables.DISTRIBUTION, cell, row)

    return [partial(split, number) for number in cell.scene.tested]


def _change(lab: Lab, cell: Cell, view: View) -> None:
    """Time what a sync does when the last Service gains an endpoint, and when it loses it again."""
    bed, last = lab.beds[cell.backend], cell.services - 1
    more = Subject(endpoints=cell.scene.tested[last].endpoints + 1)
    other = replace(cell.scene, tested={**cell.scene.tested, last: more}).view()
    changed = {view.ports[last].full_name}
    for pair in range(lab.plan.changes):
        for step, (before, after) in enumerate(((view, other), (other, view))):
            number = 2 * (cell.round * lab.plan.changes + pair) + step
            seconds = backends.change(bed, cell.backend, after, changed, before)
            lab.programming(cell, "partial_one_service_kubeproxy", seconds, number)
    if backends.BACKENDS[cell.backend] == "iptables":
        lab.programming(cell, "save_dump", backends.dump(bed, cell.backend))


def _repetitions(lab: Lab, cell: Cell) -> range:
    """Number the repetitions of a cell on, over the rounds."""
    first = cell.round * lab.plan.repetitions
    return range(first, first + lab.plan.repetitions)


_TASKS: dict[Experiment, Callable[[Lab, Cell, View], Tasks]] = {
    "services": _services,
    "endpoints": _endpoints,
    "affinity": _affinity,
    "paths": _paths,
    "distribution": _distribution,
}
