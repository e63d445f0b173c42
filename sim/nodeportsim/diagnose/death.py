"""Causes around a death: a node or a pod is gone, and somebody does not know it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nodeportsim.diagnose.case import happens, listed, share
from nodeportsim.diagnose.cause import Cause, Evidence, against, fault, fits, possible, risk
from nodeportsim.theory import failure, recovery

if TYPE_CHECKING:
    from nodeportsim.diagnose.case import Case
    from nodeportsim.scenario.events import Event

SYN_AT_S = {"linear": failure.SYN_LINEAR_S, "doubling": failure.SYN_DOUBLING_S}
SPREAD = ("dns-round-robin", "random", "list")  # Entry policies that use every node alike.


def _stale(case: Case) -> Evidence:
    events = case.events("power-off", "cut")
    if events:
        return _dying(case, events[0])
    dead = {node.name for node in case.nodes.values() if not node.ready}
    gone = {pod.name for pod in case.selected if not pod.ready}
    stale = [end for end in case.endpoints if end.ready and (end.node in dead or end.name in gone)]
    if stale:
        lost = failure.failing_ratio(0.0, len(stale) / len(case.usable))
        why = f"ready in the slice, and its pod or node is not: {listed(end.name for end in stale)}"
        rate = f"{share(lost)} of the new connections that enter by a live node go there"
        return fault(
            why,
            rate,
            numbers={"failing_ratio": lost},
            pod=stale[0].name,
        )
    if case.cluster is None:
        return against("no node dies in the scenario")
    if case.nodes and case.knows_endpoints:
        return possible("no endpoint stands on a node known to be dead; the file is one instant")
    return possible("the file does not show nodes and endpoints together")


def _dying(case: Case, event: Event) -> Evidence:
    """Say what a declared power-off costs while nobody knows of it."""
    struck, cluster = case.struck(event), case.scenario.cluster
    dead = sum(end.node in struck for end in case.usable)
    spread = any(group.entry.policy in SPREAD for group in case.clients)
    entering = len(struck) / cluster.nodes if spread else 0.0
    lost = failure.failing_ratio(entering, dead / max(len(case.usable), 1))
    outage = _outage(case)
    waiting = _late(case, outage.mean_s)
    why = [
        f"{happens(case, event)}, with {dead} of {len(case.usable)} endpoints",
        f"rules are stale for {outage.min_s:.3g} to {outage.max_s:.3g} s, mean {outage.mean_s:.3g} s",
        f"meanwhile {share(lost)} of the new connections fail",
    ]
    if waiting > 0:
        why.append(f"of those that begin to connect in it, {share(waiting)} wait for more than 1 s after it")
    numbers = {"failing_ratio": lost, "outage_mean_s": outage.mean_s, "outage_max_s": outage.max_s}
    return risk(*why, numbers=numbers | {"late_ratio": waiting}, node=struck[0])


def _outage(case: Case) -> recovery.Outage:
    clocks = case.scenario.cluster.control_plane
    return recovery.Outage(
        detection=failure.Detection(
            lease_s=clocks.lease_renew_interval_s,
            pass_s=clocks.node_monitor_period_s,
            grace_s=case.grace_s,
            propagation_s=clocks.watch_latency_s,
        ),
        sync_wait_s=case.scenario.cluster.proxy.min_sync_period_s,
    )


def _late(case: Case, outage_s: float) -> float:
    """Share of the clients of an outage that are late: by their SYN schedule and their connect time-out."""
    if not case.clients:
        return recovery.late_ratio(1.0, outage_s)
    group = case.clients[0]
    return recovery.late_ratio(
        1.0, outage_s, SYN_AT_S[group.syn_schedule], group.timeouts.connect_s or math.inf
    )


def _retransmissions(case: Case) -> Evidence:
    connections = [group.connections.tcp_retries for group in case.clients]
    retries = max(connections, default=recovery.RETRIES2)
    give_up_s = recovery.give_up_s(retries)
    what = (
        f"a sender without time-out tries {retries} times, {give_up_s:.0f} s in all; "
        "conntrack keeps the way to the dead pod"
    )
    numbers = {"give_up_s": give_up_s}
    events = case.events("power-off", "cut", "cut-in", "cut-out", "cut-nodes")
    down = [node.name for node in case.nodes.values() if not node.ready]
    if events:
        return fits(happens(case, events[0]), what, numbers=numbers, node=case.struck(events[0])[0])
    if down:
        return fits(f"not Ready: {listed(down)}", what, numbers=numbers, node=down[0])
    return possible(what, numbers=numbers)


def _record(case: Case) -> Evidence:
    """A record that DNS gives out while its node is dead."""
    asking = [group for group in case.clients if group.entry.policy == "dns-round-robin"]
    events = case.events("power-off", "cut", "cut-in", "cut-out")
    down = [node.name for node in case.nodes.values() if not node.ready]
    if case.clients and not asking:
        return against("the clients do not find nodes by DNS")
    if asking and not events:
        return against("the clients find nodes by DNS, and no node of the scenario dies")
    if asking:
        entry, struck = asking[0].entry, case.struck(events[0])
        ratio = len(struck) / case.scenario.cluster.nodes
        until = "nobody withdraws the record"
        if entry.withdraw_s is not None:
            until = f"the record is withdrawn after {entry.withdraw_s:g} s, caches keep it for its TTL"
        why = f"DNS gives {share(ratio)} of the clients a dead node; {until}"
        return fits(happens(case, events[0]), why, numbers={"dead_entry_ratio": ratio}, node=struck[0])
    if down:
        return fits(f"not Ready, and perhaps still in DNS: {listed(down)}", node=down[0])
    return possible("objects do not show what DNS answers")


def _ipvs_removed(case: Case) -> Evidence:
    if case.mode is None:
        return possible("the mode of kube-proxy is not known (--set proxy.mode=...)")
    if case.mode != "ipvs":
        return against(f"mode {case.mode} leaves established connections alone")
    return fits("mode ipvs: a connection whose real server is deleted is dropped in silence, without RST")


def _reboot(case: Case) -> Evidence:
    back = [event for event in case.events("power-off") if event.for_s or event.down_s]
    if back:
        after = f"back after {back[0].for_s or back[0].down_s:g} s, it answers old flows with RST"
        return fits(happens(case, back[0]), after, node=case.struck(back[0])[0])
    return possible("a node that boots anew answers old flows with RST")


CAUSES = (
    Cause(
        name="stale-endpoints",
        title="Rules still name endpoints that are dead",
        symptoms=("timeout", "1s", "3s", "some-nodes"),
        rank=2,
        weigh=_stale,
        where="each node",
        check=(
            "{{ iptables-save -t nat || true; nft list table ip kube-proxy || "
            "true; ipvsadm -Ln || true; }} 2>/dev/null | grep -c {pod_ip}"
        ),
        shows="above 0 after the pod is gone",
        fix=(
            "shorter node-monitor-grace-period; clients with a connect "
            "time-out of 1 s and a retry, which chooses anew"
        ),
        source="kubernetes#97112; openshift/hypershift#9279",
    ),
    Cause(
        name="dns-record",
        title="DNS still names a node that is dead",
        symptoms=("timeout", "3s", "some-nodes"),
        rank=3,
        weigh=_record,
        where="client",
        check=(
            "for node in $(getent ahostsv4 NAME | cut -d' ' -f1 | sort "
            "-u); do nc -vz -w 3 $node {node_port}; done"
        ),
        shows="a time-out, or no route to host, at one of the addresses ({node_ip})",
        fix=(
            "withdraw records of nodes that fail a check, with a short TTL; clients that try the next "
            "address: a connect time-out of 1 s and a retry, or happy eyeballs"
        ),
        source="nodejs/node#54359, axios#4535; RFC 8305",
    ),
    Cause(
        name="retransmissions",
        title="A dead peer is only noticed when TCP gives up",
        symptoms=("hang",),
        rank=10,
        weigh=_retransmissions,
        where="client",
        check="ss -tnoi dst {node_ip}; sysctl net.ipv4.tcp_retries2",
        shows="timer:(on,...) with a backoff above 5; tcp_retries2 = 15",
        fix="a request time-out, TCP_USER_TIMEOUT, keep-alive probes, or tcp_retries2 = 8 (102 s)",
        source="kubernetes#77903; Linux Documentation/networking/ip-sysctl.rst",
    ),
    Cause(
        name="ipvs-removed",
        title="ipvs drops established connections of a removed pod in silence",
        symptoms=("hang", "deploy-errors"),
        rank=10,
        weigh=_ipvs_removed,
        where="node {node}",
        check="ipvsadm -Lnc | grep {pod_ip}; ipvsadm -Ln | grep {pod_ip}",
        shows="connections whose real server is in the first and not in the second",
        fix=(
            "graceful termination (kube-proxy 1.13 and newer sets "
            "weight 0), a request time-out, or mode nftables"
        ),
        source="kubernetes#71358; k8s:pkg/proxy/ipvs/graceful_termination.go",
    ),
    Cause(
        name="rebooted-node",
        title="A node that came back answers old flows with RST",
        symptoms=("reset",),
        rank=2,
        weigh=_reboot,
        where="kubectl",
        check="kubectl get events -A --field-selector reason=Rebooted",
        shows="Rebooted at the time of the resets",
        fix="nothing is wrong: retry on a new connection",
        source="RFC 9293 section 3.10.7.1",
    ),
)
