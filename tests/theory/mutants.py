"""Small faults, put into the running engine one at a time: what a test is worth shows when they are there.

Each takes a `pytest.MonkeyPatch` and replaces one step or constant of the interpreted engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.engine import (
    attempts,
    build,
    client,
    connections,
    draws,
    entry,
    interpreter,
    node,
    pod,
    pools,
    simulate,
)
from nodeportsim.engine.codes import RR

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from nodeportsim.engine.records import World

    Mutant = Callable[[pytest.MonkeyPatch], None]


def service_takes_longer(patch: pytest.MonkeyPatch) -> None:
    """Two per cent."""

    def mutant(law: int, mean: float, sigma: float, u: float) -> float:
        return 1.02 * draws.draw_law(law, mean, sigma, u)

    patch.setattr(client, "draw_law", mutant)


def robin_skips_one_every_lap(patch: pytest.MonkeyPatch) -> None:
    choose = node.choose

    def mutant(w: World, n: int, c: int, u: float) -> int:
        rank = choose(w, n, c, u)
        return choose(w, n, c, u) if w.config.choice == RR and rank == 0 else rank

    patch.setattr(node, "choose", mutant)


def first_endpoint_is_favoured(patch: pytest.MonkeyPatch) -> None:
    """Two per cent of the connections go to the first endpoint, whatever their draw."""
    choose = node.choose

    def mutant(w: World, n: int, c: int, u: float) -> int:
        return 0 if u * 97.0 % 1.0 < 0.02 else choose(w, n, c, u)

    patch.setattr(node, "choose", mutant)


def nothing_pins(patch: pytest.MonkeyPatch) -> None:
    """A SYN that is sent again may meet another endpoint."""
    syn_at_node = node.syn_at_node

    def mutant(w: World, t: float, f: int) -> None:
        flight = w.flights[f]
        request = w.requests[flight.request]
        if request.syn > 0:
            w.connections[flight.connection].pod = -1
            request.u_pod = request.u_pod * 97.0 % 1.0
        syn_at_node(w, t, f)

    patch.setattr(node, "syn_at_node", mutant)


def data_goes_before_control(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(interpreter, "ARRIVALS", -2)
    patch.setattr(interpreter, "DATA", -1)


def retries_stay(patch: pytest.MonkeyPatch) -> None:
    """The next node is the one that has just failed."""

    patch.setattr(entry, "other_node", lambda w, _t, r: w.requests[r].node)


def syns_come_late(patch: pytest.MonkeyPatch) -> None:
    """The first retransmission after 1.1 s."""
    first, second, *others = build.SYN_AT_S["linear"]
    patch.setitem(build.SYN_AT_S, "linear", (first, second + 0.1, *others))


def one_more_may_wait(patch: pytest.MonkeyPatch) -> None:
    def mutant(*args: Any, **kwargs: Any) -> World:
        w = build.world_of(*args, **kwargs)
        w.config.queue_limit += 1
        return w

    patch.setattr(simulate, "world_of", mutant)


def workers_rest(patch: pytest.MonkeyPatch) -> None:
    """A worker takes the next request a fiftieth of the last one's service later."""

    def mutant(free_s: list[float], t: float, demand_s: float) -> float:
        end = pools.serve(free_s, t, demand_s)
        free_s[free_s.index(end)] += 0.02 * demand_s
        return end

    patch.setattr(pod, "serve", mutant)


def time_wait_is_short(patch: pytest.MonkeyPatch) -> None:
    """A conntrack entry ends 5 % early."""
    untrack = node.untrack

    def mutant(w: World, t: float, n: int, end_s: float) -> None:
        untrack(w, t, n, t + 0.95 * (end_s - t))

    patch.setattr(connections, "untrack", mutant)


def think_is_short(patch: pytest.MonkeyPatch) -> None:
    """Clients of a closed loop think 5 % less."""
    think_s = attempts.think_s
    patch.setattr(attempts, "think_s", lambda w, c, k: 0.95 * think_s(w, c, k))


def arrivals_are_regular(patch: pytest.MonkeyPatch) -> None:
    """Poisson arrivals come evenly."""

    def mutant(w: World, c: int, k: int, u: float) -> float:  # noqa: ARG001 - it stands in for another function.
        group = w.groups[w.clients[c].group]
        return group.count / group.rate_rps

    patch.setattr(client, "gap_s", mutant)
