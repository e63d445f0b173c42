"""Causes around a change: a deploy rolls, a pod or a node leaves, rules come late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.diagnose.case import happens, listed
from nodeportsim.diagnose.cause import Cause, Evidence, against, fits, possible, risk

if TYPE_CHECKING:
    from nodeportsim.diagnose.case import Case

LARGE = 1000  # Endpoints of all Services: large-cluster mode (k8s:pkg/proxy/iptables/proxier.go).
DEPRECATED_SINCE = 35  # Kubernetes 1.35: mode ipvs (kubernetes#134539).


def _sync_lag(case: Case) -> Evidence:
    leaving = [end.name for end in case.endpoints if end.terminating]
    total = sum(len(port.usable) for port in case.cluster.ports) if case.cluster else len(case.usable)
    if leaving:
        return fits(
            f"terminating at this instant: {listed(leaving)}; nodes that lag still send to them",
            pod=leaving[0],
        )
    if total > LARGE:
        return fits(
            f"{total} endpoints in the rules: kube-proxy is in its large-cluster mode, and syncs take longer"
        )
    return possible(
        f"{total} endpoints in the rules: a sync takes well below "
        "a second; the wait for it up to minSyncPeriod"
    )


def _pre_stop(case: Case) -> Evidence:
    rolled = case.events("rolling-update", "scale", "drain")
    if case.cluster is None and rolled:
        sleep_s = case.scenario.pods.pre_stop_s
        if sleep_s:
            return against(f"the scenario's pods sleep for {sleep_s:g} s before SIGTERM")
        return risk(happens(case, rolled[0]), "its pods have no preStop sleep")
    shown = [pod for pod in case.selected if pod.containers]
    if case.selects_nothing:
        return against("no pod is selected")
    if not shown:
        return possible("the file does not show the containers of the pods")
    without = [pod.name for pod in shown if not any(c.has_pre_stop for c in pod.containers)]
    if not without:
        return against(f"all {len(shown)} pods have a preStop hook")
    why = f"{len(without)} of {len(shown)} pods have no preStop hook: {listed(without)}"
    return risk(
        why,
        "a pod that stops at SIGTERM is sent connections until the slowest node has synced",
        pod=without[0],
    )


def _probe(case: Case) -> Evidence:
    shown = [pod for pod in case.selected if pod.containers]
    if case.selects_nothing:
        return against("no pod is selected")
    if not shown:
        return possible("the file does not show the containers of the pods")
    without = [pod.name for pod in shown if not any(c.has_readiness_probe for c in pod.containers)]
    if not without:
        return against(f"all {len(shown)} pods have a readiness probe")
    why = f"{len(without)} of {len(shown)} pods have no readiness probe: {listed(without)}"
    return risk(why, "they are sent connections from the instant their process starts", pod=without[0])


def _leaving(case: Case) -> Evidence:
    leaving = [node.name for node in case.nodes.values() if node.leaving]
    declared = case.events("drain", "shutdown")
    if declared:
        return risk(happens(case, declared[0]), node=case.struck(declared[0])[0])
    if not case.nodes:
        return possible("the file holds no Nodes")
    if not leaving:
        return against("no node is cordoned or about to be removed")
    why = f"cordoned or about to be removed: {listed(leaving)}"
    return risk(
        why,
        "connections that only enter by such a node end with it",
        node=leaving[0],
    )


def _time_wait(case: Case) -> Evidence:
    time_wait_s = case.scenario.cluster.conntrack.time_wait_s
    if case.mode == "ipvs":
        return fits(
            "mode ipvs keeps a removed pod at weight 0 and looks once a "
            f"minute; conntrack forgets after {time_wait_s:g} s"
        )
    return possible(
        f"an entry in TIME_WAIT lives for {time_wait_s:g} s and names "
        "the pod that is gone, if a client reuses its port"
    )


def _idle(case: Case) -> Evidence:
    if case.clients and not case.kept:
        return against("the clients keep no connection")
    if case.kept:
        longest_s = max(group.connections.idle_timeout_s for group in case.kept)
        idle = f"for up to {longest_s:g} s" if longest_s else "without limit"
        return fits(
            f"the clients keep idle connections {idle}; a server that closes earlier resets the next request"
        )
    return possible(
        "a server that closes idle connections earlier than its clients resets their next request"
    )


def _invalid(case: Case) -> Evidence:
    del case
    return possible(
        "conntrack calls packets out of window INVALID; they pass without NAT, and the client answers RST"
    )


def _deprecated(case: Case) -> Evidence:
    version = case.scenario.cluster.kubernetes_version
    if case.mode is None:
        return possible("the mode of kube-proxy is not known (--set proxy.mode=...)")
    if case.mode == "ipvs" and int(version.split(".")[1]) >= DEPRECATED_SINCE:
        return risk(f"mode ipvs on Kubernetes {version}: deprecated since 1.35")
    return against(f"mode {case.mode} on Kubernetes {version} is not deprecated")


CAUSES = (
    Cause(
        name="sync-lag",
        title="Some nodes learn of a removed pod late",
        symptoms=("deploy-errors", "timeout"),
        rank=7,
        weigh=_sync_lag,
        where="each node",
        check=(
            "curl -s http://127.0.0.1:10249/metrics | grep -E "
            "'network_programming_duration_seconds_(sum|count)|sync_proxy_rules_duration_seconds_(sum|count)'"
        ),
        shows="a mean above a second, or a node far above the others",
        fix="a preStop sleep longer than the slowest node's sync; mode nftables; fewer Services",
        source="kubernetes#73382, #82364",
    ),
    Cause(
        name="no-pre-stop",
        title="Pods stop before the nodes stop sending to them",
        symptoms=("deploy-errors", "refused", "reset"),
        rank=8,
        weigh=_pre_stop,
        where="kubectl",
        check=(
            "kubectl get pods -n {namespace} -l {selector} -o "
            "jsonpath='{{.items[*].spec.containers[*].lifecycle}}'"
        ),
        shows="nothing",
        fix="lifecycle.preStop.sleep.seconds: 5 or more, and close kept connections at SIGTERM",
        source="kubernetes#43576, enhancements#3961",
    ),
    Cause(
        name="no-readiness-probe",
        title="Pods are sent connections before they can answer",
        symptoms=("deploy-errors", "refused"),
        rank=27,
        weigh=_probe,
        where="kubectl",
        check=(
            "kubectl get pods -n {namespace} -l {selector} -o "
            "jsonpath='{{.items[*].spec.containers[*].readinessProbe}}'"
        ),
        shows="nothing",
        fix="a readinessProbe that asks what a client would",
        source="kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes",
    ),
    Cause(
        name="node-leaving",
        title="A node that forwards connections is being removed",
        symptoms=("deploy-errors", "reset", "hang"),
        rank=18,
        weigh=_leaving,
        where="each node",
        check="curl -s -m 3 -o /dev/null -w '%{{http_code}}\\n' http://{node_ip}:10256/healthz",
        shows="503 on a node that leaves; balancers must ask this to drain it",
        fix=(
            "let the balancer check :10256/healthz and drain for longer than its interval times its threshold"
        ),
        source="KEP-3836",
    ),
    Cause(
        name="stale-conntrack",
        title="Reused client ports meet entries of pods that are gone",
        symptoms=("2min", "deploy-errors"),
        rank=17,
        weigh=_time_wait,
        where="each node",
        check=(
            "conntrack -L -p tcp --dport {node_port} --state TIME_WAIT 2>/dev/null "
            "| grep -o 'src=[0-9.]*' | sort | uniq -c | sort -rn | head"
        ),
        shows="addresses of pods that kubectl get pods -o wide no longer lists",
        fix=(
            "more client ports or kept connections; conntrack -D -p tcp "
            "--dport {node_port} --state TIME_WAIT after a deploy"
        ),
        source="michal-drozd.com (conntrack stale NAT mapping)",
    ),
    Cause(
        name="idle-timeouts",
        title="The server closes idle connections earlier than its clients",
        symptoms=("reset",),
        rank=8,
        weigh=_idle,
        where="client",
        check="tcpdump -ni any 'tcp port {node_port} and tcp[tcpflags] & (tcp-rst|tcp-fin) != 0'",
        shows="FIN from the server, then a request, then RST",
        fix="an idle time-out at the server longer than at the client; retry of idempotent requests",
        source="RFC 9112 section 9.3.1",
    ),
    Cause(
        name="invalid-packets",
        title="conntrack takes packets for invalid, and NAT passes them by",
        symptoms=("reset",),
        rank=32,
        weigh=_invalid,
        where="each node",
        check="conntrack -S | grep -o 'invalid=[0-9]*'; sysctl net.netfilter.nf_conntrack_tcp_be_liberal",
        shows="a number that grows with the resets, and 0",
        fix="sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1; kube-proxy drops INVALID since 1.15",
        source="kubernetes#74839, #117924",
    ),
    Cause(
        name="mode-deprecated",
        title="kube-proxy's mode is deprecated",
        symptoms=(),
        rank=12,
        weigh=_deprecated,
        where="node {node}",
        check="curl -s http://127.0.0.1:10249/proxyMode",
        shows="ipvs",
        fix="mode: nftables (GA since 1.33); compare both: nodeportsim run FILE --set proxy.mode=nftables",
        source="kubernetes#134539; KEP-5495",
    ),
)
