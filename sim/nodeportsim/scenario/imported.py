"""A cluster's objects as a scenario file for people: every value with where it came from.

What the objects do not say stands there too where an answer hangs on it, marked ``assumed``: the load, the
pods' service time, the network, the profile. The file is an ordinary scenario; comments are all it has more.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from nodeportsim.scenario.complaint import complaint
from nodeportsim.scenario.objects import candidates, scenario_fields
from nodeportsim.scenario.spec import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nodeportsim.errors import Location
    from nodeportsim.scenario.documents import Path
    from nodeportsim.scenario.gather import Known

_WIDTH, _MS = 100, 1e-3
_QUANTITY = re.compile(r"([0-9.e-]+)(s|/s)")
_SHOWN: dict[tuple[str, ...], str] = {  # What is written even where nothing tells it, and why it matters.
    ("cluster", "nodes"): "no Node is given",
    ("cluster", "cores"): "no Node tells its cores",
    ("cluster", "kubernetesVersion"): "no Node tells its version",
    ("cluster", "profile"): "prices of kernel and machine: nodeportsim calibrate fits your own",
    ("cluster", "proxy", "mode"): "no KubeProxyConfiguration is given",
    ("cluster", "proxy", "minSyncPeriod"): "kube-proxy's default",
    ("cluster", "network", "clientNode"): "one way, between clients and nodes: measure yours",
    ("cluster", "network", "nodeNode"): "one way, between two nodes: measure yours",
    ("service", "replicas"): "no endpoints, pods or Deployment are given",
    ("pods", "workers"): "requests that a pod works on at a time",
    ("pods", "serviceTime"): "how long a pod works on a request: nodeportsim calibrate reads load tests",
    ("pods", "terminationGracePeriodSeconds"): "no pod tells it",
    ("clients", "rate"): "new requests per second, of all clients together",
    ("clients", "count"): "clients, each with its own address and connections",
    ("clients", "entry", "policy"): "how a client chooses the node it enters by",
    ("clients", "connections", "reuse"): "none opens a connection for every request",
    ("run", "duration"): "simulated time of a replication",
}


def imported(
    known: Known, service: str | None, *, remarks: Sequence[str] = (), profile: str | None = None
) -> str:
    """Write a scenario file, which `read` accepts.

    Parameters
    ----------
    known
        What the objects say.
    service
        ``NAMESPACE/NAME`` of the Service under study; None where only one can carry NodePort traffic.
    remarks
        Further lines of the comment it begins with.
    profile
        Where the prices come from; None for the default's.

    Raises
    ------
    InputError
        The choice of the Service is open, it is not simulated, or the cluster is larger than what is.
    """
    fields = scenario_fields(known, service)
    if profile:
        fields["cluster"]["profile"] = profile
    kept = {part: value for part, value in fields.items() if value not in ({}, [])}
    whole, assumed = _with_defaults(kept)
    _validate(whole)
    comments = _sources(known, whole) | {path: f"assumed: {_SHOWN[path]}" for path in assumed}
    head = [
        f"A scenario of a cluster: {_counted(known)}.",
        'Made from these objects alone. What they do not say is marked "assumed": set it.',
        *remarks,
    ]
    lines = [f"# {line}".rstrip() for line in head]
    lines += _lines({"apiVersion": "nodeportsim/v1", "kind": "Scenario"} | whole, (), comments)
    return "\n".join(lines) + "\n"


def _validate(fields: dict[str, Any]) -> None:
    try:
        Scenario.model_validate(fields, context={"file": True}, by_alias=True, by_name=False)
    except ValidationError as error:
        raise complaint(error, written=fields, sets={}, place=_nowhere) from None


def _nowhere(path: Path, *, key: bool) -> Location | None:  # noqa: ARG001  a field of ours stands in no file
    return None


def listed(known: Known) -> list[dict[str, Any]]:
    """List the Services, a row each: those that can be simulated first, others with the reason."""
    rows = [
        {
            "service": f"{service.namespace}/{service.name}",
            "type": service.type,
            "nodePort": next((port.node_port for port in service.ports if port.node_port), None),
            "policy": service.external_traffic_policy or None,
            "affinity": service.session_affinity,
            "endpoints": endpoints,
            "left out": reason,
        }
        for service, endpoints, reason in candidates(known.cluster)
    ]
    return sorted(rows, key=lambda row: (row["left out"] != "", row["nodePort"] is None))


def _with_defaults(fields: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, ...]]]:
    """Add what is to be shown; the second part are the paths that were added."""
    default = Scenario().model_dump(mode="json", by_alias=True)
    default["clients"] = default["clients"][0]
    default["pods"]["serviceTime"] = {
        name: value for name, value in default["pods"]["serviceTime"].items() if value is not None
    }
    whole: dict[str, Any] = dict.fromkeys(("name", "cluster", "service", "pods", "clients")) | fields
    added: list[tuple[str, ...]] = []
    for path in _SHOWN:
        here: dict[str, Any] = whole
        there: dict[str, Any] = default
        for step in path[:-1]:
            here[step] = dict(here.get(step) or {})
            here, there = here[step], there[step]
        if here.get(path[-1]) is None:
            here[path[-1]] = _neat(there[path[-1]])
            added.append(path)
    return whole, added


def _neat(value: Any) -> Any:
    """Write a default as people do: 0.00025s is 250us, 200.0/s is 200/s."""
    if isinstance(value, dict):
        return {key: _neat(inner) for key, inner in value.items()}
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    number, unit = float(match[1]), match[2]
    if unit == "/s" or number >= 1 or not number:
        return f"{number:g}{unit}"
    return f"{number * 1e3:g}ms" if number >= _MS else f"{number * 1e6:g}us"


def _sources(known: Known, whole: dict[str, Any]) -> dict[tuple[str, ...], str]:
    """Say where values come from."""
    given = known.cluster.kinds
    nodes = "from the Nodes" if "Node" in given else "from the nodes that endpoints name"
    replicas = next((kind for kind in ("EndpointSlice", "Pod", "Deployment") if kind in given), None)
    service = f"from Service {whole['service']['namespace']}/{whole['service']['name']}"
    found: dict[tuple[str, ...], str] = {
        ("cluster", "nodes"): nodes,
        ("cluster", "profile"): "with sync prices from the metrics",
        ("cluster", "nodeZones"): "label topology.kubernetes.io/zone",
        ("cluster", "cores"): "status.capacity.cpu",
        ("cluster", "kubernetesVersion"): "status.nodeInfo.kubeletVersion",
        ("cluster", "background"): "counted: the other Services with endpoints",
        ("service",): service,
        ("service", "replicas"): f"from {replicas}s",
        ("pods", "terminationGracePeriodSeconds"): "from the Pods",
        ("pods", "preStop"): "from the Pods",
        ("pods", "readinessProbe"): "from the Pods",
        ("pods", "placement"): f"from {replicas}s",
        ("assumptions",): "what reading took for granted; a report repeats it",
    }
    if known.proxy:
        declared = "" if known.proxy.declared else ": empty there, which is iptables"
        found["cluster", "proxy"] = f"from {known.proxy.title}"
        found["cluster", "proxy", "mode"] = f"from {known.proxy.title}{declared}"
        found["cluster", "conntrack"] = f"from {known.proxy.title}, for so many cores"
    return found


def _counted(known: Known) -> str:
    cluster = known.cluster
    counts = {
        "Nodes": len(cluster.nodes),
        "Services": len(cluster.services),
        "service ports with endpoints": cluster.counts.ports,
        "Pods": len(cluster.pods) + known.passed,
        "Deployments": len(cluster.deployments),
    }
    ignored = Counter(title.partition(" ")[0] for title in cluster.ignored)
    told = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join(told) + (f"; {sum(ignored.values())} other objects were passed over" if ignored else "")


def _lines(
    value: Mapping[str, Any], path: tuple[str, ...], comments: Mapping[tuple[str, ...], str]
) -> Iterator[str]:
    """Write a mapping, a line a field; lists of names are wrapped, lists of mappings have a line an item."""
    indent = "  " * len(path)
    for key, item in value.items():
        if item is None or item == {}:
            continue
        below = (*path, key)
        note = f"  # {_printable(comments[below])}" if below in comments else ""
        if isinstance(item, dict) and below not in _SHOWN:
            yield f"{indent}{key}:{note}"
            yield from _lines(item, below, comments)
        elif isinstance(item, list):
            yield f"{indent}{key}:{note}"
            yield from _items(item, indent + "  ")
        else:
            yield f"{indent}{key}: {_flow(item)}{note}"


def _items(items: Sequence[Any], indent: str) -> Iterator[str]:
    if any(isinstance(item, dict) or " " in str(item) for item in items):
        yield from (f"{indent}- {_flow(_told(item))}" for item in items)
        return
    line = f"{indent}["
    for item in items:
        word = f"{_flow(item)}, "
        if len(line) + len(word) > _WIDTH:
            yield line.rstrip()
            line = f"{indent} "
        line += word
    yield line.removesuffix(", ") + "]"


def _told(item: Any) -> Any:
    """Leave out of a pod's place what goes without saying."""
    usual = {"ready": True, "serving": True, "terminating": False}
    if not isinstance(item, dict):
        return item
    return {key: value for key, value in item.items() if usual.get(key) is not value}


def _flow(value: Any) -> str:
    """Write a value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
