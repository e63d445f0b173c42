"""Causes around a death: a node or a pod is gone, and somebody does not know it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nodeportsim.diagnose.case import listed, share
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
    cluster, clocks = case.scenario.cluster, case.scenario.cluster.control_plane
    dead = sum(end.node == event.node for end in case.usable)
    spread = any(group.entry.policy in SPREAD for group in case.clients)
    entering = 1 / cluster.nodes if spread else 0.0
    lost = failure.failing_ratio(entering, dead / max(len(case.usable), 1))
    outage = recovery.Outage(
        detection=failure.Detection(
            lease_s=clocks.lease_renew_interval_s,
            pass_s=clocks.node_monitor_period_s,
            grace_s=case.grace_s,
            propagation_s=clocks.watch_latency_s,
        ),
        sync_wait_s=cluster.proxy.min_sync_period_s,
    )
    words = f"{event.node} dies at {event.at_s:g} s with {dead} of {len(case.usable)} endpoints"
    window = f"rules are stale for {outage.min_s:.3g} to {outage.max_s:.3g} s, mean {outage.mean_s:.3g} s"
    ways = f"meanwhile {share(lost)} of the new connections fail"
    numbers = {"failing_ratio": lost, "outage_mean_s": outage.mean_s, "outage_max_s": outage.max_s}
    waiting = _late(case, outage.mean_s)
    late = [f"of those that begin to connect in it, {share(waiting)} wait for more than 1 s after it"]
    late = late if waiting > 0 else []
    return risk(words, window, ways, *late, numbers=numbers | {"late_ratio": waiting}, node=event.node or "")


def _late(case: Case, outage_s: float) -> float:
    """Share of the clients of an outage that are late: by their SYN schedule and their connect time-out."""
    if not case.clients:
        return recovery.late_ratio(1.0, outage_s)
    group = case.clients[0]
    return recovery.late_ratio(
        1.0, outage_s, SYN_AT_S[group.syn_schedule], group.timeouts.connect_s or math.inf
    )


def _retransmissions(case: Case) -> Evidence:
    give_up_s = recovery.give_up_s()
    events = case.events("power-off", "cut", "cut-nodes")
    down = [node.name for node in case.nodes.values() if not node.ready]
    what = (
        f"a sender without time-out tries 15 times, {give_up_s:.0f} "
        "s in all; conntrack keeps the way to the dead pod"
    )
    numbers = {"give_up_s": give_up_s}
    if events:
        return fits(
            f"{events[0].node} falls silent at {events[0].at_s:g} s",
            what,
            numbers=numbers,
            node=events[0].node or "",
        )
    if down:
        return fits(f"not Ready: {listed(down)}", what, numbers=numbers, node=down[0])
    return possible(what, numbers=numbers)


def _ipvs_removed(case: Case) -> Evidence:
    if case.mode is None:
        return possible("the mode of kube-proxy is not known (--set proxy.mode=...)")
    if case.mode != "ipvs":
        return against(f"mode {case.mode} leaves established connections alone")
    return fits("mode ipvs: a connection whose real server is deleted is dropped in silence, without RST")


def _reboot(case: Case) -> Evidence:
    back = [event for event in case.events("power-off") if event.for_s]
    if back:
        first = back[0]
        return fits(
            f"{first.node} is back {first.for_s:g} s after its power-off: it answers old flows with RST",
            node=first.node or "",
        )
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
