"""Entering a namespace, and the two netfilter requests."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nodeportsim.calibrate.measuring import netlink
from nodeportsim.calibrate.measuring.system import CommandError

if TYPE_CHECKING:
    from nodeportsim.calibrate.measuring.testbed import Bed


def here() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


@pytest.mark.parametrize("length", range(9))
def test_an_attribute_tells_its_length_and_is_padded_to_four_bytes(length: int) -> None:
    made = netlink._attribute(7, b"x" * length)
    assert struct.unpack_from("=HH", made) == (4 + length, 7)
    assert len(made) == 4 * ((4 + length + 3) // 4)


def test_a_namespace_is_left_again_whatever_happens_in_it(bed: Bed) -> None:
    home = here()
    with contextlib.suppress(KeyError), bed.inside("pods"):
        assert here() != home
        raise KeyError
    assert here() == home


def test_a_socket_stays_in_the_namespace_in_which_it_was_opened(bed: Bed) -> None:
    with bed.inside("pods"):
        listener = socket.create_server(("", 8080))
    with bed.inside("client"):
        client = socket.socket()
    with listener, client:
        client.settimeout(5)
        client.connect(("10.20.7.9", 8080))
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockname() == ("10.20.7.9", 8080)


def test_flushing_forgets_all_connections_of_the_namespace(bed: Bed) -> None:
    bed.run(
        "node", "iptables-legacy", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"
    )

    def known() -> int:
        with bed.inside("node"):
            return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())

    with bed.inside("client"):
        clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(5)]
    for client in clients:
        client.sendto(b"", ("10.20.0.1", 9))
        client.close()
    assert known() == 5
    with bed.inside("node"):
        netfilter = netlink.netfilter_socket()
    with netfilter:
        netlink.flush_conntrack(netfilter)
    assert known() == 0


def test_a_rule_may_name_an_accounting_object_once_it_is_made_and_making_it_again_does_no_harm(
    bed: Bed,
) -> None:
    rule = ["iptables-legacy", "-A", "INPUT", "-m", "nfacct", "--nfacct-name", "seen"]
    with pytest.raises(CommandError):
        bed.run("node", *rule)
    with bed.inside("node"):
        netfilter = netlink.netfilter_socket()
    with netfilter:
        for _ in range(2):
            netlink.create_accounting(netfilter, ["seen"])
    bed.run("node", *rule)


def test_what_netfilter_refuses_is_an_error_with_the_kernels_reason(bed: Bed) -> None:
    with bed.inside("node"):
        netfilter = netlink.netfilter_socket()
    with netfilter, pytest.raises(OSError, match="Invalid argument"):
        netlink.create_accounting(netfilter, [""])
