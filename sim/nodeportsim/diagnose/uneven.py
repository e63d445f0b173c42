"""Causes of uneven pods: few choices, a choice made once, or shares that are unequal by design."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nodeportsim.diagnose.case import listed, share
from nodeportsim.diagnose.cause import Cause, Evidence, against, fits, possible, risk
from nodeportsim.scenario.ports import addresses
from nodeportsim.theory import balance

if TYPE_CHECKING:
    from nodeportsim.diagnose.case import Case

EVEN = 1.2  # Hottest pod over the mean that most people call even.
MANY = 1000  # Pods: beyond it the closed forms take seconds, and few ask.


def _kept(case: Case) -> Evidence:
    pods = len(case.usable)
    if not case.clients:
        numbers = _needed(pods)
        unknown = "the file does not describe the clients; a kept connection stays with its pod for life"
        return possible(unknown, *_enough(numbers), numbers=numbers)
    if not case.kept:
        return against("the clients open a new connection for every request: each is a choice of its own")
    connections = sum(group.count * group.connections.size for group in case.kept)
    if not 1 < pods <= MANY:
        return fits(f"{connections} kept connections")
    hottest = balance.hottest_mean(connections, pods) * pods / connections
    idle = balance.idle_mean(connections, pods)
    numbers = {"connections": float(connections), "max_over_mean": hottest, "idle_pods": idle} | _needed(pods)
    why = (
        f"{connections} kept connections on {pods} pods: by chance "
        f"alone the hottest has {hottest:.2g} times the mean"
    )
    weigh = fits if hottest > EVEN else possible
    return weigh(why, *_enough(numbers), numbers=numbers)


def _needed(pods: int) -> dict[str, float]:
    if not 1 < pods <= MANY:
        return {}
    return {"connections_needed": float(pods * balance.connections_per_pod_for(pods, EVEN))}


def _enough(numbers: dict[str, float]) -> list[str]:
    needed = numbers.get("connections_needed")
    return [f"{needed:,.0f} connections keep it within {EVEN} of the mean in 95 % of cases"] if needed else []


def _affinity(case: Case) -> Evidence:
    if case.scenario.service.session_affinity != "ClientIP":
        return against(f"sessionAffinity of {case.name} is None")
    hours = case.scenario.service.affinity_timeout_seconds / 3600
    why = f"sessionAffinity of {case.name} is ClientIP: an address keeps its pod for {hours:g} h"
    pods, hosts = len(case.usable), sum(addresses(group) for group in case.clients)
    if hosts and 1 < pods <= MANY:
        idle = balance.idle_mean(hosts, pods)
        hottest = balance.hottest_mean(hosts, pods) * pods / hosts
        chance = (
            f"{hosts} addresses on {pods} pods: the hottest has {hottest:.2g} times the mean, {idle:.2g} idle"
        )
        return risk(why, chance, numbers={"max_over_mean": hottest, "idle_pods": idle})
    return fits(why, "clients behind one NAT or one balancer are one address, and load one pod")


def _local(case: Case) -> Evidence:
    if not case.is_local:
        return against(f"externalTrafficPolicy of {case.name} is Cluster: all pods are alike")
    pods = [count for count in case.usable_by_node.values() if count]
    if not pods:
        return fits(f"externalTrafficPolicy of {case.name} is Local")
    if len(set(pods)) == 1:
        return against(f"every node that has pods of {case.name} has {pods[0]}")
    shares = balance.local_shares(pods)
    each = {count: 1 / len(pods) / count for count in sorted(pods)}
    words = ", ".join(f"{share(part)} where it is one of {count}" for count, part in each.items())
    hottest = max(shares) * sum(pods)
    return risk(
        f"policy Local, and nodes hold {listed(sorted(pods))} pods: with even entry a pod gets {words}",
        f"the hottest pod has {hottest:.2g} times the mean",
        numbers={"max_over_mean": hottest},
    )


def _single(case: Case) -> Evidence:
    if not case.knows_endpoints:
        return possible("the file holds neither EndpointSlices nor Pods")
    if len(case.usable) != 1:
        return against(f"{case.name} has {len(case.usable)} usable endpoints")
    pod = case.usable[0]
    return risk(
        f"pod {pod.name} on {pod.node} is the only endpoint of "
        f"{case.name}: it takes all, and its end ends all"
    )


def _rotation(case: Case) -> Evidence:
    scheduler = case.scenario.cluster.proxy.scheduler
    if case.mode is None:
        return possible("the mode of kube-proxy is not known (--set proxy.mode=...)")
    if case.mode != "ipvs":
        return against(f"mode {case.mode} chooses at random for every connection")
    nodes = case.scenario.cluster.nodes
    return fits(
        f"mode ipvs, scheduler {scheduler}: each of {nodes} nodes has "
        "its own pointer or counts, and syncs reset them"
    )


def _late(case: Case) -> Evidence:
    if case.clients and not case.kept:
        return against(
            "the clients open a new connection for every request: a new pod is chosen from its first second"
        )
    if case.kept and not any(g.connections.max_age_s or g.connections.max_requests for g in case.kept):
        return fits("the clients keep connections without limit: pods that join later get none of them")
    return possible("objects do not show when the pods joined")


def _hints(case: Case) -> Evidence:
    hinted = [end for end in case.slices if end.zone_hints or end.node_hints]
    asked = case.scenario.service
    if case.cluster is None:
        words = (
            f"{asked.traffic_distribution or f'topologyMode {asked.topology_mode}'} is set for {case.name}"
        )
        return fits(words) if asked.asks_for_hints else against(f"{case.name} asks for no topology hints")
    if not hinted:
        return against(f"no endpoint of {case.name} carries hints")
    zones = Counter(zone for end in hinted for zone in end.zone_hints)
    words = listed(f"{zone}: {count}" for zone, count in sorted(zones.items()))
    return fits(f"{len(hinted)} endpoints of {case.name} are for nodes of one zone or node only ({words})")


CAUSES = (
    Cause(
        name="few-kept-connections",
        title="Few connections are kept, and each stays with its pod",
        symptoms=("one-hot-pod",),
        rank=1,
        weigh=_kept,
        where="kubectl",
        check="kubectl exec -n {namespace} {pod} -- ss -tn state established sport = :{target_port}",
        shows="the same peers for hours, and other numbers of them in other pods",
        fix="close connections by age or number of requests (keepalive_requests, max age), or open more",
        source="kubernetes#38456, #37932",
    ),
    Cause(
        name="affinity",
        title="Session affinity with few client addresses",
        symptoms=("one-hot-pod",),
        rank=16,
        weigh=_affinity,
        where="kubectl",
        check=(
            "kubectl get service {service} -n {namespace} -o "
            "jsonpath='{{.spec.sessionAffinity}} {{.spec.sessionAffinityConfig}}'"
        ),
        shows="ClientIP",
        fix="sessionAffinity: None, and sessions in a cookie or a store",
        source="kubernetes#43958, #55603",
    ),
    Cause(
        name="local-uneven",
        title="Policy Local, and nodes hold unequal numbers of pods",
        symptoms=("one-hot-pod",),
        rank=5,
        weigh=_local,
        where="kubectl",
        check="kubectl get pods -n {namespace} -l {selector} -o wide --sort-by=.spec.nodeName",
        shows="more pods on some nodes than on others",
        fix="topologySpreadConstraints with maxSkew 1, or weights in the balancer, or policy Cluster",
        source="kubernetes#97147",
    ),
    Cause(
        name="single-endpoint",
        title="There is one endpoint only",
        symptoms=("one-hot-pod", "deploy-errors", "timeout"),
        rank=13,
        weigh=_single,
        where="kubectl",
        check="kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={service}",
        shows="one address",
        fix="more replicas on more than one node, and a PodDisruptionBudget",
        source="kubernetes.io/docs/tasks/run-application/configure-pdb",
    ),
    Cause(
        name="ipvs-rotation",
        title="Each node rotates or counts on its own",
        symptoms=("one-hot-pod",),
        rank=14,
        weigh=_rotation,
        where="node {node}",
        check="ipvsadm -Ln --stats -t {node_ip}:{node_port}",
        shows="even on every single node, uneven over all",
        fix="none is needed where connections are many; else mode nftables, or close connections by age",
        source="kubernetes#88580, #126378, #79213",
    ),
    Cause(
        name="late-pods",
        title="Pods that joined later get no connections",
        symptoms=("one-hot-pod",),
        rank=21,
        weigh=_late,
        where="kubectl",
        check="kubectl get pods -n {namespace} -l {selector} --sort-by=.status.startTime",
        shows="the idle pods are the youngest",
        fix="limit the age of connections at the client, the proxy or the server",
        source="kubernetes#66970",
    ),
    Cause(
        name="topology-hints",
        title="Topology hints keep traffic in its zone",
        symptoms=("one-hot-pod",),
        rank=25,
        weigh=_hints,
        where="kubectl",
        check=(
            "kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={service} "
            "-o jsonpath='{{.items[*].endpoints[*].hints}}'"
        ),
        shows="forZones: more load per pod in the zone with few pods and many clients",
        fix="spread pods as clients are spread, or remove trafficDistribution",
        source="kubernetes#122437",
    ),
)
