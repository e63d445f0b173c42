"""Source ports in a scenario: off unless declared, refused where they would not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nodeportsim.errors import InputError
from nodeportsim.scenario.read import read

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "apiVersion: nodeportsim/v1\nkind: Scenario\n"


def scenario(folder: Path, text: str) -> str:
    path = folder / "ports.yaml"
    path.write_text(HEAD + text)
    return str(path)


def test_ports_are_not_modelled_unless_declared(tmp_path: Path) -> None:
    plain = read(scenario(tmp_path, "name: plain\n"))
    assert plain.clients[0].source_ports is None
    assert plain.cluster.snat is None
    assert plain.cluster.proxy.port_reuse == "new"


def test_one_field_declares_them_with_linuxs_defaults(tmp_path: Path) -> None:
    path = scenario(tmp_path, "clients: {count: 1}\n")
    given = read(path, sets=["clients.sourcePorts.hold=0s", "cluster.snat.evictClosing=false"])
    bound, snat = given.clients[0].source_ports, given.cluster.snat
    assert bound is not None
    assert snat is not None
    assert (bound.count, bound.pick, bound.hold_s, bound.hosts) == (28_232, "random", 0.0, None)
    assert (snat.ports, snat.evict_closing) == (64_512, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clients: {sourcePorts: {count: 0}}", "count"),
        ("clients: {sourcePorts: {count: 70000}}", "count"),
        ("clients: {sourcePorts: {pick: odd}}", "pick"),
        ("clients: {sourcePorts: {hold: 60}}", "needs a unit"),
        ("clients: {sourcePorts: {hosts: 0}}", "hosts"),
        ("cluster: {snat: {ports: 0}}", "ports"),
        ("cluster: {proxy: {portReuse: never}}", "portReuse"),
        # 1,000 addresses x 3 nodes x 28,232 ports; 100 nodes x 10 pods x 64,512.
        (
            "clients: {count: 1000, sourcePorts: {}}",
            "1,000 addresses x 3 nodes; let the clients share `hosts`",
        ),
        ("cluster: {nodes: 100, snat: {}}\nservice: {replicas: 10}", "100 nodes x 10 pods; study fewer"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        read(scenario(tmp_path, text + "\n"))
    assert message in str(refusal.value)


def test_clients_that_share_a_host_fit(tmp_path: Path) -> None:
    read(scenario(tmp_path, "clients: {count: 1000, sourcePorts: {hosts: 2}}\n"))
