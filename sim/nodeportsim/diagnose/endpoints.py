"""Causes between the Service and its pods: nothing behind the port, or the wrong thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.diagnose.case import happens, listed, share
from nodeportsim.diagnose.cause import Cause, Evidence, against, fault, fits, possible, risk
from nodeportsim.theory import recovery

if TYPE_CHECKING:
    from nodeportsim.diagnose.case import Case
    from nodeportsim.kube.cluster import Pod

LOOPING = {
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "CreateContainerConfigError",
    "RunContainerError",
}


def _no_endpoints(case: Case) -> Evidence:
    if not case.knows_endpoints:
        return possible("the file holds neither EndpointSlices nor Pods")
    total, usable = len(case.endpoints), len(case.usable)
    if usable:
        return against(f"{usable} of {total} endpoints of {case.name} are usable: {_names(case)}")
    if total:
        return fault(f"none of the {total} endpoints of {case.name} is ready: {_names(case, every=True)}")
    return fault(f"{case.name} has no endpoint at all")


def _names(case: Case, *, every: bool = False) -> str:
    return listed(end.name for end in (case.endpoints if every else case.usable))


def _selector(case: Case) -> Evidence:
    service = case.service
    if service is None or case.cluster is None or "Pod" not in case.cluster.kinds:
        return possible("the file holds no Pods")
    if not service.selector:
        return possible(f"Service {case.name} has no selector: its endpoints are written by hand")
    words = ",".join(f"{key}={value}" for key, value in service.selector)
    if case.selected:
        return against(f"the selector {words} of {case.name} matches {len(case.selected)} pods")
    why = f"no pod in namespace {service.namespace} carries {words}"
    near = _nearest(case)
    return fault(why, f"closest is pod {near.name}: {_labels(near)}") if near else fault(why)


def _nearest(case: Case) -> Pod | None:
    """Find the pod that shares most labels with the selector, or whose values are meant by it elsewhere."""
    assert case.service is not None
    assert case.cluster is not None
    wanted, keys = set(case.service.selector), {key for key, _ in case.service.selector}

    def score(pod: Pod) -> tuple[int, int, bool]:
        own = set(pod.labels)
        return (
            len(wanted & own),
            len(keys & {key for key, _ in own}),
            _space(pod) == case.scenario.service.namespace,
        )

    best = max(case.cluster.pods, key=score, default=None)
    return best if best and score(best)[:2] > (0, 0) else None


def _space(pod: Pod) -> str:
    return pod.namespace


def _labels(pod: Pod) -> str:
    labels = ",".join(f"{key}={value}" for key, value in pod.labels)
    return f"{labels} in namespace {pod.namespace}"


def _port_name(case: Case) -> Evidence:
    if case.port is None or isinstance(case.port.target_port, int):
        return (
            against("targetPort is a number") if case.port else possible("the file holds no Service object")
        )
    if not any(pod.containers for pod in case.selected):
        return possible("the file does not show the containers of the pods")
    name = case.port.target_port
    without = [pod.name for pod in case.selected if name not in {port for port, _ in _ports(pod)}]
    if not without:
        return against(f"every selected pod declares a port named {name}")
    return fault(f"targetPort {name} of {case.name} is declared by no container of {listed(without)}")


def _port_number(case: Case) -> Evidence:
    if case.port is None or not isinstance(case.port.target_port, int):
        return possible("the file does not tell the number of the targetPort")
    number = case.port.target_port
    if case.selects_nothing:
        return against("no pod is selected that could listen")
    declaring = [pod for pod in case.selected if _ports(pod)]
    if not declaring:
        return possible(f"no pod declares its ports; whether one listens on {number} only the pod can tell")
    without = [pod for pod in declaring if number not in {port for _, port in _ports(pod)}]
    if without:
        ports = listed(sorted({port for _, port in _ports(without[0])}))
        return fits(f"pod {without[0].name} declares {ports}, not targetPort {number}", pod=without[0].name)
    return possible(f"the pods declare port {number}; whether they listen on it only the pods can tell")


def _ports(pod: Pod) -> list[tuple[str, int]]:
    return [port for container in pod.containers for port in container.ports]


def _not_ready(case: Case) -> Evidence:
    bad = [end for end in case.endpoints if not end.ready and not end.terminating]
    declared = case.events("pod-not-ready")
    if declared and not bad:
        return risk(happens(case, declared[0]), pod=case.struck(declared[0])[0])
    if not case.knows_endpoints:
        return possible("the file holds neither EndpointSlices nor Pods")
    if not bad:
        return against(f"no endpoint of {case.name} waits for its pod to be ready")
    words = (
        f"{len(bad)} of {len(case.endpoints)} pods of {case.name} "
        f"are not ready: {listed(e.name for e in bad)}"
    )
    return fault(words, "the others take their share", pod=bad[0].name)


def _crash_loop(case: Case) -> Evidence:
    looping = [(pod, c) for pod in case.selected for c in pod.containers if c.waiting in LOOPING]
    if looping:
        pod, container = looping[0]
        named = f"pod {pod.name}: container {container.name} waits in {container.waiting}"
        return fault(f"{named}, {container.restarts} restarts", pod=pod.name)
    crashes = case.events("crash-loop", "pod-crash")
    if crashes:
        alive_s = crashes[0].alive_s
        up = recovery.crash_loop_availability(alive_s) if alive_s is not None else None
        why = [f"in the long run it is up {share(up)} of the time"] if up is not None else []
        numbers = {"availability_ratio": up} if up is not None else {}
        return risk(happens(case, crashes[0]), *why, numbers=numbers, pod=case.struck(crashes[0])[0])
    restarted = [pod for pod in case.selected if any(c.restarts for c in pod.containers)]
    if restarted:
        most = max(restarted, key=lambda pod: max(c.restarts for c in pod.containers))
        count = max(c.restarts for c in most.containers)
        return fits(f"pod {most.name} has restarted {count} times", pod=most.name)
    if case.selects_nothing:
        return against("no pod is selected that could crash")
    if any(pod.containers for pod in case.selected):
        return against("no container of the pods has restarted")
    return possible("the file does not show the containers of the pods")


def _not_exposed(case: Case) -> Evidence:
    kind = case.scenario.service.type
    if kind == "ClusterIP":
        return fault(f"{case.name} is of type ClusterIP: no node listens for it")
    port = case.scenario.service.node_port
    return against(f"{case.name} is of type {kind}" + (f" with nodePort {port}" if port else ""))


CAUSES = (
    Cause(
        name="no-endpoints",
        title="No endpoint is ready",
        symptoms=("refused", "timeout"),
        weigh=_no_endpoints,
        where="kubectl",
        check="kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={service} -o wide",
        shows="no addresses, or none whose condition ready is true",
        fix="make a pod ready: kubectl describe pods -n {namespace} -l {selector} says why none is",
        source="k8s:pkg/proxy/iptables/proxier.go (REJECT without endpoints)",
    ),
    Cause(
        name="selector-matches-nothing",
        title="The Service's selector matches no pod",
        symptoms=("refused",),
        weigh=_selector,
        where="kubectl",
        check="kubectl get pods -n {namespace} -l {selector} --show-labels",
        shows="No resources found",
        fix="make spec.selector of the Service equal to labels of the pod template, in the same namespace",
        source="kubernetes.io/docs/tasks/debug/debug-application/debug-service",
    ),
    Cause(
        name="target-port-name",
        title="The named targetPort is declared by no container",
        symptoms=("refused",),
        weigh=_port_name,
        where="kubectl",
        check=(
            "kubectl get pods -n {namespace} -l {selector} -o "
            "jsonpath='{{.items[*].spec.containers[*].ports}}'"
        ),
        shows="no port of that name; the slice has addresses but no port",
        fix="name the container's port {port_name}, or give targetPort as a number",
        source="k8s:staging/src/k8s.io/endpointslice/utils.go getEndpointPorts",
    ),
    Cause(
        name="target-port-closed",
        title="Nothing listens on the targetPort",
        symptoms=("refused",),
        weigh=_port_number,
        where="kubectl",
        check="kubectl exec -n {namespace} {pod} -- ss -ltn sport = :{target_port}",
        shows="no LISTEN, or one on 127.0.0.1 only",
        fix="set targetPort to the port the application listens on; let it listen on 0.0.0.0, not 127.0.0.1",
        source="kubernetes.io/docs/tasks/debug/debug-application/debug-service",
    ),
    Cause(
        name="pod-not-ready",
        title="Some pods are not ready",
        symptoms=("one-hot-pod", "refused"),
        rank=27,
        weigh=_not_ready,
        where="kubectl",
        check="kubectl describe pod {pod} -n {namespace}",
        shows="Readiness probe failed, or the container still starts",
        fix=(
            "mend the readiness probe or what it asks for; the rest "
            "of the pods must carry the load until then"
        ),
        source="kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes",
    ),
    Cause(
        name="crash-loop",
        title="A pod crashes again and again",
        symptoms=("reset", "refused", "deploy-errors"),
        rank=27,
        weigh=_crash_loop,
        where="kubectl",
        check="kubectl logs {pod} -n {namespace} --previous --tail=20",
        shows="why the container ended; it comes back after 0, 10, 20 ... 300 s",
        fix=(
            "mend what ends the container; see kubectl describe pod "
            "{pod} -n {namespace} for OOMKilled or a probe"
        ),
        source="k8s:pkg/kubelet/kubelet.go (back-off 10 s doubling to 5 min)",
    ),
    Cause(
        name="not-exposed",
        title="The Service has no NodePort",
        symptoms=("refused", "timeout"),
        weigh=_not_exposed,
        where="kubectl",
        check="kubectl get service {service} -n {namespace} -o jsonpath='{{.spec.type}} {{.spec.ports}}'",
        shows="type ClusterIP, or ports without nodePort",
        fix='kubectl patch service {service} -n {namespace} -p \'{{"spec":{{"type":"NodePort"}}}}\'',
        source="kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",
    ),
)
