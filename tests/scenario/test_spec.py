"""Rules that tie fields together, and what Python may write that a file may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from nodeportsim.scenario.clients import Clients, Entry, Hedge
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.quantities import FieldError
from nodeportsim.scenario.spec import Background, Cluster, Event, Placement, Pods, Run, Scenario, Service


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
        (lambda: Entry(attempt_delay_s=3.0), "attemptDelay", "must be 10ms to 2s"),
        (lambda: Entry(policy="pinned", attempt_delay_s=0.25), "attemptDelay", "several addresses"),
        (
            lambda: Clients(entry=Entry(attempt_delay_s=0.25), hedge=Hedge(max=1)),
            "hedge.max",
            "cannot go with entry.attemptDelay",
        ),
        (lambda: Event(at_s=1, fault="cut"), "fault", "give node, and no pod"),
        (lambda: Event(at_s=1, fault="pod-hang", node="a"), "fault", "give pod, and no node"),
        (lambda: Event(at_s=1, fault="pod-hang", node="a", pod="b"), "fault", "give pod, and no node"),
        (lambda: Scenario(clients=()), "clients", "at least one group"),
        (lambda: Scenario(clients=(Clients(zone="x"),)), "clients.0.zone", "names no zone"),
        (lambda: Scenario(events=(Event(at_s=1, fault="cut", node="x"),)), "events.0.node", "names no node"),
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
