"""Namespaces come and go, ours only, whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from nodeportsim.calibrate.measuring import system, testbed
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.calibrate.measuring.testbed import Bed, Role

OWN = f"{testbed.own_prefix()}-0-node" if sys.platform == "linux" else ""
HOLD = """
import sys, time
from nodeportsim.calibrate.measuring.testbed import build
with build() as bed:
    print(bed.prefix, flush=True)
    time.sleep(60)
"""


def listed(prefix: str) -> list[str]:
    return [path.name for path in testbed.NAMESPACES.glob(f"{prefix}-*")]


@pytest.fixture
def holder(machine: None) -> Iterator[tuple[subprocess.Popen[str], str]]:  # noqa: ARG001  (it skips)
    """Another process that holds a testbed, and the prefix of its namespaces."""
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.skipif(not OWN, reason="needs Linux")
def test_only_names_of_ours_whose_process_is_gone_are_leftovers() -> None:
    _, space, pid, start, number, role = OWN.split("-")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert testbed.is_leftover(f"nps-{space}-{ended.pid}-{start}-{number}-{role}")
    assert testbed.is_leftover(f"nps-{space}-{pid}-{int(start) + 1}-{number}-{role}"), (
        "the number was used again"
    )
    for other in (
        OWN,
        f"nps-{int(space) + 1}-{ended.pid}-{start}-{number}-{role}",
        f"nps-{space}-{ended.pid}-{start}-{number}-guest",
        f"my-nps-{space}-{ended.pid}-{start}-{number}-{role}",
        f"nps-{ended.pid}",
        "nps-production",
    ):
        assert not testbed.is_leftover(other), other


@pytest.mark.usefixtures("machine")
def test_namespaces_are_gone_after_the_end_and_after_an_error() -> None:
    with testbed.build() as bed:
        assert len(listed(bed.prefix)) == len(testbed.ROLES)
    assert listed(bed.prefix) == []
    with pytest.raises(ZeroDivisionError), testbed.build() as bed:
        raise ZeroDivisionError
    assert listed(bed.prefix) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_namespaces_are_gone_after_a_signal(holder: tuple[subprocess.Popen[str], str], stop: int) -> None:
    process, prefix = holder
    assert len(listed(prefix)) == len(testbed.ROLES)
    process.send_signal(stop)
    assert process.wait(30) != 0
    assert listed(prefix) == []


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(
    holder: tuple[subprocess.Popen[str], str],
) -> None:
    killed, left = holder
    foreign = f"nps-test-{os.getpid()}"
    system.run("ip", "netns", "add", foreign)
    try:
        with testbed.build() as living:
            with testbed.build():
                pass
            assert len(listed(left)) == len(testbed.ROLES), "a living run of another process stays"
            killed.kill()
            killed.wait()
            testbed.remove_leftovers()
            assert listed(left) == []
            assert len(listed(living.prefix)) == len(testbed.ROLES)
        assert (testbed.NAMESPACES / foreign).exists()
    finally:
        system.run("ip", "netns", "del", foreign)


@pytest.mark.usefixtures("machine")
def test_nothing_of_this_machines_own_network_changes() -> None:
    def state() -> str:
        return "".join(
            system.run("ip", *what.split())
            for what in ("-br link", "route show table all", "rule", "-br addr")
        )

    before = state()
    with testbed.build():
        assert state() == before
    assert state() == before


@pytest.mark.parametrize(
    ("address", "role"),
    [("10.20.0.1", "pods"), ("10.20.255.254", "pods"), ("10.22.3.4", "pods2"), ("10.23.3.4", "pods2")],
)
@pytest.mark.parametrize("source", [testbed.OUTSIDE_IP, testbed.POD_IP, "10.21.200.1", "10.130.0.9"])
def test_every_client_address_reaches_every_pod_address(
    bed: Bed, address: str, role: Role, source: str
) -> None:
    if address.startswith("10.23.") and not bed.has_overlay():
        pytest.skip("needs vxlan")
    with bed.inside(role):
        listener = socket.create_server(("", 8080))
    with bed.inside("client"):
        client = socket.socket()
    with listener, client:
        client.settimeout(5)
        client.bind((source, 0))
        client.connect((address, 8080))
        accepted, peer = listener.accept()
        with accepted:
            assert accepted.getsockname()[0] == address
            assert peer[0] == source


def test_the_overlay_sends_nothing_of_its_own(bed: Bed) -> None:
    if not bed.has_overlay():
        pytest.skip("needs vxlan")
    for role in ("node", "node2"):
        assert "PERMANENT" in bed.run(role, "ip", "neigh", "show", "dev", "vx0")


def test_a_command_that_fails_says_its_own_last_words_and_one_that_hangs_is_stopped(bed: Bed) -> None:
    with pytest.raises(system.CommandError, match="Cannot find device"):
        bed.run("node", "ip", "link", "set", "nowhere", "up")
    begun = time.monotonic()
    with pytest.raises(system.CommandError, match=r"not done within 0\.1 s"):
        bed.run("node", "sleep", "50", timeout_s=0.1)
    assert time.monotonic() - begun < 40


@pytest.mark.parametrize("lacking", ["Linux; this is Plan9", "root, or the capabilities CAP_NET_ADMIN"])
def test_without_the_means_it_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    monkeypatch.setattr(system, "missing", lambda: lacking)
    with pytest.raises(InputError, match=f"needs {lacking}"), testbed.build():
        raise AssertionError("nothing was to be built")
