"""The ways to have kube-proxy's rules in a kernel: load, change, clear, and whether this machine can.

A *backend* is a mode and the tool that loads it: `iptables-legacy` and `iptables-nft` take the same text.
Times include the start of the process, as kube-proxy pays it. ``none`` and ``conntrack`` are the two
baselines: no rules at all, and one rule that only makes the kernel follow connections.
"""

from __future__ import annotations

import tempfile
import time
from typing import TYPE_CHECKING

from nodeportsim.calibrate.measuring import netlink
from nodeportsim.calibrate.measuring.system import CommandError
from nodeportsim.kubeproxy import write_iptables, write_ipvs, write_nftables

if TYPE_CHECKING:
    from collections.abc import Collection

    from nodeportsim.calibrate.measuring.testbed import Bed
    from nodeportsim.kubeproxy.concrete import View
    from nodeportsim.kubeproxy.walk import Mode

BACKENDS: dict[str, Mode] = {
    "iptables-legacy": "iptables",
    "iptables-nft": "iptables",
    "nftables": "nftables",
    "ipvs": "ipvs",
}
BASELINES = ("none", "conntrack")
LONGEST_LOAD_S = 180.0
"""A load that takes longer is given up, and its size left out: they grow with the square of the Services."""

_EMPTY = "*mangle\nCOMMIT\n*filter\nCOMMIT\n*nat\nCOMMIT\n"
_FOLLOW = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
_FOLLOW_NFT = (
    "add table ip follow\nadd chain ip follow forward { type filter hook forward priority 0 ; }\n"
    "add rule ip follow forward ct state invalid drop\n"
)
# As kube-proxy sets them (k8s:pkg/proxy/ipvs/proxier.go); reuse mode stays 1 on kernels from 5.9 on.
_IPVS_SETTINGS = ("vs/conntrack=1", "vs/expire_nodest_conn=1", "vs/expire_quiescent_template=1")


def load(bed: Bed, backend: str, view: View) -> dict[str, float]:
    """Load rules into a node that has none; return how long each part took (s), ``full_restore`` all."""
    if backend == "ipvs":
        return _load_ipvs(bed, view)
    if backend == "nftables":
        return {"full_restore": load_text(bed, write_nftables.load(view))}
    create_accounting(bed, view)
    return {"full_restore": _restore(bed, backend, write_iptables.restore(view))}


def load_text(bed: Bed, text: str) -> float:
    """Load nftables rules that are already written; return how long it took (s)."""
    return _timed(bed, text, "nft", "-f", "-")


def change(bed: Bed, backend: str, view: View, changed: Collection[str], before: View) -> float:
    """Do what a sync does for a few changed Services; return how long the kernel's part took (s).

    In a large cluster, mode iptables leaves chains that are no longer used for later.
    """
    if backend == "ipvs":
        return _change_ipvs(bed, view, before)
    if backend == "nftables":
        return load_text(bed, write_nftables.change(view, changed, before=before))
    stale = None if view.shape.large_cluster else before
    text = write_iptables.restore_changed(view, changed, before=stale)
    return _restore(bed, backend, text, "--counters")


def clear(bed: Bed, backend: str) -> float:
    """Remove all rules; return how long it took (s)."""
    if backend == "nftables":
        return load_text(bed, "flush ruleset\n")
    if backend != "ipvs":
        return _timed(bed, _EMPTY, f"{backend}-restore", "-w")
    took_s = _timed(bed, "", "ipvsadm", "-C") + _timed(bed, _EMPTY, "iptables-legacy-restore", "-w")
    took_s += _timed(bed, "", "ipset", "destroy")
    return took_s + _timed(bed, "", "ip", "link", "del", write_ipvs.DEVICE)


def dump(bed: Bed, backend: str) -> float:
    """Read all rules back, as a small cluster's sync does in mode iptables; return how long it took (s)."""
    return _timed(bed, "", f"{backend}-save")


def follow_connections(bed: Bed) -> None:
    """Load the baseline ``conntrack``."""
    try:
        _restore(bed, "iptables-legacy", _FOLLOW)
    except CommandError:
        _timed(bed, _FOLLOW_NFT, "nft", "-f", "-")


def refusal(bed: Bed, backend: str, view: View) -> str | None:
    """Say why rules cannot be loaded, by trying; None when they can. Nothing is left loaded."""
    try:
        load(bed, backend, view)
        clear(bed, backend)
    except (CommandError, OSError) as error:
        return str(error)
    return None


def create_accounting(bed: Bed, view: View) -> None:
    """Make the counters that the rules of a view name."""
    if view.shape.rules_per_node_port > 1:
        with bed.inside("node"):
            netfilter = netlink.netfilter_socket()
        with netfilter:
            netlink.create_accounting(netfilter, write_iptables.NFACCT_OBJECTS)


def _restore(bed: Bed, backend: str, text: str, *options: str) -> float:
    return _timed(bed, text, f"{backend}-restore", "-w", "--noflush", *options)


def _timed(bed: Bed, text: str, *command: str) -> float:
    """Give a command its input and return how long it took (s), its start included."""
    # A file without a name: its text is in memory before the clock starts, and nothing can be left behind.
    with tempfile.TemporaryFile("w+") as stdin:
        stdin.write(text)
        stdin.seek(0)
        begun = time.perf_counter()
        bed.run("node", *command, stdin=stdin, timeout_s=LONGEST_LOAD_S)
        return time.perf_counter() - begun


def _load_ipvs(bed: Bed, view: View) -> dict[str, float]:
    rules = write_ipvs.write(view)
    _timed(bed, "", "ip", "link", "add", write_ipvs.DEVICE, "type", "dummy")
    _timed(bed, "", "ipvsadm", "-C")  # Loads the module, which makes the settings.
    for setting in _IPVS_SETTINGS:
        name, _, value = setting.partition("=")
        bed.set("node", f"net/ipv4/{name}", value)
    addresses = "".join(f"addr add {a}/32 dev {write_ipvs.DEVICE}\n" for a in rules.addresses)
    took_s = {
        "full_ipset": _timed(bed, rules.ipset, "ipset", "restore"),
        "full_iptables": _restore(bed, "iptables-legacy", rules.iptables),
        "full_addr": _timed(bed, addresses, "ip", "-batch", "-"),
        "full_ipvsadm": _timed(bed, rules.ipvsadm, "ipvsadm", "-R"),
    }
    return {"full_restore": sum(took_s.values()), **took_s}


def _change_ipvs(bed: Bed, view: View, before: View) -> float:
    """Delete and add the real servers that differ."""
    old, new = (
        [line for line in write_ipvs.write(which).ipvsadm.splitlines() if line.startswith("-a ")]
        for which in (before, view)
    )
    gone = ["-d " + " ".join(line.split()[1:5]) for line in old if line not in set(new)]
    text = "\n".join([*gone, *(line for line in new if line not in set(old))]) + "\n"
    return _timed(bed, text, "ipvsadm", "-R")
