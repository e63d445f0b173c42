"""DNS: how long clients stay with a record whose node is dead, and who never lets it go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from closed_forms import STILL
from pydantic import ValidationError

from nodeportsim.engine.codes import SUCCEEDED
from nodeportsim.engine.draws import RESOLVER, uniform2
from nodeportsim.engine.resolver import WATCH_S
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Backoff, Clients, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, Event, Pods, Run, Scenario, Service

NODES, CLIENTS, TTL_S, GAP_S = 5, 50, 4.0, 0.25
FAULT_S, WITHDRAW_S = 6.0, 3.0
DEAD = 1  # node-2


def asked(for_s: float | None = None, duration_s: float = 20.0, **entry: Any) -> Replication:
    """Fifty clients ask every quarter of a second; they begin, and so resolve, evenly over a TTL.

    Each is a group of its own, so that it has instants of its own. They resolve in turn, and 50 is a multiple
    of 5: without a fault every client gets the same node again and again.
    """
    groups = []
    for c in range(CLIENTS):
        begin_s = (c + 0.5) * TTL_S / CLIENTS
        count = int((duration_s - begin_s) / GAP_S)
        groups.append(
            Clients(
                name=f"client-{c}",
                count=1,
                arrivals="trace",
                trace_s=tuple(begin_s + k * GAP_S for k in range(count)),
                entry=Entry(ttl_s=TTL_S, **entry),
                timeouts=Timeouts(connect_s=0.1, request_s=0.1),
            )
        )
    scenario = Scenario(
        cluster=Cluster(nodes=NODES, network=STILL),
        service=Service(replicas=NODES, external_traffic_policy="Local"),
        pods=Pods(workers=64, service_time=Law(dist="constant", mean_s=0.0001)),
        clients=tuple(groups),
        events=(Event(at_s=FAULT_S, fault="cut", node="node-2", for_s=for_s),),
        run=Run(duration_s=duration_s),
    )
    return simulate(scenario, engine="simpy", trace=100_000)


def when(result: Replication, name: str) -> float:
    return next(t for t, what, _ in result.milestones if what == name)


def holders(result: Replication, at_s: float) -> int:
    """How many clients entered by the dead node in the round of requests that begins then."""
    rows = result.trace
    asking = (rows["born_s"] >= at_s) & (rows["born_s"] < at_s + GAP_S)
    assert asking.sum() == CLIENTS
    return int((rows["node"][asking] == DEAD).sum())


def test_a_silent_node_is_withdrawn_after_its_time_and_comes_back_as_long_after_it_answers() -> None:
    result = asked(for_s=8.0, withdraw_s=WITHDRAW_S)

    assert when(result, "record withdrawn") == pytest.approx(FAULT_S + WITHDRAW_S, abs=WATCH_S)
    assert when(result, "record back") == pytest.approx(FAULT_S + 8.0 + WITHDRAW_S, abs=WATCH_S)


def test_a_node_that_is_silent_for_a_shorter_time_stays_listed() -> None:
    result = asked(for_s=WITHDRAW_S - 2 * WATCH_S, withdraw_s=WITHDRAW_S)

    assert not [what for _, what, _ in result.milestones if what.startswith("record")]


def test_after_the_withdrawal_the_share_on_the_dead_record_decays_linearly_over_the_ttl() -> None:
    # Phases are uniform: u after the withdrawal 1 - u / TTL of those who held the record still do.
    result = asked(withdraw_s=WITHDRAW_S)
    withdrawn_s = when(result, "record withdrawn")
    held = CLIENTS / NODES

    assert holders(result, withdrawn_s - 2 * GAP_S) == held
    for u in np.arange(0.0, TTL_S, GAP_S):
        # Those who ask in [u, u + gap) do so at u + gap / 2 on average; who resolves in it is on either side.
        expected = held * (1.0 - (u + GAP_S / 2) / TTL_S)
        assert abs(holders(result, withdrawn_s + u) - expected) <= 1.0
    assert holders(result, withdrawn_s + TTL_S) == 0


def test_without_withdrawal_the_dead_record_is_handed_out_for_ever() -> None:
    result = asked()

    assert holders(result, 18.0) == CLIENTS / NODES


def test_who_ignores_the_ttl_stays_with_the_dead_record_for_good() -> None:
    result = asked(withdraw_s=WITHDRAW_S, ignore_ttl_ratio=1.0)
    withdrawn_s = when(result, "record withdrawn")

    assert {holders(result, withdrawn_s + u) for u in (0.0, TTL_S, 1.5 * TTL_S)} == {CLIENTS / NODES}


def test_whether_a_client_ignores_the_ttl_is_a_draw_of_its_own() -> None:
    share = 0.4
    result = asked(withdraw_s=WITHDRAW_S, ignore_ttl_ratio=share)
    # In a first round all resolve in turn, so client c got node c modulo 5.
    deaf = {c for c in range(CLIENTS) if uniform2(Run().seed, 0, RESOLVER, c, 0, 0)[0] < share}
    late = result.trace[result.trace["born_s"] > when(result, "record withdrawn") + TTL_S + GAP_S]

    assert {int(c) for c in late["client"][late["cause"] != SUCCEEDED]} == {
        c for c in deaf if c % NODES == DEAD
    }
    assert 5 < len(deaf) < 35


def zone(entry: Entry, retry: Retry, **update: Any) -> Scenario:
    """One client that resolves for every request; three nodes, the second is cut off after 1 s."""
    clients = Clients(
        count=1,
        arrivals="trace",
        trace_s=tuple(0.1 * k + 0.05 for k in range(80)),
        entry=entry,
        retry=retry,
        timeouts=Timeouts(connect_s=0.01, request_s=0.01),
    )
    base: dict[str, Any] = {
        "cluster": Cluster(nodes=3, network=STILL),
        "service": Service(replicas=3, external_traffic_policy="Local"),
        "pods": Pods(workers=64, service_time=Law(dist="constant", mean_s=0.0001)),
        "clients": (clients,),
        "events": (Event(at_s=1.0, fault="cut", node="node-2"),),
        "run": Run(duration_s=8.0),
    }
    return Scenario.model_validate(base | update)


def test_the_records_that_are_left_take_equal_turns() -> None:
    result = simulate(zone(Entry(withdraw_s=1.0), Retry()), engine="simpy", trace=1000)
    late = result.trace[result.trace["born_s"] > when(result, "record withdrawn")]
    counts = np.bincount(late["node"], minlength=3)

    assert counts[DEAD] == 0
    assert abs(int(counts[0]) - int(counts[2])) <= 1


def test_a_retry_on_the_next_record_goes_past_one_that_is_withdrawn() -> None:
    # The first node is cut off later, and its record stays for a while: its retries go to the third.
    events = (
        Event(at_s=1.0, fault="cut", node="node-2"),
        Event(at_s=5.0, fault="cut", node="node-1"),
    )
    retry = Retry(attempts=2, backoff=Backoff(initial_s=0.001))
    result = simulate(zone(Entry(withdraw_s=2.0), retry, events=events), engine="simpy", trace=1000)
    rows = result.trace[(result.trace["born_s"] > 5.0) & (result.trace["born_s"] < 6.5)]

    assert set(rows["cause"]) == {SUCCEEDED}
    assert set(rows["attempts"]) == {1, 2}
    assert set(rows["node"]) == {2}


def test_where_no_record_is_left_all_are_handed_out() -> None:
    events = tuple(Event(at_s=1.0, fault="cut", node=f"node-{n}") for n in (1, 2, 3))
    result = simulate(zone(Entry(withdraw_s=1.0), Retry(), events=events), engine="simpy", trace=1000)
    late = result.trace[result.trace["born_s"] > 3.0]

    assert len([what for _, what, _ in result.milestones if what == "record withdrawn"]) == 3
    assert set(late["node"]) == {0, 1, 2}


def test_what_belongs_to_dns_is_refused_elsewhere_and_there_is_one_zone() -> None:
    for given in ({"withdraw_s": 3.0}, {"ignore_ttl_ratio": 0.5}):
        with pytest.raises(ValidationError, match="dns-round-robin"):
            Entry.model_validate({"policy": "random"} | given)
    groups = [Clients(name=name, entry=Entry(withdraw_s=s)) for name, s in (("a", 1.0), ("b", None))]
    with pytest.raises(ValidationError, match="the same for all"):
        Scenario.model_validate({"clients": groups})
