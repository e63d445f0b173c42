"""Kubernetes objects of a small healthy cluster, to be broken one field at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Objects = dict[str, Any]


def node(n: int, **status: Any) -> Objects:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    address = {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{n}"}]}
    info = {"nodeInfo": {"kubeletVersion": "v1.36.2", "kernelVersion": "6.18.0"}, "capacity": {"cpu": "4"}}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{n}"},
        "spec": {},
        "status": {**ready, **address, **info, **status},
    }


def service(**spec: Any) -> Objects:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"},
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.96.0.10",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
            **spec,
        },
    }


def pod(n: int, on: str, **container: Any) -> Objects:
    fields = {
        "name": "main",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        **container,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"web-{n}", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": on, "containers": [fields]},
        "status": {
            "podIP": f"10.244.0.{n}",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "restartCount": 0, "state": {"running": {}}}],
        },
    }


def endpoint(n: int, on: str, **fields: Any) -> Objects:
    target = {"kind": "Pod", "name": f"web-{n}"}
    return {"addresses": [f"10.244.0.{n}"], "nodeName": on, "targetRef": target, **fields}


def piece(*endpoints: Objects) -> Objects:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-abc",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "", "port": 8080}],
    }


def healthy() -> dict[str, Any]:
    """Three nodes, a pod on each, nothing wrong; by name, so that a test can break one of them."""
    return {
        **{f"node-{n}": node(n) for n in (1, 2, 3)},
        "service": service(),
        **{f"web-{n}": pod(n, f"node-{n}") for n in (1, 2, 3)},
        "slice": piece(*(endpoint(n, f"node-{n}") for n in (1, 2, 3))),
    }


def written(objects: dict[str, Any], folder: Path) -> Path:
    """Write objects as kubectl prints them."""
    file = folder / "dump.json"
    items = [each for each in objects.values() if each is not None]
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return file
