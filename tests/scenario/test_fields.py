"""`--set`: any unambiguous ending of a path, values as YAML, errors that list the candidates."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.scenario.fields import ITEM, KEY, apply_sets, fields, suggest

RAW: dict[str, Any] = {
    "cluster": {"nodes": 3},
    "clients": [{"rate": "5/s"}],
    "events": [{"at": "1s"}, {"at": "2s"}],
}


def after(*sets: str) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    apply_sets(raw, sets)
    return raw


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        after(text)
    return str(caught.value)


def test_an_ending_stands_for_the_only_field_that_ends_so() -> None:
    assert after("proxy.mode=ipvs")["cluster"]["proxy"] == {"mode": "ipvs"}
    assert after("replicas=6")["service"] == {"replicas": 6}
    assert after("cluster.nodes=7") == after("nodes=7")
    assert after("name=web")["name"] == "web"  # a whole path wins over the many fields that end in it


def test_the_number_of_the_only_item_may_be_left_out() -> None:
    assert after("clients.rate=9/s") == after("clients.0.rate=9/s") == after("rate=9/s")
    assert after("clients.rate=9/s")["clients"] == [{"rate": "9/s"}]
    assert after("placement.name=x")["pods"]["placement"] == [{"name": "x"}]


def test_a_list_is_set_by_number_and_grows_by_one() -> None:
    assert after("events.1.at=9s")["events"] == [{"at": "1s"}, {"at": "9s"}]
    assert after("events.2.at=9s")["events"] == [{"at": "1s"}, {"at": "2s"}, {"at": "9s"}]
    assert after("nodeNames=[a, b, c]", "cluster.nodeNames.1=d")["cluster"]["nodeNames"] == ["a", "d", "c"]


def test_later_changes_win() -> None:
    assert after("nodes=7", "nodes=8") == after("nodes=8")


def test_values_are_yaml_but_a_text_field_takes_the_text_itself() -> None:
    assert after("cluster.proxy={mode: ipvs}")["cluster"]["proxy"] == {"mode": "ipvs"}
    assert after("kubernetesVersion=1.30")["cluster"]["kubernetesVersion"] == "1.30"
    assert after("name=no")["name"] == "no"
    assert after("thresholds.latency.p99=>5ms")["thresholds"] == {"latency.p99": ">5ms"}
    assert after('thresholds={errors: "<1%"}')["thresholds"] == {"errors": "<1%"}


def test_a_field_of_an_event_gives_way_to_one_of_the_scenario() -> None:
    assert after("replicas=6")["service"] == {"replicas": 6}
    assert after("events.0.replicas=6")["events"][0]["replicas"] == 6


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("nodes", "--set must be path=value"),
        ("=3", "--set must be path=value"),
        ("mod=ipvs", "--set mod is not a field of a scenario\n  did you mean mode"),
        (
            "node=x",
            "--set node could be several fields\n  write one of pods.placement.N.node, clients.N.retry.node",
        ),
        (
            "events.at=5s",
            "--set events.at leaves open which item\n  there are 2: write the number, as in events.0.at",
        ),
        ("events.4.at=5s", "events.4.at cannot be set: events is a list of 2"),
        ("cluster.nodes.x=3", "--set cluster.nodes.x is not a field"),
        ("replicas=no", "service.replicas no is a boolean in YAML 1.1"),
        ("nodes=[", "cluster.nodes is not YAML"),
        ("nodes=", "cluster.nodes is empty"),
        ("nodes=1\n---\n2", "cluster.nodes must be one value"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_next_step(text: str, start: str) -> None:
    assert refusal(text).startswith(start)


def test_a_value_that_is_no_mapping_has_no_fields_to_set() -> None:
    with pytest.raises(InputError, match=r"cluster\.nodes cannot be set: cluster is 5"):
        apply_sets({"cluster": 5}, ["nodes=3"])


@given(st.sampled_from(fields()), st.data())
def test_every_field_can_be_set_by_its_full_path(field: Any, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 0))
    path = [{ITEM: str(number), KEY: "some.name"}.get(part, part) for part in field.pattern]
    raw: dict[str, Any] = {}
    apply_sets(raw, [f"{'.'.join(path)}='value'"])
    here: Any = raw
    for part in field.pattern:
        here = here[number if part == ITEM else "some.name" if part == KEY else part]
    assert here == ("'value'" if field.is_text else "value")


RUN = "duration, replications, seed, warmup, drain, precision, maxReplications, uncertainty"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (("cluster", "node"), "did you mean nodes?"),
        (("cluster", "proxy", "min_sync_period"), "did you mean minSyncPeriod?"),
        (("clients", 0, "timeout"), "did you mean timeouts?"),
        (("nodes",), "did you mean cluster.nodes?"),
        (("min_sync_period",), "did you mean cluster.proxy.minSyncPeriod?"),
        (("service", "serviceTime"), "did you mean pods.serviceTime?"),
        (("run", "xyz"), f"known here: {RUN}"),
    ],
)
def test_an_unknown_field_gets_a_suggestion(path: tuple[str | int, ...], hint: str) -> None:
    assert suggest(path) == hint
