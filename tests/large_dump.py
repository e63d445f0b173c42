"""What ``kubectl get nodes,svc,endpointslices,pods -A -o json`` prints for a cluster of any size.

Objects are as long as real ones: with status, conditions, owner references, images and managed fields (a pod
some 10 kB, as kubectl indents it). Deterministic; every Service has the same number of pods, one in 25 has
a NodePort. ``python tests/large_dump.py NODES SERVICES PODS`` prints it.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE_PORT_EVERY = 25
NAMESPACES = 100
CORES = 8
_TIME = "2026-05-04T03:02:01Z"
_SMALL = {
    "apiVersion": "v1",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:ports": {}},
    "manager": "kubectl-client-side-apply",
    "operation": "Update",
    "time": _TIME,
}
_MANAGED = {
    "apiVersion": "v1",
    "fieldsType": "FieldsV1",
    "fieldsV1": {
        "f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"main"}': {
                    ".": {},
                    "f:image": {},
                    "f:ports": {".": {}, 'k:{"containerPort":8080}': {".": {}, "f:protocol": {}}},
                    "f:readinessProbe": {
                        ".": {},
                        "f:httpGet": {".": {}, "f:path": {}},
                        "f:periodSeconds": {},
                    },
                    "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}, "f:memory": {}}},
                    "f:terminationMessagePath": {},
                }
            },
            "f:dnsPolicy": {},
            "f:enableServiceLinks": {},
            "f:restartPolicy": {},
            "f:securityContext": {},
            "f:terminationGracePeriodSeconds": {},
        },
    },
    "manager": "kube-controller-manager",
    "operation": "Update",
    "time": _TIME,
}


def _metadata(**fields: Any) -> dict[str, Any]:
    base = {"creationTimestamp": _TIME, "managedFields": [_SMALL], "resourceVersion": "1234567"}
    return base | {"uid": "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"} | fields


def _conditions(*kinds: str) -> list[dict[str, str]]:
    return [{"lastTransitionTime": _TIME, "reason": "AsReported", "status": "True", "type": k} for k in kinds]


NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": _metadata(
        name="@node",
        labels={"kubernetes.io/hostname": "@node", "topology.kubernetes.io/zone": "zone-@zone"},
    ),
    "spec": {"podCIDR": "10.0.0.0/24", "providerID": "cloud:///zone/@node"},
    "status": {
        "addresses": [{"address": "192.0.2.1", "type": "InternalIP"}],
        "allocatable": {"cpu": "7910m", "memory": "30Gi", "pods": "110"},
        "capacity": {"cpu": str(CORES), "memory": "32Gi", "pods": "110"},
        "conditions": _conditions("MemoryPressure", "DiskPressure", "PIDPressure", "Ready"),
        "images": [
            {"names": [f"registry.example/team/image-{n}@sha256:{'a' * 64}"], "sizeBytes": 12345678}
            for n in range(50)
        ],
        "nodeInfo": {"kernelVersion": "6.18.0", "kubeletVersion": "v1.36.2", "operatingSystem": "linux"},
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": _metadata(name="@service", namespace="@space", labels={"app": "@service"}),
    "spec": {
        "clusterIP": "10.96.0.1",
        "clusterIPs": ["10.96.0.1"],
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        "selector": {"app": "@service"},
        "sessionAffinity": "None",
        "type": "ClusterIP",
    },
    "status": {"loadBalancer": {}},
}
ENDPOINT = {
    "addresses": ["@ip"],
    "conditions": {"ready": True, "serving": True, "terminating": False},
    "nodeName": "@node",
    "targetRef": {"kind": "Pod", "name": "@pod", "namespace": "@space", "uid": "0b1c2d3e"},
    "zone": "zone-@zone",
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": _metadata(
        name="@pod",
        namespace="@space",
        generateName="@service-7d9f8b6c5-",
        labels={"app": "@service", "pod-template-hash": "7d9f8b6c5"},
        managedFields=[_MANAGED, _SMALL],
        ownerReferences=[{"apiVersion": "apps/v1", "controller": True, "kind": "ReplicaSet", "name": "r"}],
    ),
    "spec": {
        "containers": [
            {
                "env": [{"name": f"SETTING_{n}", "value": "some value of it"} for n in range(5)],
                "image": "registry.example/team/app:1.2.3",
                "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
                "name": "main",
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 5},
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "volumeMounts": [{"mountPath": "/var/run/tokens", "name": "token", "readOnly": True}],
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "nodeName": "@node",
        "terminationGracePeriodSeconds": 45,
        "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        "volumes": [{"name": "token", "projected": {"sources": [{"downwardAPI": {"items": []}}]}}],
    },
    "status": {
        "conditions": _conditions("Initialized", "Ready", "ContainersReady", "PodScheduled"),
        "containerStatuses": [
            {
                "containerID": f"containerd://{'a' * 64}",
                "imageID": f"registry.example/team/app@sha256:{'b' * 64}",
                "name": "main",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": _TIME}},
            }
        ],
        "phase": "Running",
        "podIP": "@ip",
        "podIPs": [{"ip": "@ip"}],
        "qosClass": "Burstable",
    },
}


def pieces(nodes: int, services: int, pods: int) -> Iterator[str]:
    """Give the text of the list, an object at a time."""
    yield '{\n    "apiVersion": "v1",\n    "items": [\n        '
    comma = ""
    for text in _objects(nodes, services, pods // services):
        yield comma + text
        comma = ",\n        "
    yield '\n    ],\n    "kind": "List",\n    "metadata": {"resourceVersion": ""}\n}\n'


def _objects(nodes: int, services: int, each: int) -> Iterator[str]:
    node, plain, pod, endpoint = (_indented(template) for template in (NODE, SERVICE, POD, ENDPOINT))
    port = '"port": 80,'
    entered = plain.replace('"type": "ClusterIP"', '"type": "NodePort"').replace(port, f"{port} @nodePort")
    for n in range(nodes):
        yield _filled(node, node=f"node-{n}", zone=str(n % 3))
    for k in range(services):
        number = f'"nodePort": {30000 + k // NODE_PORT_EVERY},'
        text = plain if k % NODE_PORT_EVERY else entered.replace("@nodePort", number)
        yield _filled(text, service=f"service-{k}", space=f"space-{k % NAMESPACES}")
    for k in range(services):
        ends = (_filled(endpoint, **names) for names in _pods(k, each, nodes))
        label = {"kubernetes.io/service-name": f"service-{k}"}
        piece = {
            "addressType": "IPv4",
            "apiVersion": "discovery.k8s.io/v1",
            "endpoints": ["@endpoints"],
            "kind": "EndpointSlice",
            "metadata": _metadata(
                name=f"service-{k}-x7k2p", namespace=f"space-{k % NAMESPACES}", labels=label
            ),
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
        yield _indented(piece).replace('"@endpoints"', ", ".join(ends))
    for k in range(services):
        yield from (_filled(pod, **names) for names in _pods(k, each, nodes))


def _pods(service: int, each: int, nodes: int) -> Iterator[dict[str, str]]:
    for p in range(service * each, (service + 1) * each):
        ip = f"10.{p >> 16 & 255}.{p >> 8 & 255}.{p & 255}"
        names = {"service": f"service-{service}", "space": f"space-{service % NAMESPACES}"}
        yield names | {"pod": f"pod-{p}", "ip": ip, "node": f"node-{p % nodes}", "zone": str(p % nodes % 3)}


def _indented(template: dict[str, Any]) -> str:
    return json.dumps(template, indent=4).replace("\n", "\n        ")


def _filled(text: str, **names: str) -> str:
    for name, value in names.items():
        text = text.replace(f"@{name}", value)
    return text


if __name__ == "__main__":
    for each in pieces(*map(int, sys.argv[1:])):
        sys.stdout.write(each)
