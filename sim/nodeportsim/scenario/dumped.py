"""A node's dump laid under a scenario: its proxy, its other Services, the first place of the one under study.

The dump decides what the formulas would have to assume. It is one node's, at one instant: kube-proxy shuffles
the Services at each sync, so the place it shows holds until the first one of the run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nodeportsim.kubeproxy.dump_rows import find
from nodeportsim.kubeproxy.rules import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.kubeproxy.concrete import Port
    from nodeportsim.kubeproxy.dump import Dump
    from nodeportsim.kubeproxy.walk import Packet
    from nodeportsim.scenario.spec import Scenario


def under_study(dump: Dump, scenario: Scenario) -> Port | None:
    """Find the scenario's Service: by its NodePort, else by name; None in mode ipvs, which has no names.

    Raises
    ------
    InputError
        A dump with names does not hold it.
    """
    service = scenario.service
    for port in dump.view.ports:
        if service.node_port is not None and port.node_port == service.node_port:
            return port
    return None if dump.mode == "ipvs" else find(dump, f"{service.namespace}/{service.name}")


def fields(dump: Dump, scenario: Scenario) -> dict[str, Any]:
    """Return the fields, by path, that the dump decides."""
    own = under_study(dump, scenario)
    others = [port for port in dump.view.ports if not _is_left_out(port, own)]
    served = [port for port in others if port.endpoints]
    exposed = sum(port.node_port > 0 for port in served)
    endpoints = sum(len(port.endpoints) for port in served)
    background = {
        "services": len({(port.namespace, port.service) for port in served}),
        "ports": len(served),
        "nodePorts": exposed,
        "endpointsPerService": round(endpoints / len(served)) if served else 0,
    }
    found: dict[str, Any] = {"cluster.proxy.mode": dump.mode, "cluster.background": background}
    if dump.mode == "iptables":
        found["cluster.proxy.localhostNodePorts"] = dump.loopback_rules > 0
        found |= {"cluster.proxy.backend": dump.backend} if dump.backend else {}
        place = dump.position(own, _packet(scenario)) if own else None
        found |= {"cluster.proxy.firstPosition": place} if place else {}
    return found


def sets(dump: Dump, scenario: Scenario) -> tuple[str, ...]:
    """Return the same as ``path=value``, as ``--set`` takes it."""
    return tuple(f"{path}={json.dumps(value)}" for path, value in fields(dump, scenario).items())


def notes(dump: Dump, scenario: Scenario) -> Iterator[str]:
    """Say what the dump holds that the simulation leaves out."""
    yield f"rules of one node's dump: {len(dump.view.ports)} service ports, mode {dump.mode}; for all nodes"
    if dump.mode == "iptables" and dump.backend is None:
        yield "the dump does not name the backend of iptables: the scenario's is taken"
    yield from (f"the dump says: {warning}" for warning in dump.warnings)
    own, packet = under_study(dump, scenario), _packet(scenario)
    if own is None:
        yield "ipvsadm names no Service and no NodePort of the scenario is in it: all of them are background"
        return
    closed = sum(not port.endpoints for port in dump.view.ports)
    if closed:
        yield f"{closed} service ports of the dump without endpoints are left out"
    read = dump.follow(own, packet)
    if read.foreign:
        yield f"{read.foreign} rules of other software in the way have no price in the profile: left out"
    if read.unknown:
        yield f"rules not understood, taken as not matching: {', '.join(sorted(read.unknown))}"
    place = dump.position(own, packet)
    formula = walk(
        dump.mode, dump.view.shape, own.counted, packet, position=place, endpoint=1 if own.endpoints else None
    )
    if read.walk.total - read.foreign != formula.total:
        yield f"a first packet tests {read.walk.total:g} rules of the dump; priced are {formula.total:g}"


def _packet(scenario: Scenario) -> Packet:
    return "clusterip" if scenario.service.type == "ClusterIP" else "nodeport"


def _is_left_out(port: Port, own: Port | None) -> bool:
    """Whether a port is the Service's under study, or default/kubernetes, which is counted anyway."""
    names = (port.namespace, port.service)
    return names == ("default", "kubernetes") or (own is not None and names == (own.namespace, own.service))
