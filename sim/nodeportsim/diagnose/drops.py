"""Causes of lost packets and full tables: lumps at 1, 3, 5 s, and time-outs under load."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from nodeportsim.diagnose.case import happens, rate, share
from nodeportsim.diagnose.cause import Cause, Evidence, against, fault, fits, possible, risk
from nodeportsim.scenario.ports import SourcePorts, addresses
from nodeportsim.theory import failure, limits

if TYPE_CHECKING:
    from nodeportsim.diagnose.case import Case
    from nodeportsim.scenario.clients import Clients

SHORTEST_S = 0.01  # A port without TIME_WAIT is held for a connection at least.
NEAR = 0.5  # Of a limit: below it a burst is unlikely to fill the rest.
REUSE_MENDED = (5, 9)  # Linux: ipvs reuses a port in TIME_WAIT without dropping the SYN (kubernetes#93297).
SCHEDULES = {"linear": failure.SYN_LINEAR_S, "doubling": failure.SYN_DOUBLING_S}


def _new_rps(group: Clients) -> float:
    """New connections per second of an open group; kept ones count by what they are closed after."""
    connections = group.connections
    if connections.reuse == "none":
        return group.rate_rps
    by_age = group.count * connections.size / connections.max_age_s if connections.max_age_s else 0.0
    return max(group.rate_rps / connections.max_requests if connections.max_requests else 0.0, by_age)


def _offered_rps(case: Case) -> float | None:
    """New connections per second of all clients; None where nobody has said."""
    if not case.clients or any(group.loop == "closed" for group in case.clients):
        return None
    return sum(_new_rps(group) for group in case.clients)


def _against_limit(
    rate_rps: float | None, limit_rps: float, what: str, numbers: dict[str, float]
) -> Evidence:
    if rate_rps is None:
        return possible(what, numbers=numbers)
    numbers = numbers | {"offered_rps": rate_rps, "used_ratio": rate_rps / limit_rps}
    words = f"{rate(rate_rps)} are offered, {share(rate_rps / limit_rps)} of that"
    if rate_rps > limit_rps:
        return fault(what, words, numbers=numbers)
    return (fits if rate_rps > NEAR * limit_rps else against)(what, words, numbers=numbers)


def _conntrack(case: Case) -> Evidence:
    filled = case.events("conntrack-fill")
    if filled:
        return risk(happens(case, filled[0]), node=case.struck(filled[0])[0])
    cluster, policy = case.scenario.cluster, case.scenario.service.external_traffic_policy
    most = cluster.conntrack.max or limits.conntrack_max(cluster.cores)
    lifetime_s = cluster.conntrack.time_wait_s + case.scenario.pods.service_time.mean_s
    each = limits.entries_per_connection(cluster.nodes, policy)
    wall_rps = cluster.nodes * limits.wall_rps(most, lifetime_s) / each if lifetime_s else 0.0
    cores = f"{cluster.cores} cores" if cluster.conntrack.max is None else "as declared"
    what = (
        f"{most} entries a node ({cores}), each for {lifetime_s:.4g} s: "
        f"{rate(wall_rps)} of new connections fill the cluster's"
    )
    numbers = {"entries": float(most), "wall_rps": wall_rps}
    return _against_limit(_offered_rps(case), wall_rps, what, numbers) if wall_rps else possible(what)


def _masquerade(case: Case) -> Evidence:
    if case.is_local:
        return against("policy Local does not masquerade")
    pods, nodes = len(case.usable), case.scenario.cluster.nodes
    if not pods:
        return possible("no endpoint is known")
    ports = case.scenario.cluster.snat.ports if case.scenario.cluster.snat else limits.SNAT_PORTS
    held_s = case.scenario.cluster.conntrack.time_wait_s or SHORTEST_S
    wall_rps = nodes * pods * limits.wall_rps(ports, held_s)
    what = (
        f"{ports} ports for each of {nodes} nodes and {pods} pods, each for {held_s:g} s: "
        f"{rate(wall_rps)}; Linux from 6.5 on takes those in TIME_WAIT too"
    )
    return _against_limit(_offered_rps(case), wall_rps, what, {"wall_rps": wall_rps})


def _client_ports(case: Case) -> Evidence:
    if not case.clients:
        what = f"one address has {limits.LOCAL_PORTS} ports to a destination: 470/s with 60 s of TIME_WAIT"
        return possible(what)
    wall_rps = sum(_ports_rps(group) for group in case.clients)
    hosts = sum(addresses(group) for group in case.clients)
    what = f"the ports of {hosts} client addresses carry {rate(wall_rps)} of new connections to a node"
    return _against_limit(_offered_rps(case), wall_rps, what, {"wall_rps": wall_rps})


def _ports_rps(group: Clients) -> float:
    """New connections per second that the source ports of a group carry to one node."""
    ports = group.source_ports or SourcePorts()
    return addresses(group) * limits.wall_rps(ports.count, ports.hold_s or SHORTEST_S)


def _race(case: Case) -> Evidence:
    if case.is_local:
        return against("policy Local does not masquerade, so no two connections race for a port")
    return possible("policy Cluster masquerades: two connections may take one port at the same instant")


def _loss(case: Case) -> Evidence:
    declared = case.events("loss")
    loss = case.scenario.cluster.network.loss_ratio
    if declared and not loss:
        lost = f"{share(declared[0].loss_ratio or 0.0)} of its packets are lost each way"
        return risk(happens(case, declared[0]), lost, node=case.struck(declared[0])[0])
    if case.cluster is not None and not loss:
        return possible("objects do not show what the network loses")
    if not loss:
        return against("the scenario's network loses nothing")
    paths = 2 if case.is_local else 4  # There and back, over one hop or two.
    lost_ratio = 1 - (1 - loss) ** paths
    group = (case.clients or case.scenario.clients)[0]
    schedule_s = SCHEDULES[group.syn_schedule]
    lumps, never = failure.syn_lumps(lost_ratio, group.timeouts.connect_s or math.inf, schedule_s)
    at = {f"at_{at_s:g}s_ratio": mass for at_s, mass in lumps.items() if at_s}
    words = ", ".join(f"{share(mass)} at {at_s:g} s" for at_s, mass in list(lumps.items())[1:4])
    why = f"each path loses {share(loss)}, {paths} lie on a round trip: connects lump, {words}"
    return risk(why, numbers=at | {"never_ratio": never})


def _utilisation(case: Case) -> float | None:
    groups = [group for group in case.clients if group.loop == "open"]
    if not groups or not case.usable:
        return None
    offered = sum(group.rate_rps for group in groups) * case.scenario.pods.service_time.mean_s
    return offered / (len(case.usable) * case.scenario.pods.workers)


def _overload(case: Case) -> Evidence:
    used = _utilisation(case)
    if used is None:
        return possible("objects do not show the load")
    why = f"{len(case.usable)} pods of {case.scenario.pods.workers} workers are {share(used)} busy on average"
    numbers = {"utilisation_ratio": used}
    if used >= 1:
        return fault(why, "the queue grows until the backlog is full, and SYNs are dropped", numbers=numbers)
    tries = max(group.retry.attempts for group in case.clients)
    if used * tries > 1 and tries > 1:
        return fits(
            why, f"{tries} attempts would make {share(used * tries)} of it once they fail", numbers=numbers
        )
    return (fits if used > 0.8 else against)(why, numbers=numbers)  # noqa: PLR2004  (bursts fill the rest)


def _slow(case: Case) -> Evidence:
    events = case.events("slow-pod", "slow-node", "pod-hang", "pod-errors")
    if events:
        first, struck = events[0], case.struck(events[0])[0]
        why = happens(case, first)
        return risk(why, node=struck) if first.fault == "slow-node" else risk(why, pod=struck)
    return possible("objects do not show how fast pods answer: a probe may pass where requests hang")


def _port_reuse(case: Case) -> Evidence:
    if case.mode is None:
        return possible("the mode of kube-proxy is not known (--set proxy.mode=...)")
    if case.mode != "ipvs":
        return against(f"mode {case.mode} has no ipvs connection table")
    versions = {node.name: _kernel(node.kernel_version) for node in case.nodes.values()}
    if case.scenario.cluster.proxy.port_reuse != "new":
        return fits(f"mode ipvs, portReuse: {case.scenario.cluster.proxy.port_reuse}")
    old = [name for name, version in versions.items() if version and version < REUSE_MENDED]
    if old:
        return fits(f"mode ipvs, and {old[0]} runs a kernel before 5.9", node=old[0])
    if any(versions.values()):
        return against("mode ipvs, but all kernels are 5.9 or newer")
    return possible("mode ipvs; kernels before 5.9 drop a SYN from a port still in TIME_WAIT")


def _kernel(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _dns(case: Case) -> Evidence:
    del case
    return possible(
        "a resolver waits 5 s before it asks again; objects do not show names that clients ask for"
    )


def _no_neighbour(case: Case) -> Evidence:
    network = case.scenario.cluster.network
    down = [node.name for node in case.nodes.values() if not node.ready]
    if case.cluster is None and "no-route" not in (network.client_hop, network.node_hop):
        return against("the scenario's hops are silent: no ARP failure is told")
    if case.cluster is None or down:
        node = down[0] if down else case.scenario.cluster.names[0]
        return fits(
            f"three ARP probes a second apart, then no route to host, for what is gone: {node}", node=node
        )
    return possible(
        "three ARP probes a second apart, then no route to host, on a segment shared with what is gone"
    )


CAUSES = (
    Cause(
        name="conntrack-full",
        title="The conntrack table of a node is full",
        symptoms=("timeout", "1s", "3s"),
        rank=9,
        weigh=_conntrack,
        where="each node",
        check=(
            "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; "
            "conntrack -S | grep -o 'drop=[0-9]*'"
        ),
        shows="count near max, drop above 0, and table full, dropping packet in dmesg",
        fix=(
            "keep connections; raise conntrack.maxPerCore or min of "
            "kube-proxy; shorten nf_conntrack_tcp_timeout_time_wait"
        ),
        source="kubernetes#71261; k8s:pkg/proxy/conntrack/sysctls.go",
    ),
    Cause(
        name="masquerade-ports",
        title="Masquerade ports towards a pod run short",
        symptoms=("timeout", "1s", "3s"),
        rank=11,
        weigh=_masquerade,
        where="node {node}",
        check="conntrack -L -p tcp --reply-src {pod_ip} 2>/dev/null | wc -l",
        shows="above 59,000 of 64,512: SYNs are lost from 92 % on",
        fix="keep connections, more pods or nodes, or policy Local, which does not masquerade",
        source="cilium#23604; Linux net/netfilter/nf_nat_core.c",
    ),
    Cause(
        name="client-ports",
        title="A client or a proxy in front runs out of its own ports",
        symptoms=("timeout", "1s"),
        rank=23,
        weigh=_client_ports,
        where="client",
        check="ss -tan state time-wait dport = :{node_port} | wc -l; sysctl net.ipv4.ip_local_port_range",
        shows="as many as the range holds; connect fails with EADDRNOTAVAIL",
        fix="keep connections, more client addresses, tcp_tw_reuse=1 at the client",
        source="moby#35082",
    ),
    Cause(
        name="insert-race",
        title="Two connections race for one masquerade port",
        symptoms=("1s", "3s"),
        rank=4,
        weigh=_race,
        where="each node",
        check="conntrack -S | grep -o 'insert_failed=[0-9]*'",
        shows="a number that grows with the slow connects",
        fix="kube-proxy 1.16 or newer with iptables 1.6.2 (--random-fully), a kernel from 5.0 on",
        source="tech.xing.com (a reason for unexplained connection timeouts), kubernetes#76699",
    ),
    Cause(
        name="packet-loss",
        title="The network loses packets",
        symptoms=("1s", "3s", "timeout"),
        rank=4,
        weigh=_loss,
        where="client",
        check="nstat -az TcpExtTCPSynRetrans TcpRetransSegs; ping -c 100 -i 0.2 {node_ip}",
        shows="SYN retransmissions that grow, loss in ping",
        fix="find the hop (mtr {node_ip}); a SYN is sent again after 1 s, and again",
        source="RFC 6298; Linux Documentation/networking/ip-sysctl.rst",
    ),
    Cause(
        name="overload",
        title="The pods are overloaded, and their listen queue drops SYNs",
        symptoms=("1s", "3s", "timeout"),
        rank=26,
        weigh=_overload,
        where="kubectl",
        check="kubectl exec -n {namespace} {pod} -- sh -c 'ss -ltn; nstat -az TcpExtListenOverflows'",
        shows="Recv-Q above Send-Q, ListenOverflows that grow",
        fix="more pods or workers, a larger backlog (somaxconn), a retry budget of 10 % at the clients",
        source="Linux net/ipv4/tcp_ipv4.c; Site Reliability Engineering, ch. 21",
    ),
    Cause(
        name="slow-pod",
        title="A pod or its node is slow, hangs, or answers errors",
        symptoms=("timeout", "one-hot-pod"),
        rank=27,
        weigh=_slow,
        where="node {node}",
        check=(
            "for n in 1 2 3; do curl -s -m 5 -o /dev/null -w '%{{http_code}} "
            "%{{time_total}}\\n' http://{pod_ip}:{target_port}/; done"
        ),
        shows=(
            "times far above those of the other pods, or 5xx; kubectl "
            "top pod {pod} -n {namespace} tells the CPU"
        ),
        fix=(
            "CPU limits and throttling, a readiness probe that asks what a client would, client-side ejection"
        ),
        source="kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes",
    ),
    Cause(
        name="ipvs-port-reuse",
        title="ipvs drops the SYN of a reused port",
        symptoms=("1s",),
        rank=15,
        weigh=_port_reuse,
        where="node {node}",
        check="sysctl net.ipv4.vs.conn_reuse_mode; ipvsadm -Lnc | grep -c TIME_WAIT; uname -r",
        shows="1 on a kernel before 5.9, and thousands in TIME_WAIT",
        fix="a kernel from 5.9 on, or mode nftables",
        source="kubernetes#70747, #81775, #93297",
    ),
    Cause(
        name="dns",
        title="A DNS answer is lost, and asked for again after 5 s",
        symptoms=("5s",),
        rank=4,
        weigh=_dns,
        where="client",
        check=(
            "time getent ahosts NAME; grep -h options /etc/resolv.conf; "
            "conntrack -S | grep -o 'insert_failed=[0-9]*'"
        ),
        shows="5.0 s now and then; timeout:5 is the default",
        fix="NodeLocal DNSCache, options single-request-reopen, or names with a final dot",
        source="kubernetes#56903; resolv.conf(5)",
    ),
    Cause(
        name="no-neighbour",
        title="A dead neighbour is told after 3 s",
        symptoms=("3s",),
        rank=2,
        weigh=_no_neighbour,
        where="client, or node {node}",
        check="ip neigh show nud failed; ip neigh show nud incomplete",
        shows="the address of a node or pod that is gone; connect says no route to host after 3.1 s",
        fix="try the next node at once (connect time-out below 3 s, retry), take dead nodes out of DNS",
        source="Linux net/core/neighbour.c (3 probes, 1 s apart); measured 3.06 to 3.16 s",
    ),
)
