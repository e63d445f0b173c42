"""How clients find out that a connection is dead, by probes, lost data or RST; streams share its fate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nodeportsim.engine.codes import CAUSES, SUCCEEDED
from nodeportsim.engine.simulate import simulate
from nodeportsim.scenario.clients import Backoff, Clients, Connections, Entry, KeepAlive, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, Event, Placement, Pods, Run, Scenario, Service

if TYPE_CHECKING:
    from nodeportsim.engine.simulate import Replication

KEEP = KeepAlive(time_s=3.0, interval_s=2.0, probes=2)
DEAD_AFTER_S = 3.0 + 2 * 2.0
NEVER = Timeouts(request_s=0.0)
ROUND_ROBIN = Entry(ttl_s=0.0)
SHORTLY_S = 1e-6


def kept(
    instants_s: tuple[float, ...],
    connections: Connections,
    *events: Event,
    work_s: float = 0.001,
    timeouts: Timeouts | None = None,
    retry: Retry | None = None,
) -> Replication:
    """One client; its first connection enters by node-1, the next one by node-2, where the pod stands."""
    return simulate(
        Scenario(
            cluster=Cluster(nodes=2),
            service=Service(replicas=1),
            pods=Pods(
                workers=200,
                service_time=Law(dist="constant", mean_s=work_s),
                placement=(Placement(name="web-0", node="node-2"),),
            ),
            clients=(
                Clients(
                    count=1,
                    arrivals="trace",
                    trace_s=instants_s,
                    entry=ROUND_ROBIN,
                    connections=connections,
                    timeouts=timeouts or Timeouts(request_s=0.5),
                    retry=retry or Retry(),
                ),
            ),
            events=events,
            run=Run(duration_s=instants_s[-1] + 1.0),
        ),
        engine="simpy",
        trace=1000,
    )


def pool(**fields: Any) -> Connections:
    return Connections.model_validate({"reuse": "lifo", "size": 1, "idle_timeout_s": 0.0} | fields)


def off(at_s: float, for_s: float | None = None) -> Event:
    return Event(at_s=at_s, fault="power-off", node="node-1", for_s=for_s)


def ends(result: Replication) -> list[str]:
    return ["succeeded" if c == SUCCEEDED else CAUSES[c] for c in result.trace["cause"]]


@pytest.mark.parametrize(
    ("after_s", "end"), [(-SHORTLY_S, "request_timeout"), (SHORTLY_S, "succeeded")], ids=["before", "after"]
)
def test_a_dead_idle_connection_is_dropped_after_the_time_and_all_probes(after_s: float, end: str) -> None:
    """Before that the first request on it waits for its own time-out."""
    connections = pool(keep_alive=KEEP)
    heard_s = kept((1.0,), connections).trace["ended_s"][0]
    result = kept((1.0, heard_s + DEAD_AFTER_S + after_s), connections, off(2.0))
    assert ends(result) == ["succeeded", end]


def test_without_probes_nothing_tells_that_an_idle_connection_is_dead() -> None:
    assert ends(kept((1.0, 100.0), pool(), off(2.0))) == ["succeeded", "request_timeout"]


def test_a_connection_that_answers_its_probes_is_kept() -> None:
    result = kept((1.0, 100.0), pool(keep_alive=KEEP))
    assert ends(result) == ["succeeded"] * 2
    assert result.nodes[:, 0].sum() == 1


def test_a_node_that_is_back_before_the_last_probe_answers_it() -> None:
    """Cut from 2 to 7 s, probes at 4, 6, 8 s would be one too few to be answered."""
    cut = Event(at_s=2.0, fault="cut", node="node-1", for_s=5.0)
    result = kept((1.0, 20.0), pool(keep_alive=KeepAlive(time_s=3.0, interval_s=2.0, probes=3)), cut)
    assert ends(result) == ["succeeded"] * 2
    assert result.nodes[:, 0].sum() == 1


@pytest.mark.parametrize(("keep", "end"), [(KeepAlive(), "reset"), (KEEP, "succeeded")])
def test_a_probe_that_meets_a_rebooted_node_gets_the_reset_that_a_request_would_get(
    keep: KeepAlive, end: str
) -> None:
    result = kept((1.0, 6.0), pool(keep_alive=keep), off(2.0, 1.0))
    assert ends(result) == ["succeeded", end]


def test_a_request_that_waits_for_its_answer_is_told_after_the_time_and_all_probes() -> None:
    """It was sent and acknowledged, and without a time-out it would wait for ever."""
    result = kept((1.0, 10.0), pool(keep_alive=KEEP), off(11.0), work_s=5.0, timeouts=NEVER)
    assert ends(result) == ["succeeded", "connection_lost"]
    assert result.trace["ended_s"][1] == pytest.approx(10.0 + DEAD_AFTER_S, abs=1e-9)
    hung = kept((1.0, 10.0), pool(), off(11.0), work_s=5.0, timeouts=NEVER)
    assert hung.in_flight == 1


@pytest.mark.parametrize("retries", [15, 8])
def test_data_that_nobody_acknowledges_are_given_up_after_the_sum_of_the_retransmission_times(
    retries: int,
) -> None:
    """tcp(7): with the default of 15 that is 924.6 s."""
    result = kept((1.0, 3.0), pool(tcp_retries=retries), off(2.0), timeouts=NEVER)
    rto_s, sum_s = 0.2, 0.0
    for _ in range(retries + 1):
        sum_s += rto_s
        rto_s = min(2.0 * rto_s, 120.0)
    assert sum_s == pytest.approx(924.6 if retries == 15 else 102.2)
    assert ends(result) == ["succeeded", "connection_lost"]
    assert result.trace["ended_s"][1] == pytest.approx(3.0 + sum_s, abs=1e-9)


def test_the_user_time_out_takes_the_place_of_the_retransmissions() -> None:
    limits = Timeouts(request_s=0.0, user_s=7.0)
    result = kept((1.0, 3.0), pool(), off(2.0), timeouts=limits)
    assert ends(result) == ["succeeded", "connection_lost"]
    assert result.trace["ended_s"][1] == pytest.approx(10.0, abs=1e-9)


def test_data_that_arrive_at_last_are_not_given_up() -> None:
    """Cut for 5 s: the retransmission 6.4 s after the sending gets through; the answer takes longer still."""
    cut = Event(at_s=2.0, fault="cut", node="node-1", for_s=5.0)
    limits = Timeouts(request_s=0.0, user_s=7.0)
    result = kept((1.0, 3.0), pool(), cut, work_s=0.9, timeouts=limits)
    assert ends(result) == ["succeeded"] * 2
    assert result.trace["ended_s"][1] == pytest.approx(3.0 + 6.4 + 0.9, abs=0.01)


def test_tcp_sends_no_probes_while_it_sends_data_again() -> None:
    """The keep-alive would be through 7 s after the last sign of life: tcp_retries2 decides all the same."""
    result = kept((1.0, 3.0), pool(keep_alive=KEEP, tcp_retries=8), off(2.0), timeouts=NEVER)
    assert ends(result) == ["succeeded", "connection_lost"]
    assert result.trace["ended_s"][1] == pytest.approx(3.0 + 102.2, abs=1e-9)


def test_data_of_a_stream_that_timed_out_are_no_reason_to_give_up_a_connection_that_works_again() -> None:
    cut = Event(at_s=2.0, fault="cut", node="node-1", for_s=5.0)
    limits = Timeouts(request_s=1.0, user_s=10.0)
    result = kept((1.0, 3.0, 30.0), pool(streams=2), cut, timeouts=limits)
    assert ends(result) == ["succeeded", "request_timeout", "succeeded"]
    assert result.nodes[:, 0].sum() == 1


def test_all_requests_of_a_client_go_to_one_pod_for_the_life_of_its_connection() -> None:
    result = simulate(
        Scenario(
            cluster=Cluster(nodes=3),
            service=Service(replicas=9),
            clients=(Clients(count=1, rate_rps=50.0, connections=pool(streams=100)),),
            run=Run(duration_s=10.0),
        ),
        engine="simpy",
    )
    assert sorted(result.pods[:, 0]) == [0] * 8 + [1]
    assert sorted(result.pods[:, 1]) == [0] * 8 + [result.succeeded]


def test_a_new_connection_with_streams_serves_all_who_waited_for_it_at_once() -> None:
    """One opens it and the others wait for its SYN-ACK, not for its first answer."""
    result = kept((1.0,) * 50, pool(streams=100), work_s=0.2)
    assert ends(result) == ["succeeded"] * 50
    assert result.nodes[:, 0].sum() == 1
    assert result.trace["ended_s"].max() < 1.0 + 2 * 0.2


@pytest.mark.parametrize(
    ("fields", "limits", "lost_s", "cause"),
    [
        ({}, Timeouts(request_s=2.0), 6.0 + 2.0, "request_timeout"),
        ({"keep_alive": KEEP}, Timeouts(request_s=30.0), 5.0 + DEAD_AFTER_S, "connection_lost"),
        ({}, Timeouts(request_s=30.0, user_s=4.0), 6.0 + 4.0, "connection_lost"),
        ({"keep_alive": KEEP}, Timeouts(request_s=30.0, user_s=4.0), 6.0 + 4.0, "connection_lost"),
    ],
    ids=["request time-out", "keep-alive", "user time-out", "the first of both"],
)
def test_all_streams_of_a_dead_connection_wait_for_the_first_limit_and_share_one_new_connection(
    fields: dict[str, Any], limits: Timeouts, lost_s: float, cause: str
) -> None:
    """The last answer is heard at 5 s, then the node dies, and from 6 s on requests go into silence."""
    sent_s = tuple(6.0 + 0.01 * k for k in range(50))
    retry = Retry(attempts=9, backoff=Backoff(initial_s=0.0, jitter="none"))
    result = kept(
        (4.5, *sent_s), pool(streams=100, **fields), off(5.5), work_s=0.5, timeouts=limits, retry=retry
    )
    first_s = float(result.trace["ended_s"][0])
    if cause == "connection_lost":
        lost_s += (first_s - 5.0) if lost_s == 5.0 + DEAD_AFTER_S else 0.0
        assert result.attempt_errors[CAUSES.index(cause)] == 50
        assert result.nodes[:, 0].tolist() == [1, 1]
        assert result.trace["ended_s"][1:] == pytest.approx([lost_s + 0.5] * 50, abs=0.01)
    else:  # Nothing closes the connection: a request that has timed out is sent over it again.
        assert set(ends(result)[1:]) == {cause}
        assert result.nodes[:, 0].tolist() == [1, 0]


def test_a_reset_ends_all_streams_of_a_connection_at_once() -> None:
    """Four wait for their answers when their node reboots; the fifth request gets RST for all of them."""
    result = kept((1.0, 2.0, 2.1, 2.2, 2.3, 5.0), pool(streams=10), off(2.5, 1.0), work_s=0.9, timeouts=NEVER)
    assert ends(result) == ["succeeded"] + ["reset"] * 5
    assert result.trace["ended_s"][1:] == pytest.approx([5.0] * 5, abs=0.01)


def test_an_http2_ping_finds_a_hung_process_and_a_tcp_probe_does_not() -> None:
    hang = Event(at_s=2.0, fault="pod-hang", pod="web-0", for_s=30.0)
    limits = Timeouts(request_s=0.0)
    tcp, ping = (
        kept((1.0, 3.0), pool(keep_alive=KEEP, streams=streams), hang, timeouts=limits) for streams in (1, 2)
    )
    assert ends(tcp) == ["succeeded", "succeeded"]
    assert ends(ping) == ["succeeded", "connection_lost"]
