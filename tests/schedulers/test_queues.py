"""The kernel's queues: whatever waits in lanes, heap and tournament comes out in one order."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.engine.build import Structs, world_of
from nodeportsim.engine.codes import ARRIVE, POD_DONE, REPLY, RETRY, SYN_AT_NODE, SYN_AT_POD
from nodeportsim.engine.compiled import kernel, machine, queues
from nodeportsim.engine.compiled.options import jit
from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.spec import Run, Scenario

CLIENTS = 5
LONG_S = 1e4
KINDS = (SYN_AT_NODE, SYN_AT_POD, REPLY, POD_DONE, RETRY)  # Three lanes, and the heap.
NOBODY = -1


@jit()
def put(w: Any, t: float, kind: int, i: int) -> None:
    machine.at(w, t, kind, i)


@jit()
def want(w: Any, t: float, c: int) -> None:
    machine.arrival(w, t, c)


@jit()
def take_next(w: Any) -> tuple[float, int, int]:
    source, least, tied = queues.earliest(w)
    if least == queues.NEVER:
        return 0.0, NOBODY, NOBODY
    if tied:
        source = queues.first_of_equals(w, least)
    kind, i = kernel.take(w, source)
    if source == queues.ARRIVALS:
        queues.replay(w, i, queues.NEVER)  # It wants nothing more.
    return queues.time_of(least), kind, i


def empty() -> Any:
    scenario = Scenario(clients=(Clients(count=CLIENTS),), run=Run(duration_s=LONG_S))
    return kernel.Kernel(world_of(scenario, 0, Structs, warmup_s=0.0, trace=0)).handle


# How far ahead something is scheduled (few values: ties), and what: a client's arrival, a kind, or a look.
delays_s = st.sampled_from((0.0, 1.0, 1.0, 2.0, 50.0))
doings = st.lists(
    st.tuples(st.just("at"), delays_s, st.sampled_from(KINDS))
    | st.tuples(st.just("arrival"), delays_s, st.integers(0, CLIENTS - 1))
    | st.tuples(st.just("take"), st.just(0.0), st.just(0)),
    max_size=120,
)


@given(doings)
@settings(max_examples=200, deadline=None)
def test_events_come_out_by_instant_then_arrivals_by_client_then_as_they_were_scheduled(
    doings: list[tuple[str, float, int]],
) -> None:
    w, now_s, number = empty(), 0.0, 0
    expected: list[tuple[float, int, int, int, int]] = []  # instant, class, order in it, kind, whose
    wanting: set[int] = set()
    for what, delay_s, which in [*doings, *[("take", 0.0, 0)] * len(doings)]:
        if what == "at":
            put(w, now_s + delay_s, which, number)
            heappush(expected, (now_s + delay_s, 1, number, which, number))
            number += 1
        elif what == "arrival" and which not in wanting:
            want(w, now_s + delay_s, which)
            wanting.add(which)
            heappush(expected, (now_s + delay_s, 0, which, ARRIVE, which))
        elif what == "take" and expected:
            now_s, first, _, kind, i = heappop(expected)
            assert take_next(w) == (now_s, kind, i)
            wanting -= {i} if first == 0 else set()
    assert take_next(w)[1] == NOBODY


def test_a_packet_that_overtakes_more_than_a_lane_allows_goes_by_way_of_the_heap() -> None:
    """`NEAR` + 1 later ones stand before it: it is not moved past them, and comes out first all the same."""
    w = empty()
    later = queues.NEAR + 1
    for i in range(later):
        put(w, 10.0 + i, REPLY, i)
    put(w, 1.0, REPLY, later)
    assert w.arrays["state"].pending == 1
    assert take_next(w) == (1.0, REPLY, later)
    put(w, 10.5, REPLY, later)  # Past all but one: still too far.
    put(w, 11.5, SYN_AT_NODE, later)
    assert w.arrays["state"].pending == 1
    came = [take_next(w) for _ in range(later + 2)]
    assert [t for t, _, _ in came] == sorted(t for t, _, _ in came)


@pytest.mark.parametrize("clients", [1, 2, 3, 64, 65, 1000])
def test_the_tournament_names_the_clients_in_order_of_their_instants(clients: int) -> None:
    scenario = Scenario(clients=(Clients(count=clients),), run=Run(duration_s=LONG_S))
    w = kernel.Kernel(world_of(scenario, 0, Structs, warmup_s=0.0, trace=0)).handle
    instants = [float(7919 * c % 1009) for c in range(clients)]
    for c, t in enumerate(instants):
        want(w, t, c)
    came = [take_next(w) for _ in range(clients)]
    assert [(t, c) for t, _, c in came] == sorted((t, c) for c, t in enumerate(instants))


@pytest.mark.parametrize("kind", [REPLY, POD_DONE], ids=["lane", "heap"])
def test_what_shares_an_instant_comes_out_as_it_was_scheduled(kind: int) -> None:
    w = empty()
    for i in range(100):
        put(w, float(i % 3), kind, i)
    came = [take_next(w) for _ in range(100)]
    assert came == sorted((float(i % 3), kind, i) for i in range(100))
