"""A node's dump under a scenario: the engine prices the walk that was read, until the first sync."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodeportsim.engine.rules import Rules
from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.dump import Dump, read_dump
from nodeportsim.kubeproxy.dump_rows import find
from nodeportsim.scenario.dumped import fields, notes
from nodeportsim.scenario.profile import load_profile
from nodeportsim.scenario.spec import Background, Cluster, Proxy, Scenario, Service

FOLDER = Path(__file__).parents[1] / "golden" / "dumps"
SERVICE = Service(namespace="lab", name="svc-00003")


def node() -> Any:
    """What the prices are written to."""
    return SimpleNamespace()


def saved(text: str | None = None) -> Dump:
    path = FOLDER / "10x3.iptables-save"
    return read_dump("iptables-save", text or path.read_text(), path.name)


def over(dump: Dump) -> Scenario:
    """The fields of a dump as a scenario."""
    found = fields(dump, Scenario(service=SERVICE))
    background = found["cluster.background"]
    proxy = {name: found[f"cluster.proxy.{name}"] for name in ("mode", "localhostNodePorts", "firstPosition")}
    cluster = {"background": background, "proxy": proxy}
    return Scenario.model_validate({"cluster": cluster, "service": SERVICE.model_dump(by_alias=True)})


def test_a_dump_gives_the_background_and_the_place() -> None:
    """Ten NodePort Services of three endpoints: nine others."""
    dump = saved()
    scenario = over(dump)
    assert scenario.cluster.background == Background(
        services=9, ports=9, node_ports=9, endpoints_per_service=3
    )
    place = dump.position(find(dump, "lab/svc-00003"), "nodeport")
    assert scenario.cluster.proxy == Proxy(mode="iptables", first_position=place)


@pytest.mark.parametrize("endpoint", [1, 2, 3])
def test_the_engines_first_price_is_that_of_the_walk_read(endpoint: int) -> None:
    dump, profile = saved(), load_profile("kernel-6.18")
    scenario, made = over(dump), node()
    Rules(scenario, profile).program(made, 3, 1, 0.999, scenario.cluster.proxy.first_position)
    walked = dump.follow(find(dump, "lab/svc-00003"), "nodeport", endpoint=endpoint).walk
    expected_s = profile.walk_s("iptables-nft", "nodeport", walked)
    assert made.walk_s + endpoint * made.endpoint_s == pytest.approx(expected_s, rel=1e-12)


def test_the_next_sync_draws_a_place() -> None:
    """A position of 1..10 is drawn by u; the declared one is for the first sync alone."""
    scenario, profile = over(saved()), load_profile("kernel-6.18")
    rules, first, last, known = Rules(scenario, profile), node(), node(), node()
    rules.program(first, 3, 1, 0.0)
    rules.program(last, 3, 1, 0.999)
    rules.program(known, 3, 1, 0.0, 10)
    assert first.walk_s < last.walk_s == known.walk_s


def test_what_has_no_price_is_told() -> None:
    text = (FOLDER / "10x3.iptables-save").read_text()
    foreign = "-A PREROUTING -s 192.168.0.0/16 -j ACCEPT\n-A PREROUTING -i eth0 -j ACCEPT\n"
    mutant = saved(text.replace("-A PREROUTING", foreign + "-A PREROUTING", 1))
    told = list(notes(mutant, Scenario(service=SERVICE)))
    assert any(note.startswith("2 rules of other software") for note in told)
    assert any("interface in eth0" in note for note in told)
    plain = list(notes(saved(), Scenario(service=SERVICE)))
    assert not any("other software" in note or "priced are" in note for note in plain)


def test_a_service_the_dump_does_not_hold_is_an_error_that_names_others() -> None:
    with pytest.raises(InputError, match="lab/svc-00033 is not in the dump"):
        fields(saved(), Scenario(service=Service(namespace="lab", name="svc-00033")))


def test_a_node_port_finds_the_service_where_names_are_missing() -> None:
    path = FOLDER / "10x3.ipvs.txt"
    dump = read_dump("ipvsadm", path.read_text(), path.name)
    port = next(port for port in dump.view.ports if port.node_port)
    known = fields(dump, Scenario(service=Service(node_port=port.node_port)))
    assert known["cluster.background"]["nodePorts"] == 9
    assert known["cluster.proxy.mode"] == "ipvs"
    assert fields(dump, Scenario())["cluster.background"]["nodePorts"] == 10


def test_a_first_position_beyond_the_chain_is_refused() -> None:
    """Two other NodePorts and its own: three places."""
    background = Background(services=2, node_ports=2)
    Scenario(cluster=Cluster(background=background, proxy=Proxy(first_position=3)))
    with pytest.raises(ValueError, match=r"1\.\.3"):
        Scenario(cluster=Cluster(background=background, proxy=Proxy(first_position=4)))
