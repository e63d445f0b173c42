"""Rolling updates, scaling, drains: how many pods there are at each instant, and what their clients lose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nodeportsim.engine.codes import CAUSES, PHASES, SUCCEEDED
from nodeportsim.engine.deployment import fenceposts
from nodeportsim.engine.simulate import Replication, simulate
from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.tables import tables
from nodeportsim.scenario.clients import Clients, Connections, Entry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import (
    Balancer,
    Check,
    Cluster,
    Event,
    Placement,
    Pods,
    Probe,
    Rollout,
    Run,
    Scenario,
    Service,
)

AT_S = 5.0
UPDATE = Event(at_s=AT_S, fault="rolling-update")


def scenario(*events: Event, replicas: int = 4, duration_s: float = 40.0, **fields: Any) -> Scenario:
    """Four nodes, new connections; a new pod is ready 1 to 2 s after it was made."""
    pods = {"startup_s": 1.0, "readiness_probe": Probe(period_s=1.0), "on_term": "exit"}
    clients = {"rate_rps": 100.0, "timeouts": Timeouts(connect_s=3.0, request_s=3.0)}
    return Scenario(
        cluster=Cluster(nodes=4),
        service=Service(replicas=replicas),
        pods=Pods(**pods | fields.pop("pods", {})),
        clients=(Clients(**clients | fields.pop("clients", {})),),
        events=events,
        run=Run(duration_s=duration_s),
        **fields,
    )


def run(*events: Event, **fields: Any) -> Replication:
    number = fields.pop("number", 0)
    return simulate(scenario(*events, **fields), number, engine="simpy", trace=100_000)


def steps(result: Replication) -> list[tuple[float, int, int, int]]:
    """(Instant, pods that are not deleted, of the old revision, of the new one) after every such change."""
    old, new, found = int((~born(result)).sum()), 0, []
    for t, what, _ in result.milestones:
        if what not in ("pod created", "pod deleted"):
            continue
        new += what == "pod created"
        old -= what == "pod deleted"
        found.append((t, old + new, old, new))
    return found


def born(result: Replication) -> Any:
    """Which pods were made within the run: they come last."""
    made = sum(what == "pod created" for _, what, _ in result.milestones)
    return np.arange(len(result.pods)) >= len(result.pods) - made


def failures(result: Replication) -> dict[str, int]:
    return {name: int(n) for name, n in zip(CAUSES, result.errors, strict=True) if n}


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "posts"),
    [
        ("25%", "25%", 4, (1, 1)),
        ("25%", "25%", 10, (3, 2)),
        ("25%", "25%", 3, (1, 0)),
        ("25%", "25%", 0, (0, 1)),
        ("100%", 0, 7, (7, 0)),
        (0, "10%", 5, (0, 1)),  # Not both are 0.
        (2, 9, 5, (2, 5)),
    ],
)
def test_a_share_of_surge_is_rounded_up_and_one_of_unavailable_pods_down(
    surge: int | str, unavailable: int | str, replicas: int, posts: tuple[int, int]
) -> None:
    assert fenceposts(Rollout(max_surge=surge, max_unavailable=unavailable), replicas) == posts


def test_three_pods_are_replaced_one_by_one_as_the_deployment_controller_does() -> None:
    """As `kubectl describe deployment` says: up to 1; down to 2, up to 2; down to 1, up to 3; down to 0."""
    found = steps(run(UPDATE, replicas=3))

    assert [(old, new) for _, _, old, new in found] == [(3, 1), (2, 1), (2, 2), (1, 2), (1, 3), (0, 3)]
    # Each step but the first waits for a new pod to be ready: 1 s of start, then its probe.
    assert found[1][0] - found[0][0] > 1.0
    assert found[1][0] == found[2][0]


@pytest.mark.parametrize(("surge", "unavailable"), [("25%", "25%"), (0, 1), ("100%", 0), (3, 0), (0, "50%")])
def test_a_rollout_never_has_more_pods_than_its_surge_nor_fewer_available_ones_than_it_must(
    surge: int | str, unavailable: int | str
) -> None:
    rollout = Rollout(max_surge=surge, max_unavailable=unavailable, min_ready_s=0.5)
    result = run(UPDATE, replicas=8, pods={"rollout": rollout}, duration_s=60.0)
    most, least = fenceposts(rollout, 8)
    old = 8
    ready: list[float] = []
    for t, what, name in result.milestones:
        if what == "pod deleted":
            old -= 1
            available = old + sum(
                made_s + 1.0 + 0.5 <= t for made_s in ready
            )  # Start-up and minReady at least.
            assert available >= 8 - least, (t, name)
        elif what == "pod created":
            ready.append(t)
        assert old + len(ready) <= 8 + most

    assert old == 0
    assert len(ready) == 8
    assert [what for _, what, _ in result.milestones].count("complete") == 1


def test_new_pods_have_addresses_of_their_own_and_the_old_ones_serve_nobody_any_more() -> None:
    result = run(UPDATE)
    done_s = next(t for t, what, _ in result.milestones if what == "complete")
    late = result.trace[result.trace["born_s"] > done_s]

    assert len(result.pods) == 8
    assert set(late["pod"]) == {4, 5, 6, 7}
    assert not result.lasting.any()


# A deletion is in the rules of all nodes after the slice's delay, the watch (twice its mean at most), the
# period of kube-proxy and a sync; once more, since a sync that has begun does not know of it.
KNOWN_S = 1.0 + 0.02 + 2 * (1.0 + 0.1)


@pytest.mark.parametrize("on_term", ["exit", "drain"])
def test_a_rolling_update_loses_no_new_connection_if_pre_stop_is_longer_than_the_news_travels(
    on_term: str,
) -> None:
    result = run(UPDATE, replicas=8, pods={"on_term": on_term, "pre_stop_s": KNOWN_S})

    assert result.failed == 0
    assert result.succeeded == result.offered


def test_without_pre_stop_an_exit_loses_the_work_in_hand_and_what_comes_before_the_rules_know() -> None:
    result = run(UPDATE, replicas=8, pods={"service_time": Law(dist="constant", mean_s=0.2)})
    gone_s = {name: t for t, what, name in result.milestones if what == "pod gone"}
    lost = result.trace[result.trace["cause"] != SUCCEEDED]

    # Resets of what was in the pods, RST while the address lives, silence then; all near some pod's end.
    assert set(failures(result)) <= {"reset", "refused", "connect_timeout", "request_timeout"}
    assert failures(result)["reset"] > 0
    assert failures(result)["connect_timeout"] > 0
    ends_s = np.array(list(gone_s.values()))[:, np.newaxis] - 0.1
    since_s = lost["born_s"] - ends_s
    assert (((since_s > -0.3) & (since_s < KNOWN_S)).any(axis=0)).all()


@pytest.mark.long
def test_failed_requests_of_a_rolling_update_fall_with_the_pre_stop_sleep_to_none() -> None:
    sleeps_s, runs = (0.0, 0.1, 0.4, 1.0, KNOWN_S), 8
    lost = np.array(
        [
            [run(UPDATE, number=n, duration_s=20.0, pods={"pre_stop_s": s}).failed for n in range(runs)]
            for s in sleeps_s
        ]
    )
    rises = np.diff(lost, axis=0)
    errors = rises.std(axis=1, ddof=1) / np.sqrt(runs)

    assert (rises.mean(axis=1) <= 4 * errors).all()
    assert lost[0].mean() > 5
    assert (lost[-1] == 0).all()


def test_the_last_pod_of_a_recreated_deployment_serves_while_it_terminates() -> None:
    """One replica, no surge: for some seconds there is none but the terminating one (KEP-1669)."""
    alone = {"rollout": Rollout(max_surge=0, max_unavailable=1)}
    lossless = run(UPDATE, replicas=1, pods=alone | {"pre_stop_s": 8.0})
    lossy = run(UPDATE, replicas=1, pods=alone)

    assert lossless.failed == 0
    assert failures(lossy)["refused"] > 0


def test_scaling_up_makes_the_missing_pods_late_and_they_get_their_share_of_new_connections_only() -> None:
    kept = {"clients": {"connections": Connections(reuse="lifo"), "count": 50}}
    up = Event(at_s=AT_S, fault="scale", replicas=8, late_s=3.0)
    fresh, stuck = run(up), run(up, **kept)
    made = [t for t, what, _ in fresh.milestones if what == "pod created"]
    late = fresh.trace[fresh.trace["born_s"] > AT_S + 3.0 + 2.0 + KNOWN_S]["pod"]

    assert made == [AT_S + 3.0] * 4
    assert fresh.lasting.tolist() == [True] * 4 + [False] * 4
    share = float(np.mean(late >= 4))
    assert abs(share - 0.5) < 4 * np.sqrt(0.25 / len(late))
    assert stuck.pods[4:, 1].sum() == 0


def deleted(*events: Event, number: int = 0, **fields: Any) -> list[str]:
    result = run(*events, number=number, duration_s=20.0, clients={"rate_rps": 5.0}, **fields)
    return [name for _, what, name in result.milestones if what == "pod deleted"]


@pytest.mark.parametrize("number", range(4))
def test_scaling_down_takes_unready_pods_first_then_crowded_nodes_then_the_youngest(number: int) -> None:
    nodes = ("node-1", "node-1", "node-2", "node-3", "node-4")
    placed = tuple(Placement(name=f"web-{p}", node=n, ready=p != 2) for p, n in enumerate(nodes))
    down, up = Event(at_s=12.0, fault="scale", replicas=3), Event(at_s=2.0, fault="scale", replicas=8)
    crowded = deleted(down, number=number, replicas=5, pods={"placement": placed})
    young = deleted(up, Event(at_s=12.0, fault="scale", replicas=5), number=number)

    assert crowded[0] == "web-2"
    assert crowded[1] in ("web-0", "web-1")
    assert len(crowded) == 2
    # Two pods on each node; those made within the run go first.
    assert set(young) <= {"web-4", "web-5", "web-6", "web-7"}
    assert len(young) == 3


def test_old_pods_that_are_not_ready_go_first_but_no_more_than_the_missing_new_ones_allow() -> None:
    placed = tuple(Placement(name=f"web-{p}", node=f"node-{p + 1}", ready=p == 0) for p in range(4))
    rollout = Rollout(max_surge=1, max_unavailable=2)
    found = steps(run(UPDATE, pods={"placement": placed, "rollout": rollout}, clients={"rate_rps": 5.0}))

    # Of 5 pods 2 must be available and 1 has yet to start: 2 old ones go. Then two new ones may come.
    assert [step for step in found if step[0] == AT_S][-1] == (AT_S, 5, 2, 3)


def test_each_kept_connection_of_a_removed_pod_breaks_once() -> None:
    down = Event(at_s=AT_S, fault="scale", replicas=1)
    clients = {"connections": Connections(reuse="lifo"), "count": 60, "rate_rps": 600.0}
    work = {"service_time": Law(dist="constant", mean_s=0.001), "pre_stop_s": KNOWN_S}
    result = run(down, pods=work, clients=clients, duration_s=20.0)
    removed = result.pods[~result.lasting]

    assert len(removed) == 3
    assert result.pods[:, 0].sum() == 60 + removed[:, 0].sum()
    # Only what was on its way or in the pod at the end of the process is lost.
    assert result.failed <= 3
    assert set(failures(result)) <= {"reset"}


def drained(kind: str, stay_s: float) -> Replication:
    """Node-4 has no pod and forwards only; twenty of eighty clients come by way of it."""
    placed = tuple(Placement(name=f"web-{p}", node=f"node-{p + 1}") for p in range(3))
    clients = {
        "entry": Entry(policy="balancer"),
        "connections": Connections(reuse="lifo", idle_timeout_s=0.0),
        "count": 80,
        "rate_rps": 160.0,
    }
    return run(
        Event(at_s=10.0, fault="drain", node="node-4", stay_s=stay_s),
        replicas=3,
        pods={"placement": placed},
        clients=clients,
        balancer=Balancer(check=Check(kind=kind, interval_s=1.0, timeout_s=0.5, rise=2, fall=3)),
    )


def test_each_connection_that_only_passes_through_a_removed_node_breaks_and_no_new_one_if_healthz_told() -> (
    None
):
    result = drained("healthz", stay_s=5.0)
    through = int(result.nodes[3, 0])

    assert through == 20
    assert failures(result) == {"request_timeout": through}
    taken_out_s = next(t for t, what, name in result.milestones if what == "node taken out")
    stopped_s = next(t for t, what, name in result.milestones if what == "node stopped")
    assert 10.0 + 2.0 + 0.5 <= taken_out_s <= 10.0 + 3.0 + 0.5 < stopped_s == 15.0


def test_without_healthz_the_balancer_sends_new_connections_to_a_removed_node_until_its_checks_fail() -> None:
    result = drained("node-port", stay_s=0.0)

    assert failures(result)["request_timeout"] >= 20
    assert failures(result)["connect_timeout"] > 0


def test_the_pods_of_a_drained_node_are_replaced_elsewhere_and_terminate_gracefully() -> None:
    drain = Event(at_s=AT_S, fault="drain", node="node-2", for_s=10.0)
    result = run(drain, replicas=8, pods={"pre_stop_s": KNOWN_S})
    late = result.trace[result.trace["born_s"] > 12.0]

    assert result.failed == 0
    assert {name for _, what, name in result.milestones if what == "pod deleted"} == {"web-1", "web-5"}
    assert {8, 9} <= set(late["pod"])
    assert set(late["node"]) == {0, 1, 2, 3}  # It still forwards, and stays.


def test_the_phase_of_a_planned_change_lasts_until_it_is_complete() -> None:
    result = run(UPDATE, pods={"pre_stop_s": 8.0})
    done_s = next(t for t, what, _ in result.milestones if what == "complete")
    gone_s = [t for t, what, _ in result.milestones if what == "pod gone"]
    rows = result.trace["born_s"]
    offered = result.phases[:, 0]

    assert len(gone_s) == 4
    assert done_s == max(gone_s)
    assert offered[PHASES.index("before")] == int((rows < AT_S).sum())
    assert offered[PHASES.index("during")] == int(((rows >= AT_S) & (rows < done_s)).sum())


def test_balance_is_measured_over_the_pods_that_stood_from_the_beginning_to_the_end() -> None:
    grown = [run(Event(at_s=AT_S, fault="scale", replicas=6), number=n, duration_s=15.0) for n in range(3)]
    still = [run(UPDATE, duration_s=15.0)]
    summary = summarise(grown)

    assert len(summary["pods"]) == 4
    shares = [r.pods[:4, 0] / r.pods[:4, 0].mean() for r in grown]
    mean = float(np.mean([share.max() for share in shares]))
    assert summary["balance"]["pods"]["max_over_mean"]["estimate"] == pytest.approx(mean)
    assert len(tables(grown)["pods"]) == 3 * 6
    # After a rolling update there is none: who was there longest would be the hottest.
    nothing = summarise(still)
    assert nothing["balance"]["pods"]["max_over_mean"]["estimate"] is None
    assert len(nothing["pods"]) == 8
    assert nothing["pods"][0]["share"]["reason"]


def test_a_pod_that_stood_for_a_part_of_the_run_is_as_busy_as_it_was_while_it_stood() -> None:
    result = run(UPDATE, duration_s=60.0, pods={"service_time": Law(dist="constant", mean_s=0.05)})
    expected = 100.0 * 0.05 / (4 * 8)

    # 300 requests or more a pod: their number spreads by 6 %.
    assert result.pod_utilisation[4:] == pytest.approx([expected] * 4, rel=0.25)
    assert result.pod_utilisation[:4] == pytest.approx([expected] * 4, rel=0.5)  # Some seconds of sixty.
