"""What a client denies itself: retries, attempts, nodes. One client, one mechanism, traces by hand.

Times are so that a failure costs 0.1 s (no SYN-ACK from a node that is cut off) or nothing (refused: a
Service without endpoints); everything else takes less than a millisecond.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pytest
from closed_forms import STILL
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from strategies import may_eject, scenarios

from nodeportsim.engine.codes import CAUSES, SUCCEEDED
from nodeportsim.engine.draws import BACKOFF, IDEMPOTENT, uniform2
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.scenario.clients import Backoff, Clients, Connections, Entry, Hedge, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.restraint import Breaker, Budget, Ejection
from nodeportsim.scenario.spec import Cluster, Event, Pods, Run, Scenario, Service

FAILING_S = 0.1  # A connect that finds nobody.
AT_ONCE = Backoff(initial_s=0.001, factor=1.0, jitter="none")
OK, TIMED_OUT, OPEN = "ok", "connect_timeout", "circuit_open"


def play(
    instants: tuple[float, ...],
    cuts: dict[str, tuple[tuple[float, float], ...]],
    nodes: int = 1,
    **clients: Any,
) -> Replication:
    """Let one client ask at these instants, while nodes are cut off from so long to so long."""
    fields: dict[str, Any] = {
        "count": 1,
        "arrivals": "trace",
        "trace_s": instants,
        "entry": Entry(policy="list"),
        "timeouts": Timeouts(connect_s=FAILING_S, request_s=FAILING_S),
    }
    events = [
        Event(at_s=start_s, fault="cut", node=node, for_s=end_s - start_s)
        for node, times in cuts.items()
        for start_s, end_s in times
    ]
    scenario = Scenario(
        cluster=Cluster(nodes=nodes, network=STILL),
        service=Service(replicas=nodes, external_traffic_policy="Local"),
        pods=Pods(workers=64, service_time=Law(dist="constant", mean_s=0.0001)),
        clients=(Clients.model_validate(fields | clients),),
        events=tuple(events),
        run=Run(duration_s=max(instants) + 1.0),
    )
    return simulate(scenario, engine="simpy", trace=10_000)


def refused(rate_rps: float, duration_s: float, retry: Retry, **clients: Any) -> Replication:
    """Let one client ask at equal intervals a Service without endpoints: every attempt is refused at once."""
    # In the middle of the intervals, so that no instant lies on the border of a slice.
    instants = tuple((k + 0.5) / rate_rps for k in range(int(rate_rps * duration_s)))
    scenario = Scenario(
        cluster=Cluster(nodes=1, network=STILL),
        service=Service(replicas=0),
        clients=(Clients(count=1, arrivals="trace", trace_s=instants, retry=retry, **clients),),
        run=Run(duration_s=duration_s),
    )
    return simulate(scenario, engine="simpy", trace=10_000)


def ends(result: Replication) -> list[str]:
    """How each request ended, in order of arrival."""
    return [OK if row["cause"] == SUCCEEDED else CAUSES[row["cause"]] for row in by_arrival(result)]


def by_arrival(result: Replication) -> Any:
    return np.sort(result.trace, order=["born_s", "client", "number"])


# -- fixed and decorrelated waits ----------------------------------------------------------------


def waits_s(result: Replication) -> Any:
    """What each refused request took: its back-offs, and some microseconds."""
    rows = by_arrival(result)
    return rows["ended_s"] - rows["born_s"]


def test_factor_one_without_jitter_is_a_fixed_wait() -> None:
    backoff = Backoff(initial_s=0.5, factor=1.0, jitter="none")
    result = refused(10.0, 2.0, Retry(attempts=4, backoff=backoff))

    assert waits_s(result) == pytest.approx(3 * 0.5, abs=1e-3)


def test_the_first_decorrelated_wait_is_uniform_between_initial_and_three_times_initial() -> None:
    backoff = Backoff(initial_s=1.0, max_s=100.0, jitter="decorrelated")
    found = waits_s(refused(500.0, 2.0, Retry(attempts=2, backoff=backoff)))

    assert len(found) == 1000
    assert found.min() >= 1.0
    assert found.max() <= 3.0 + 1e-3
    # Uniform on [1, 3]: mean 2, variance 4/12. Four standard errors, two-sided 6e-5.
    assert abs(found.mean() - 2.0) < 4 * np.sqrt(4 / 12 / 1000)
    assert stats.kstest(found, "uniform", (1.0, 2.0)).pvalue > 1e-4


def test_a_decorrelated_wait_goes_on_from_the_last_one_and_ends_at_max() -> None:
    base_s, most_s, seed = 1.0, 4.0, Run().seed
    backoff = Backoff(initial_s=base_s, max_s=most_s, jitter="decorrelated")
    found = waits_s(refused(20.0, 5.0, Retry(attempts=5, backoff=backoff)))
    expected = []
    for number in range(100):
        last_s, total_s = base_s, 0.0
        for k in range(4):
            u = uniform2(seed, 0, BACKOFF, 0, number, k)[0]
            last_s = min(most_s, base_s + u * (3 * last_s - base_s))
            total_s += last_s
        expected.append(total_s)

    assert found == pytest.approx(expected, abs=1e-3)
    assert max(expected) > 3 * most_s  # Some did meet the bound.


def test_a_run_drains_until_the_longest_decorrelated_waits_are_over() -> None:
    backoff = Backoff(initial_s=1.0, max_s=100.0, jitter="decorrelated")
    limits = Timeouts(connect_s=0.1, request_s=0.1)
    result = refused(100.0, 5.0, Retry(attempts=5, backoff=backoff), timeouts=limits)

    assert waits_s(result).max() > 4 * 1.0 * 2.0**3
    assert result.in_flight == 0


# -- requests that must not be sent twice --------------------------------------------------------


def tries(result: Replication) -> set[int]:
    return set(result.trace["attempts"].tolist())


NEVER_TWICE = Retry(attempts=3, idempotent_ratio=0.0, backoff=AT_ONCE)


def test_where_nothing_was_sent_a_request_that_is_not_idempotent_is_tried_again() -> None:
    assert tries(refused(10.0, 1.0, NEVER_TWICE)) == {3}
    assert tries(play((1.0, 2.0), {"node-1": ((0.5, 9.0),)}, retry=NEVER_TWICE)) == {3}
    pool = Connections(reuse="lifo", size=1)
    late = Timeouts(connect_s=0.0, request_s=0.0, pool_s=0.01)
    waiting = play((1.0, 1.1), {"node-1": ((0.5, 3.0),)}, retry=NEVER_TWICE, connections=pool, timeouts=late)
    assert waiting.attempt_errors[CAUSES.index("pool_timeout")] == 3


@pytest.mark.parametrize("cause", ["request_timeout", "rejected"])
def test_where_something_was_sent_a_request_that_is_not_idempotent_is_not_tried_again(cause: str) -> None:
    pods = (
        Pods(service_time=Law(dist="constant", mean_s=9.0), workers=64)
        if cause == "request_timeout"
        else Pods(service_time=Law(dist="constant", mean_s=9.0), workers=1, overload="reject", queue_limit=0)
    )
    for share, expected in ((0.0, {1}), (1.0, {3})):
        retry = NEVER_TWICE.model_copy(update={"idempotent_ratio": share})
        clients = Clients(
            count=1, rate_rps=10.0, arrivals="fixed", retry=retry, timeouts=Timeouts(request_s=0.1)
        )
        scenario = Scenario(
            cluster=Cluster(nodes=1, network=STILL),
            service=Service(replicas=1),
            pods=pods,
            clients=(clients,),
            run=Run(duration_s=1.0),
        )
        result = simulate(scenario, engine="simpy", trace=100)
        rows = result.trace[result.trace["cause"] == CAUSES.index(cause)]
        assert len(rows) >= 9
        assert set(rows["attempts"].tolist()) == expected


def test_whether_a_request_is_idempotent_is_drawn_once_for_all_its_attempts() -> None:
    share = 0.3
    retry = Retry(attempts=4, idempotent_ratio=share, backoff=AT_ONCE)
    scenario = Scenario(
        cluster=Cluster(nodes=1, network=STILL),
        service=Service(replicas=1),
        pods=Pods(service_time=Law(dist="constant", mean_s=50.0), workers=64),
        clients=(
            Clients(count=2, rate_rps=50.0, arrivals="fixed", retry=retry, timeouts=Timeouts(request_s=0.1)),
        ),
        run=Run(duration_s=1.0, drain_s=60.0),
    )
    rows = simulate(scenario, engine="simpy", trace=100).trace
    for row in rows:
        client, number = int(row["client"]), int(row["number"])
        again = uniform2(scenario.run.seed, 0, IDEMPOTENT, client, number, 0)[0] < share
        assert row["attempts"] == (4 if again else 1)
    assert len(rows) == 50


def test_a_request_that_is_not_idempotent_is_not_hedged() -> None:
    share, number = 0.3, 100
    scenario = Scenario(
        cluster=Cluster(nodes=1, network=STILL),
        service=Service(replicas=1),
        pods=Pods(service_time=Law(dist="constant", mean_s=0.5), workers=64),
        clients=(
            Clients(
                count=1,
                rate_rps=float(number),
                arrivals="fixed",
                retry=Retry(idempotent_ratio=share),
                hedge=Hedge(max=1, delay_s=0.1),
            ),
        ),
        run=Run(duration_s=1.0),
    )
    result = simulate(scenario, engine="simpy")
    draws = [uniform2(scenario.run.seed, 0, IDEMPOTENT, 0, k, 0)[0] for k in range(result.offered)]

    # All take longer than the delay.
    assert 0 < result.hedges == sum(u < share for u in draws) < result.offered


# -- retry budgets -------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 5, 10, 1000])
def test_throttling_stops_retries_at_the_failure_that_leaves_half_of_the_tokens(most: int) -> None:
    # f failures leave most - f tokens; the first f with most - f <= most / 2 is not followed by a retry.
    budget = Budget(kind="tokens", max_tokens=most)
    attempts = 100 if most < 1000 else 99
    result = refused(1.0, 20.0, Retry(attempts=attempts, backoff=AT_ONCE, budget=budget))
    stopping = ceil(most / 2)
    found = by_arrival(result)["attempts"].cumsum().tolist()

    if most < 1000:
        assert found == [stopping + k for k in range(20)]
    else:
        assert found[:6] == [99, 198, 297, 396, 495, 500]
    # A request that used up its attempts was not refused.
    assert result.budget_refusals == sum(tried < attempts for tried in by_arrival(result)["attempts"])


@pytest.mark.parametrize(("successes", "tries"), [(20, 1), (21, 2)])
def test_tokens_come_back_a_tenth_for_each_success(successes: int, tries: int) -> None:
    # Of 10 tokens 4 requests take 2 + 2 + 1 + 1: 4 are left. Another failure costs one, and there must be
    # more than 5 after it: 4 + 0.1 s - 1 > 5, so s > 20.
    instants = (1.0, 2.0, 3.0, 4.0, *(6.0 + 0.1 * k for k in range(successes)), 20.0)
    cuts = {"node-1": ((0.5, 5.5), (19.5, 21.0))}
    budget = Budget(kind="tokens", max_tokens=10, success_tokens=0.1)
    rows = by_arrival(play(instants, cuts, retry=Retry(attempts=2, backoff=AT_ONCE, budget=budget)))

    assert rows["attempts"][:4].tolist() == [2, 2, 1, 1]
    assert set(rows["cause"][4:-1]) == {SUCCEEDED}
    assert rows["attempts"][-1] == tries


def test_tokens_never_exceed_their_maximum() -> None:
    instants = (*(0.1 * k for k in range(50)), 6.0)
    budget = Budget(kind="tokens", max_tokens=4, success_tokens=1.0)
    rows = by_arrival(
        play(instants, {"node-1": ((5.5, 7.0),)}, retry=Retry(attempts=9, backoff=AT_ONCE, budget=budget))
    )

    assert rows["attempts"][-1] == 2  # 4 - 1 = 3 is above 2, 3 - 1 is not.


def test_without_a_budget_three_attempts_are_three_times_the_load_and_ten_per_cent_make_it_1_1() -> None:
    # SRE book, chapter 21: "from 3x to 1.1x", when everything fails.
    bare = refused(100.0, 20.0, Retry(attempts=3, backoff=AT_ONCE))
    budget = Budget(kind="ratio", ratio=0.1, min_per_second=0)
    bound = refused(100.0, 20.0, Retry(attempts=3, backoff=AT_ONCE, budget=budget))

    assert bare.attempts == 3 * bare.offered
    # Every tenth request completes the price of a retry, and a slice of a second holds ten prices.
    assert bound.attempts == pytest.approx(1.1 * bound.offered) == 2200
    assert bound.budget_refusals == bound.offered  # Every request ends by a refusal, retried or not.


def test_the_reserve_adds_min_per_second_in_every_window_and_no_more() -> None:
    ratio, rate, window_s, duration_s = 0.1, 5, 10.0, 40.0
    budget = Budget(kind="ratio", ratio=ratio, min_per_second=rate, window_s=window_s)
    result = refused(100.0, duration_s, Retry(attempts=3, backoff=AT_ONCE, budget=budget))
    retries = result.attempts - result.offered

    assert retries <= ratio * result.offered + rate * window_s * ceil(duration_s / window_s)
    assert retries > ratio * result.offered + rate * window_s
    # A client that begins has the whole reserve: two retries each for the first 25 requests.
    first = by_arrival(result)["attempts"]
    assert first[:25].tolist() == [3] * 25


def test_a_budget_of_nothing_is_no_retry() -> None:
    budget = Budget(kind="ratio", ratio=0.0, min_per_second=0)
    result = refused(10.0, 2.0, Retry(attempts=3, backoff=AT_ONCE, budget=budget))

    assert result.attempts == result.offered == result.budget_refusals


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=60),
    st.sampled_from((0.2, 0.5, 1.0)),
    st.integers(0, 1),
)
@settings(max_examples=30, deadline=None)
def test_the_balance_is_what_the_last_ten_slices_paid_in_and_took_out(
    places: list[int], ratio: float, per_second: int
) -> None:
    # Requests fail at once; a slice is 0.1 s, and instants lie well inside one.
    instants = tuple(0.1 * place + 0.05 for place in sorted(places))
    budget = Budget(kind="ratio", ratio=ratio, min_per_second=per_second, window_s=1.0)
    clients = Clients(
        count=1,
        arrivals="trace",
        trace_s=instants,
        retry=Retry(attempts=2, backoff=AT_ONCE, budget=budget),
    )
    scenario = Scenario(
        cluster=Cluster(nodes=1, network=STILL),
        service=Service(replicas=0),
        clients=(clients,),
        run=Run(duration_s=31.0),
    )
    rows = by_arrival(simulate(scenario, engine="simpy", trace=100))
    expected, moves = [], [(place, ratio) for place in sorted(places)]
    for at, place in enumerate(sorted(places)):
        # All that arrive at one instant have paid in before the first of them has failed.
        paid = [amount for when, amount in moves if place - 10 < when <= place]
        granted = per_second * 1.0 + sum(paid) >= 1.0 - 1e-9
        expected.append(2 if granted else 1)
        if granted:
            moves.append((place, -1.0))
        assert at < len(rows)

    assert rows["attempts"].tolist() == expected


# -- circuit breaker -----------------------------------------------------------------------------

BREAKER = Breaker(failures=2, open_s=3.0)


def test_a_breaker_opens_lets_one_probe_pass_and_closes_as_counted_by_hand() -> None:
    # Failures end at 1.1, 2.1, 3.1; the third is one too many: open until 6.1. The probe of 7.0 fails at 7.1:
    # open until 10.1. The cable is back at 10.0, the probe of 11.0 answers, and the circuit is closed.
    instants = tuple(float(k) for k in range(1, 14))
    result = play(instants, {"node-1": ((0.5, 10.0),)}, breaker=BREAKER)

    assert ends(result) == [TIMED_OUT] * 3 + [OPEN] * 3 + [TIMED_OUT] + [OPEN] * 3 + [OK] * 3
    rows = by_arrival(result)
    stopped = rows[rows["cause"] == CAUSES.index(OPEN)]
    assert (stopped["ended_s"] == stopped["born_s"]).all()
    assert result.attempts == result.offered - 6  # What the breaker stopped never went out,
    assert result.attempt_errors[CAUSES.index(OPEN)] == 6  # but it is counted as a failure of its cause.


def test_a_success_ends_the_row_of_failures() -> None:
    cuts = {"node-1": ((0.5, 2.5), (3.5, 5.5))}
    result = play((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), cuts, breaker=BREAKER)

    assert ends(result) == [TIMED_OUT, TIMED_OUT, OK, TIMED_OUT, TIMED_OUT, OK]


def test_a_half_open_breaker_lets_as_many_pass_as_it_has_probes_and_closes_after_as_many_successes() -> None:
    cuts = {"node-1": ((0.5, 4.0),)}
    for probes in (1, 2):
        breaker = BREAKER.model_copy(update={"probes": probes})
        result = play((1.0, 2.0, 3.0, 7.0, 7.0, 7.0, 8.0), cuts, breaker=breaker)
        assert ends(result)[3:] == [OK] * probes + [OPEN] * (3 - probes) + [OK]


def test_what_went_out_before_a_turn_means_nothing_after_it() -> None:
    # Three more go out while closed and fail by 3.15; the circuit opened at 3.1, until 6.1 and no later.
    instants = (1.0, 2.0, 3.0, 3.03, 3.04, 3.05, 6.09, 6.12)
    result = play(instants, {"node-1": ((0.5, 5.0),)}, breaker=BREAKER)

    assert ends(result)[3:] == [TIMED_OUT] * 3 + [OPEN, OK]


def test_a_request_that_meets_an_open_circuit_may_try_again_after_its_back_off() -> None:
    # Even one that is not idempotent: nothing was sent.
    backoff = Backoff(initial_s=2.0, factor=1.0, jitter="none")
    retry = Retry(attempts=3, idempotent_ratio=0.0, backoff=backoff)
    cuts = {"node-1": ((0.5, 4.0),)}
    result = play((1.0, 1.5, 1.6, 5.0), cuts, retry=retry, breaker=BREAKER)
    rows = by_arrival(result)

    # Open at 1.7 until 4.7. The retries at 3.1, 3.6, 3.7 are stopped; 5.0 is the probe, then theirs answer.
    assert ends(result) == [OK] * 4
    assert rows["attempts"].tolist() == [3, 3, 3, 1]
    assert rows["ended_s"][:3] == pytest.approx([5.1, 5.6, 5.7], abs=1e-3)
    assert result.attempt_errors[CAUSES.index(OPEN)] == 3


def test_each_client_has_a_breaker_of_its_own() -> None:
    # The instants go round the clients: client 0 asks at 1, 2, 3 and fails; client 1 asks when all is well.
    instants = (1.0, 1.6, 2.0, 2.6, 3.0, 3.6, 4.0, 4.6)
    cuts = {"node-1": tuple((k - 0.2, k + 0.4) for k in (1.0, 2.0, 3.0))}
    result = play(instants, cuts, count=2, breaker=BREAKER)
    rows = by_arrival(result)

    assert {CAUSES[k] for k in rows["cause"][rows["client"] == 0]} == {TIMED_OUT, OPEN}
    assert set(rows["cause"][rows["client"] == 1]) == {SUCCEEDED}


# -- ejection ------------------------------------------------------------------------------------

DEAD_FIRST = {"node-1": ((0.5, 90.0),)}


def test_a_node_is_ejected_for_longer_each_time_as_counted_by_hand() -> None:
    # Fails at 1.1, 2.1: away until 5.1. At 6.1, 7.1: twice as long, until 13.1. At 14.1, 15.1: until 24.1.
    ejection = Ejection(failures=2, base_s=3.0)
    result = play(tuple(float(k) for k in range(1, 26)), DEAD_FIRST, nodes=3, ejection=ejection)
    failing = [k for k, end in enumerate(ends(result), start=1) if end == TIMED_OUT]

    assert failing == [1, 2, 6, 7, 14, 15, 25]
    assert set(by_arrival(result)["node"].tolist()) == {0, 1}  # A `list` client goes on to the next one.
    assert result.ejections == 3


def test_no_ejection_is_longer_than_max() -> None:
    ejection = Ejection(failures=2, base_s=3.0, max_s=4.0)
    result = play(tuple(float(k) for k in range(1, 20)), DEAD_FIRST, nodes=3, ejection=ejection)

    # Until 5.1, then 7.1 + 4 = 11.1, then 13.1 + 4 = 17.1.
    failing = [k for k, end in enumerate(ends(result), start=1) if end == TIMED_OUT]
    assert failing == [1, 2, 6, 7, 12, 13, 18, 19]


def test_every_ten_seconds_without_ejection_forgive_one() -> None:
    ejection = Ejection(failures=1, base_s=2.0)
    # 1.1 to 3.1, 4.1 to 8.1 (twice). Then it answers; from 17.0 it does not.
    cuts = {"node-1": ((0.5, 5.0), (17.0, 40.0))}
    for begin_s, lasts_s in ((17.5, 6.0), (18.5, 4.0), (28.5, 2.0)):
        # 9.5 s after 8.1 nothing is forgiven: the third time, 3 x 2 s; after 10.5 s one; after 20.5 s both.
        asked = (begin_s + lasts_s, begin_s + lasts_s + 0.2)
        result = play((1.0, 4.0, 9.0, begin_s, *asked), cuts, nodes=3, ejection=ejection)
        assert ends(result) == [TIMED_OUT, TIMED_OUT, OK, TIMED_OUT, OK, TIMED_OUT]


def test_a_success_clears_a_node_of_its_failures() -> None:
    cuts = {"node-1": ((0.5, 1.5), (2.5, 3.5), (4.5, 9.0))}
    result = play((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), cuts, nodes=3, ejection=Ejection(failures=2))

    assert ends(result) == [TIMED_OUT, OK, TIMED_OUT, OK, TIMED_OUT, TIMED_OUT, OK]


@pytest.mark.parametrize(
    ("share", "panic", "nodes"),
    [
        (
            0.1,
            0.5,
            {1},
        ),  # One may always be ejected, and only one: it is the second node that goes on failing.
        (1.0, 0.5, {0}),  # Both are, which leaves 1 of 3 nodes, less than half: back to the head of the list.
        (1.0, 0.3, {2}),  # ... which is enough here.
    ],
)
def test_only_so_many_nodes_are_ejected_and_too_few_left_is_a_panic(
    share: float, panic: float, nodes: set[int]
) -> None:
    cuts = {"node-1": ((0.5, 90.0),), "node-2": ((0.5, 90.0),)}
    ejection = Ejection(failures=1, share_ratio=share, panic_ratio=panic)
    result = play((1.0, 2.0, 3.0, 4.0, 5.0), cuts, nodes=3, ejection=ejection)

    assert set(by_arrival(result)["node"][2:].tolist()) == nodes


def test_just_as_many_nodes_left_as_panic_asks_for_are_enough() -> None:
    cuts = {"node-1": ((0.5, 90.0),), "node-2": ((0.5, 90.0),)}
    ejection = Ejection(failures=1, share_ratio=0.5, panic_ratio=0.5)
    result = play((1.0, 2.0, 3.0), cuts, nodes=4, ejection=ejection)

    assert by_arrival(result)["node"].tolist() == [0, 1, 2]


def test_a_random_client_draws_among_the_nodes_it_keeps() -> None:
    ejection = Ejection(failures=1, base_s=100.0)
    instants = tuple(1.0 + 0.01 * k for k in range(600))
    cuts = {"node-2": ((0.5, 9.0),)}
    result = play(instants, cuts, nodes=4, entry=Entry(policy="random"), ejection=ejection)
    rows = by_arrival(result)
    ejected_s = rows["ended_s"][rows["cause"] != SUCCEEDED].min()
    after = rows["node"][rows["born_s"] > ejected_s]
    counts = np.bincount(after, minlength=4)

    assert result.ejections == 1
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]]).pvalue > 1e-4


def test_a_retry_on_the_next_node_goes_past_an_ejected_one() -> None:
    cuts = {"node-1": ((0.5, 90.0),), "node-2": ((0.5, 90.0),)}
    entry = Entry(policy="first")
    retry = Retry(attempts=2, backoff=AT_ONCE)
    bare = play((1.0, 2.0, 3.0), cuts, nodes=3, entry=entry, retry=retry)
    ejection = Ejection(failures=2, share_ratio=1.0, panic_ratio=0.0)
    result = play((1.0, 2.0, 3.0), cuts, nodes=3, entry=entry, retry=retry, ejection=ejection)

    assert ends(bare) == [TIMED_OUT] * 3
    # `first` always begins at the first node; from 3.0 on its retry knows better than the second.
    assert ends(result) == [TIMED_OUT, TIMED_OUT, OK]
    assert by_arrival(result)["node"].tolist() == [1, 1, 2]


# -- none of it ----------------------------------------------------------------------------------

PATIENT = 10_000_000


@given(scenarios())
@settings(max_examples=10, deadline=None)
def test_restraint_that_never_bites_changes_nothing(scenario: Scenario) -> None:
    def run(budget: Budget, failures: int) -> Replication:
        groups = []
        for group in scenario.clients:
            update = {
                "retry": group.retry.model_copy(update={"budget": budget}),
                "breaker": Breaker(failures=failures),
                "ejection": Ejection(failures=failures if may_eject(group.entry, group.retry) else 0),
            }
            groups.append(group.model_copy(update=update))
        changed = scenario.model_copy(update={"clients": tuple(groups)})
        return simulate(changed, engine="simpy", trace=50_000)

    plain, held = run(Budget(), 0), run(Budget(kind="ratio", min_per_second=PATIENT), PATIENT)
    for name in Replication.__dataclass_fields__:
        assert np.array_equal(getattr(plain, name), getattr(held, name)), name


def test_a_client_that_has_no_choice_among_nodes_cannot_eject_one() -> None:
    ejection = Ejection(failures=5)
    for policy in ("pinned", "own-node", "balancer", "virtual-ip", "dns-round-robin", "first"):
        with pytest.raises(ValidationError, match="has no effect"):
            Clients.model_validate({"entry": {"policy": policy}, "ejection": ejection})
    Clients(entry=Entry(policy="first"), ejection=ejection, retry=Retry(attempts=2))


def test_a_closed_loop_without_a_pause_may_not_have_a_breaker() -> None:
    with pytest.raises(ValidationError, match="asks at once"):
        Clients(loop="closed", think_time=Law(dist="constant", mean_s=0.0), breaker=BREAKER)
