"""Causes between the client and the Service: which nodes answer, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.diagnose.case import happens, listed, share
from nodeportsim.diagnose.cause import Cause, Evidence, against, fault, fits, possible, risk

if TYPE_CHECKING:
    from nodeportsim.diagnose.case import Case
    from nodeportsim.scenario.events import Fault

FIRST_PORT, LAST_PORT = 30_000, 32_767  # --service-node-port-range
STOPPED: tuple[Fault, ...] = (  # Faults by which rules are not what they should be.
    "proxy-stop",
    "proxy-restart",
    "proxy-hang",
    "proxy-lag",
    "cut-control-plane",
    "api-outage",
    "controller-manager-outage",
)
CHECKED = ("balancer", "virtual-ip")  # Entry policies that avoid a node which fails its check.


def _local_without(case: Case) -> Evidence:
    if not case.is_local:
        return against(f"externalTrafficPolicy of {case.name} is Cluster: every node forwards")
    if not case.knows_endpoints or not case.knows_nodes:
        return fits(f"externalTrafficPolicy of {case.name} is Local; the file holds no Nodes or no endpoints")
    empty = [node for node, count in case.usable_by_node.items() if not count]
    if not empty:
        return against(f"every node has a ready endpoint of {case.name}")
    nodes = len(case.usable_by_node)
    why = (
        f"externalTrafficPolicy of {case.name} is Local, and "
        f"{len(empty)} of {nodes} nodes have no ready endpoint"
    )
    lost = {"dropped_ratio": len(empty) / nodes}
    named = f"they drop what enters them in silence: {listed(empty)}"
    if case.clients and all(group.entry.policy in CHECKED for group in case.clients):
        return risk(
            why,
            named,
            ("a balancer whose health check asks healthCheckNodePort leaves them out"),
            node=empty[0],
        )
    if case.scenario.service.type == "LoadBalancer":
        return risk(
            why, named, ("a load balancer leaves them out; clients of the NodePort do not"), node=empty[0]
        )
    picks = f"a client that picks any node loses {share(len(empty) / nodes)} of its new connections"
    return fault(why, named, picks, numbers=lost, node=empty[0])


def _no_health_check(case: Case) -> Evidence:
    service = case.scenario.service
    if not case.is_local:
        return against(f"externalTrafficPolicy of {case.name} is Cluster: any healthy node will do")
    if service.type == "NodePort":
        return risk(
            f"{case.name} is a NodePort with policy Local: it has no healthCheckNodePort",
            "an external balancer must check the nodePort itself to find the nodes with endpoints",
        )
    if case.cluster is not None and service.health_check_node_port is None:
        return risk(f"{case.name} of type {service.type} has policy Local and no healthCheckNodePort")
    return against(f"{case.name} has a healthCheckNodePort")


def _node_not_ready(case: Case) -> Evidence:
    bad = [node.name for node in case.nodes.values() if not node.ready]
    if case.cluster is None:
        dying = case.events("power-off", "cut", "cut-control-plane")
        if not dying:
            return against("no node of the scenario fails")
        return fits(happens(case, dying[0]), node=case.struck(dying[0])[0])
    if not case.nodes:
        return possible("the file holds no Nodes")
    if not bad:
        return against(f"all {len(case.nodes)} nodes are Ready")
    why = f"{len(bad)} of {len(case.nodes)} nodes are not Ready: {listed(bad)}"
    entering = (
        f"clients that pick any node fail with {share(len(bad) / len(case.nodes))} of their connections"
    )
    return fault(
        why,
        f"{entering} if the machine is dead",
        numbers={"dead_entry_ratio": len(bad) / len(case.nodes)},
        node=bad[0],
    )


def _firewall(case: Case) -> Evidence:
    port = case.scenario.service.node_port
    named = f"nodePort {port}" if port else "the nodePort"
    cut = case.events("firewall", "cut", "cut-in", "cut-out", "cut-nodes")
    if cut:
        return risk(happens(case, cut[0]), node=case.struck(cut[0])[0])
    return possible(
        f"objects do not show firewalls; {named} must be open from clients to nodes, and pods between nodes"
    )


def _network_policy(case: Case) -> Evidence:
    space = case.scenario.service.namespace
    ignored = case.cluster.ignored if case.cluster else ()
    policies = [title for title in ignored if title.startswith(f"NetworkPolicy {space}/")]
    if policies:
        return fits(f"there is {listed(policies)}; what it allows is not read here")
    return possible("the file holds no NetworkPolicy")


def _out_of_range(case: Case) -> Evidence:
    port = case.scenario.service.node_port
    if port is None:
        return possible("the nodePort is not known")
    if FIRST_PORT <= port <= LAST_PORT:
        return against(f"nodePort {port} is in {FIRST_PORT}-{LAST_PORT}")
    return risk(
        f"nodePort {port} of {case.name} is outside {FIRST_PORT}-{LAST_PORT}",
        "the API server has another --service-node-port-range; firewalls opened for the default one drop it",
    )


def _addresses(case: Case) -> Evidence:
    if case.mode == "nftables":
        return fits("mode nftables answers on the primary addresses of a node only, never on localhost")
    if case.mode:
        return against(f"mode {case.mode} answers on all addresses of a node by default")
    return possible("the mode of kube-proxy is not known (--set proxy.mode=...)")


def _proxy_stopped(case: Case) -> Evidence:
    stopped = case.events(*STOPPED)
    if stopped:
        why = f"{happens(case, stopped[0])}: rules stay as they are"
        known = stopped[0].node or stopped[0].zone  # An outage of the API server is of no node.
        return risk(why, node=case.struck(stopped[0])[0]) if known else risk(why)
    return possible("objects do not show whether every kube-proxy runs")


def _hairpin(case: Case) -> Evidence:
    usable = len(case.usable)
    if case.mode == "ipvs":
        return possible("mode ipvs needs its ipset KUBE-LOOP-BACK for a pod that calls itself")
    odds = f": it meets itself with one in {usable} of its connections" if usable > 1 else ""
    return possible(f"matters only where a pod calls its own Service{odds}")


CAUSES = (
    Cause(
        name="local-without-endpoints",
        title="Policy Local, and nodes without an endpoint",
        symptoms=("some-nodes", "timeout"),
        rank=5,
        weigh=_local_without,
        where="client",
        check="for node in {node_ips}; do nc -vz -w 3 $node {node_port}; done",
        shows="a time-out at {node}, an answer at nodes with a pod",
        fix=(
            "externalTrafficPolicy: Cluster, or a pod on every node "
            "(DaemonSet), or a balancer that checks each node"
        ),
        source="kubernetes#97147; k8s:pkg/proxy/topology.go",
    ),
    Cause(
        name="no-health-check",
        title="A balancer cannot ask which nodes have endpoints",
        symptoms=("some-nodes", "timeout"),
        rank=5,
        weigh=_no_health_check,
        where="kubectl",
        check=(
            "kubectl get service {service} -n {namespace} "
            "-o jsonpath='{{.spec.type}} {{.spec.externalTrafficPolicy}} {{.spec.healthCheckNodePort}}'"
        ),
        shows="NodePort Local and no third word",
        fix="type: LoadBalancer gives a healthCheckNodePort; else let the balancer check the nodePort itself",
        source="k8s:pkg/api/service/util.go NeedsHealthCheck",
    ),
    Cause(
        name="node-not-ready",
        title="A node is not Ready",
        symptoms=("some-nodes", "timeout", "hang"),
        rank=2,
        weigh=_node_not_ready,
        where="kubectl",
        check="kubectl describe node {node}",
        shows="Ready is Unknown (no lease) or False (kubelet says why)",
        fix="bring {node} back or delete it; take its address out of DNS and balancers",
        source="kubernetes#97112",
    ),
    Cause(
        name="firewall",
        title="A firewall lets some paths through and not others",
        symptoms=("timeout", "some-nodes"),
        rank=29,
        weigh=_firewall,
        where="client, then each node",
        check=(
            "for node in {node_ips}; do nc -vz -w 3 $node {node_port}; done; "
            "nc -vz -w 3 {pod_ip} {target_port}"
        ),
        shows=(
            "the first fails from outside: security group; the second fails "
            "from a node without the pod: FORWARD or overlay"
        ),
        fix=(
            "open {node_port}/tcp to the nodes, the pods' network between "
            "nodes; iptables -P FORWARD ACCEPT or your plugin's rule"
        ),
        source="kubernetes#58908, #126065, k3s#8706",
    ),
    Cause(
        name="network-policy",
        title="A NetworkPolicy forbids it",
        symptoms=("timeout", "some-nodes"),
        rank=29,
        weigh=_network_policy,
        where="kubectl",
        check="kubectl get networkpolicy -n {namespace} -o yaml",
        shows="an ingress rule that names neither the clients nor, after masquerading, the nodes",
        fix="allow the nodes' addresses: with policy Cluster the pod sees the entry node, not the client",
        source="kubernetes.io/docs/concepts/services-networking/network-policies",
    ),
    Cause(
        name="node-port-range",
        title="The nodePort is outside the default range",
        symptoms=("timeout",),
        weigh=_out_of_range,
        where="client",
        check="nc -vz -w 3 {node_ip} {node_port}",
        shows="a time-out where firewalls know 30000-32767 only",
        fix="open the port, or take one in the default range",
        source="k8s:pkg/registry/core/service/portallocator",
    ),
    Cause(
        name="node-port-addresses",
        title="kube-proxy does not answer on that address",
        symptoms=("some-nodes", "refused", "timeout"),
        rank=12,
        weigh=_addresses,
        where="node {node}",
        check="curl -s http://127.0.0.1:10249/configz | tr ',' '\\n' | grep -i nodePortAddresses",
        shows="a list without the address that clients use",
        fix="add the address to nodePortAddresses, or use the node's primary address",
        source="k8s:cmd/kube-proxy/app/server_linux.go",
    ),
    Cause(
        name="kube-proxy-stopped",
        title="kube-proxy on a node is stopped, hung or late",
        symptoms=("some-nodes", "timeout", "deploy-errors"),
        rank=19,
        weigh=_proxy_stopped,
        where="client in the nodes' network",
        check="for node in {node_ips}; do echo $node; curl -s -m 3 http://$node:10256/healthz; echo; done",
        shows="503, or lastUpdated longer ago than the last change",
        fix=(
            "kubectl -n kube-system rollout restart daemonset kube-proxy; "
            "then look why (memory, a lock, the API server)"
        ),
        source="kubernetes#75360, #38372",
    ),
    Cause(
        name="hairpin",
        title="A pod calls its own Service and is sent to itself",
        symptoms=("timeout",),
        rank=31,
        weigh=_hairpin,
        where="node {node}",
        check="cat /sys/devices/virtual/net/*/brport/hairpin_mode",
        shows="0 on the pods' bridge ports",
        fix="hairpinMode: hairpin-veth in the kubelet or the plugin's hairpinMode: true",
        source="kubernetes#20475, #45790",
    ),
)
