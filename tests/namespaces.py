"""Client, node and pods as three network namespaces of this kernel, for tests that want real packets.

The pods' side drops what it gets and the node's own answers are thrown away before any rule sees them, so one
connection attempt is one packet. Names carry the process, and what a dead process left is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX = "nodeportsim-test"
CLIENT_ADDRESS, NODE_ADDRESS, POD_ADDRESS = "172.18.2.9", "172.18.2.2", "10.244.0.100"

_SYN = """
import socket, sys
with socket.socket() as s:
    s.setblocking(False)
    s.connect_ex((sys.argv[1], int(sys.argv[2])))
"""
# One NFNL_MSG_ACCT_NEW message per name, with an acknowledgement (linux/netfilter/nfnetlink_acct.h).
_NFACCT = """
import socket, struct, sys
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as s:
    for name in sys.argv[1:]:
        data = name.encode() + b"\\0"
        attribute = struct.pack("=HH", 4 + len(data), 1) + data + b"\\0" * (-len(data) % 4)
        body = struct.pack("=BBH", 0, 0, 0) + attribute
        s.send(struct.pack("=IHHII", 16 + len(body), 7 << 8, 0x605, 1, 0) + body)
        error = struct.unpack_from("=i", s.recv(4096), 16)[0]
        if error:
            sys.exit(f"nfacct {name}: error {error}")
"""


def missing(*tools: str) -> str:
    """Say what this machine lacks; empty if nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root"
    lost = [tool for tool in ("ip", "sysctl", "nft", *tools) if shutil.which(tool) is None]
    if lost:
        return f"needs {', '.join(lost)}"
    probe = f"{PREFIX}-{os.getpid()}-probe"
    made = _done("ip", "netns", "add", probe)
    _remove(probe)
    return "" if made.returncode == 0 else "may not make network namespaces"


def _done(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=60)


class Lab:
    """The three namespaces, and what is done in them."""

    def __init__(self) -> None:
        self.client, self.node, self.pods = (
            f"{PREFIX}-{os.getpid()}-{role}" for role in ("client", "node", "pods")
        )

    def run(self, *command: str, text: str = "", inside: str = "") -> str:
        """Run a command in a namespace, the node's if none is named."""
        done = _done("ip", "netns", "exec", inside or self.node, *command, text=text)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def takes(self, *command: str, text: str = "") -> bool:
        """Whether a command works here."""
        return _done("ip", "netns", "exec", self.node, *command, text=text).returncode == 0

    def make_nfacct(self, *names: str) -> bool:
        """Create counters that rules may name, if the kernel has such."""
        return self.takes(sys.executable, "-c", _NFACCT, *names)

    def syn(self, inside: str, address: str, port: int) -> None:
        """Send one SYN, with no second one to follow."""
        self.run(sys.executable, "-c", _SYN, address, str(port), inside=inside)


def settled(read: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Read counters until the packet has come through: some count, and twice the same."""
    before: dict[str, int] = {}
    for _ in range(100):
        now = read()
        if now == before and any(now.values()):
            return now
        before = now
        time.sleep(0.005)
    return before


@contextmanager
def lab() -> Iterator[Lab]:
    """Make the namespaces, wire them, and remove them whatever happens."""
    _remove_leftovers()
    made = Lab()
    names = (made.client, made.node, made.pods)
    try:
        for name in names:
            _ip("netns", "add", name)
        _wire(made)
        yield made
    finally:
        for name in names:
            _remove(name)


def _wire(made: Lab) -> None:
    _link(made.client, CLIENT_ADDRESS, 1, made.node, NODE_ADDRESS)
    _link(made.pods, POD_ADDRESS, 3, made.node, "10.244.0.1")
    _ip("-n", made.node, "route", "add", "10.244.0.0/16", "via", POD_ADDRESS, "dev", "n3", "onlink")
    # A node has a default route too: what has none is lost before the chains of forwarded packets.
    routes = (
        (made.client, NODE_ADDRESS, "e1"),
        (made.pods, "10.244.0.1", "e3"),
        (made.node, CLIENT_ADDRESS, "n1"),
    )
    for name, gateway, device in routes:
        _ip("-n", name, "route", "add", "default", "via", gateway, "dev", device, "onlink")
    made.run("sysctl", "-qw", "net.ipv4.ip_forward=1", *(f"net.ipv4.conf.{d}.rp_filter=0" for d in _DEVICES))
    made.run("nft", "-f", "-", text=_QUIET)


_DEVICES = ("all", "default", "n1", "n3")
_QUIET = "table inet quiet { chain out { type filter hook output priority -400 ; drop ; } ; }"


def _link(end: str, end_address: str, number: int, node: str, node_address: str) -> None:
    """Join a namespace to the node's; neighbours are told, so that no packet waits for ARP."""
    ends = ((end, f"e{number}", end_address), (node, f"n{number}", node_address))
    macs = [f"02:00:00:00:00:0{number + k}" for k in range(2)]
    peer = ("peer", "name", ends[1][1], "address", macs[1], "netns", node)
    _ip("-n", end, "link", "add", ends[0][1], "address", macs[0], "type", "veth", *peer)
    for (name, device, address), other, mac in zip(ends, (ends[1], ends[0]), reversed(macs), strict=True):
        _ip("-n", name, "address", "add", f"{address}/32", "dev", device)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", device, "up")
        _ip("-n", name, "route", "add", f"{other[2]}/32", "dev", device)
        _ip("-n", name, "neigh", "replace", other[2], "lladdr", mac, "dev", device, "nud", "permanent")


def _ip(*words: str) -> None:
    done = _done("ip", *words)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _remove(name: str) -> None:
    _done("ip", "netns", "del", name)


def _remove_leftovers() -> None:
    listed = _done("ip", "netns", "list").stdout
    for name, process in re.findall(rf"^({PREFIX}-(\d+)-\w+)", listed, re.MULTILINE):
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            _remove(name)
