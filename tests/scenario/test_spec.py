"""Rules that tie fields together, and what Python may write that a file may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from nodeportsim.scenario.clients import Clients, Entry, Hedge
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.events import TARGETS
from nodeportsim.scenario.quantities import FieldError
from nodeportsim.scenario.spec import (
    Background,
    Cluster,
    Event,
    Placement,
    Pods,
    Rollout,
    Run,
    Scenario,
    Service,
)


def field_error(make: Any) -> tuple[str, str]:
    """Path and rule of the first error."""
    with pytest.raises(ValidationError) as caught:
        make()
    cause = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, FieldError)
    return ".".join(map(str, cause.path)), str(cause)


@pytest.mark.parametrize(
    ("make", "path", "words"),
    [
        (lambda: Law(dist="lognormal"), "p99", "belongs to dist: lognormal"),
        (lambda: Law(p99_s=1.0), "p99", "belongs to dist: lognormal"),
        (lambda: Law(dist="lognormal", mean_s=0.005, p99_s=0.005), "p99", "must be above the mean"),
        (lambda: Law(dist="lognormal", mean_s=0.005, p99_s=0.0746), "p99", "below 14.9 times"),
        (lambda: Background(services=2, node_ports=3), "nodePorts", "must be at most services"),
        (lambda: Cluster(nodes=2, node_names=("a",)), "nodeNames", "one entry for each of the 2 nodes"),
        (lambda: Cluster(nodes=2, node_names=("a", "a")), "nodeNames", "must be distinct"),
        (lambda: Cluster(objects="x.json"), "objects", "names a file"),
        (lambda: Clients(arrivals="trace"), "trace", "belongs to arrivals: trace"),
        (lambda: Clients(arrivals="trace", trace_s=(2.0, 1.0)), "trace", "must be in order of time"),
        (
            lambda: Event(at_s=1, fault="slow-node", node="a"),
            "factor",
            "is missing: fault: slow-node needs it",
        ),
        (lambda: Event(at_s=1, fault="cut", node="a", factor=2), "factor", "belongs to fault: slow-node"),
        (lambda: Event(at_s=1, fault="loss", node="a"), "loss", "is missing: fault: loss needs it"),
        (lambda: Event(at_s=1, fault="cut-in", node="a", loss_ratio=0.1), "loss", "belongs to fault: loss"),
        (lambda: Event(at_s=1, fault="firewall", node="a"), "answer", "is missing: fault: firewall needs it"),
        (
            lambda: Event(at_s=1, fault="conntrack-fill", node="a"),
            "entries",
            "is missing: fault: conntrack-fill needs",
        ),
        (
            lambda: Event(at_s=1, fault="pod-errors", pod="a"),
            "errors",
            "is missing: fault: pod-errors needs it",
        ),
        (
            lambda: Event(at_s=1, fault="slow-pod", node="a", factor=2),
            "fault",
            "give pod, and no node or zone",
        ),
        (lambda: Event(at_s=1, fault="scale"), "replicas", "is missing: fault: scale needs it"),
        (lambda: Event(at_s=1, fault="crash-loop", pod="a"), "alive", "is missing: fault: crash-loop needs"),
        (lambda: Event(at_s=1, fault="rolling-update", stay_s=3), "stay", "belongs to fault: drain"),
        (lambda: Event(at_s=1, fault="rolling-update", node="a"), "fault", "happens to the cluster"),
        (lambda: Event(at_s=1, fault="scale", replicas=3, for_s=9), "fault", "has no end"),
        (lambda: Event(at_s=1, fault="cut"), "fault", "give node or zone, and no pod"),
        (lambda: Event(at_s=1, fault="cut", node="a", zone="b"), "fault", "give node or zone, and no pod"),
        (
            lambda: Event(at_s=1, fault="api-outage", node="a"),
            "fault",
            "happens to the cluster: give no node",
        ),
        (
            lambda: Event(at_s=1, fault="cut", node="a", up_s=5.0),
            "down",
            "is missing: up and down go together",
        ),
        (lambda: Event(at_s=1, fault="cut", node="a", down_s=5.0), "up", "is missing"),
        (
            lambda: Event(at_s=1, fault="cut", node="a", up_s=5.0, down_s=1.0, for_s=1.0),
            "for",
            "is drawn where up and down are given",
        ),
        (lambda: Event(at_s=1, fault="cut", node="a", delay_s=1.0), "delay", "belongs to fault: proxy-lag"),
        (
            lambda: Event(at_s=1, fault="cut", node="a", flush=True),
            "flush",
            "belongs to fault: proxy-stop or proxy-restart",
        ),
        (
            lambda: Event(at_s=1, fault="lease-flap", node="a"),
            "period",
            "is missing: fault: lease-flap needs it",
        ),
        (
            lambda: Event(at_s=1, fault="proxy-lag", node="*"),
            "delay",
            "is missing: fault: proxy-lag needs it",
        ),
        (lambda: Event(at_s=1, fault="pod-hang", node="a"), "fault", "give pod, and no node or zone"),
        (
            lambda: Event(at_s=1, fault="pod-hang", node="a", pod="b"),
            "fault",
            "give pod, and no node or zone",
        ),
        (lambda: Entry(attempt_delay_s=3.0), "attemptDelay", "must be 10ms to 2s"),
        (lambda: Entry(policy="pinned", attempt_delay_s=0.25), "attemptDelay", "several addresses"),
        (
            lambda: Clients(entry=Entry(attempt_delay_s=0.25), hedge=Hedge(max=1)),
            "hedge.max",
            "cannot go with entry.attemptDelay",
        ),
        (lambda: Scenario(clients=()), "clients", "at least one group"),
        (lambda: Scenario(clients=(Clients(zone="x"),)), "clients.0.zone", "names no zone"),
        (lambda: Scenario(events=(Event(at_s=1, fault="cut", node="x"),)), "events.0.node", "names no node"),
        (
            lambda: Scenario(events=(Event(at_s=1, fault="cut", zone="*"),)),
            "events.0.zone",
            "there are zone-1",
        ),
        (
            lambda: Scenario(events=(Event(at_s=1, fault="cut", zone="zone1"),)),
            "events.0.zone",
            "did you mean zone-1?",
        ),
        (
            lambda: Scenario(events=(Event(at_s=1, fault="pod-hang", pod="x"),)),
            "events.0.pod",
            "are web-0, web-1",
        ),
        (
            lambda: Scenario(pods=Pods(placement=(Placement(name="a"),))),
            "pods.placement",
            "each of the 3 replicas",
        ),
        (
            lambda: Scenario(
                service=Service(replicas=1), pods=Pods(placement=(Placement(name="a", node="x"),))
            ),
            "pods.placement.0.node",
            "names no node",
        ),
        (
            lambda: Scenario(service=Service(replicas=2), pods=Pods(placement=(Placement(name="a"),) * 2)),
            "pods.placement",
            "its own name",
        ),
    ],
)
def test_fields_that_contradict_are_refused_and_named(make: Any, path: str, words: str) -> None:
    found, rule = field_error(make)
    assert found == path
    assert words in rule


def test_python_may_write_bare_numbers_lists_and_a_single_group() -> None:
    assert Run(duration_s=5) == Run(duration_s=5.0)
    assert Scenario(clients=[Clients(rate_rps=5)]) == Scenario(clients=Clients(rate_rps=5.0))


@pytest.mark.parametrize("value", [True, [1], {}, -1.0, 2e9, float("nan"), float("inf")])
def test_what_is_no_duration_is_refused_in_python_too(value: Any) -> None:
    with pytest.raises(ValidationError):
        Run(duration_s=value)


def test_a_scenario_is_a_value() -> None:
    assert hash(Cluster()) == hash(Cluster())
    with pytest.raises(ValidationError, match="frozen"):
        Cluster().nodes = 5


def test_pods_without_a_place_stand_round_robin() -> None:
    scenario = Scenario(cluster=Cluster(nodes=2), service=Service(name="a", replicas=3))
    assert [(pod.name, pod.node) for pod in scenario.placement] == [
        ("a-0", "node-1"),
        ("a-1", "node-2"),
        ("a-2", "node-1"),
    ]


def test_a_copy_with_other_nodes_or_replicas_places_its_pods_anew() -> None:
    scenario = Scenario(cluster=Cluster(nodes=2), service=Service(replicas=5))
    assert len(scenario.placement) == 5
    fewer = scenario.model_copy(update={"service": Service(replicas=3)})
    named = scenario.model_copy(update={"cluster": Cluster(nodes=2, node_names=("a", "b"))})

    assert [p.name for p in fewer.placement] == ["web-0", "web-1", "web-2"]
    assert [p.node for p in named.placement] == ["a", "b", "a", "b", "a"]


def test_a_placement_is_made_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    placing = Placement.__init__

    def counted(self: Placement, **kwargs: Any) -> None:
        made.append(kwargs["name"])
        placing(self, **kwargs)

    monkeypatch.setattr(Placement, "__init__", counted)
    scenario = Scenario(service=Service(name="once", replicas=4))
    assert [p.name for _ in range(3) for p in scenario.placement] == 3 * made
    assert len(made) == 4


@pytest.mark.parametrize(
    ("fault", "given"),
    [
        ("slow-node", {"factor": 1.0}),
        ("slow-node", {"factor": 2e6}),
        ("loss", {"loss_ratio": 0.0}),
        ("loss", {"loss_ratio": 1.0}),
        ("pod-errors", {"errors_ratio": 0.0}),
        ("pod-errors", {"errors_ratio": 1.1}),
        ("firewall", {"answer": "maybe"}),
        ("conntrack-fill", {"entries": 0}),
    ],
)
def test_a_fault_that_would_be_none_or_more_than_all_is_refused(fault: str, given: dict[str, Any]) -> None:
    target = {TARGETS[fault]: "a"}  # type: ignore[index]
    with pytest.raises(ValidationError, match=next(iter(given)).removesuffix("_ratio")):
        Event.model_validate({"at_s": 1.0, "fault": fault} | target | given)


def test_every_pod_may_be_meant_by_a_star_whatever_the_pods_are_called() -> None:
    event = Event(at_s=1, fault="slow-pod", pod="*", factor=2)
    assert Scenario(events=(event,)).events[0].target == "*"


@pytest.mark.parametrize("given", ["a lot", "25", "1000%", -1, 0.5, True])
def test_a_surge_is_a_number_of_pods_or_a_percentage_of_them(given: Any) -> None:
    with pytest.raises(ValidationError, match="must be a number of pods or a percentage of them"):
        Rollout(max_surge=given)
    assert Rollout(max_surge=0, max_unavailable="100%").max_unavailable == "100%"
