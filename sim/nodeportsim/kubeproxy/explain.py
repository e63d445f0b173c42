"""The rules of a cluster, put in words and figures: what each mode costs, and one packet's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from nodeportsim.kubeproxy.rules import structure, walk
from nodeportsim.kubeproxy.walk import Mode, Walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.kubeproxy.walk import Packet, ServicePort, Shape


def explain(
    shape: Shape, port: ServicePort, cost_s: Callable[[Mode, Packet, Walk], float]
) -> list[dict[str, Any]]:
    """Describe what a new connection to one service port meets in each mode.

    Parameters
    ----------
    shape, port
        The cluster and the port.
    cost_s
        Price (s) of a packet's walk in a mode.

    Returns
    -------
    list of dict
        Per mode ``mode``, ``chains``, ``rules`` (of all tables) and, per packet kind, the rules tested
        (``walk``) and their price (``cost_s``): ``first`` (first position and endpoint), ``mean``,
        ``last``.
    """
    return [_explain(mode, shape, port, cost_s) for mode in get_args(Mode)]


def _explain(
    mode: Mode, shape: Shape, port: ServicePort, cost_s: Callable[[Mode, Packet, Walk], float]
) -> dict[str, Any]:
    packets: list[Packet] = ["nodeport", "clusterip", "podip"] if port.node_port else ["clusterip", "podip"]
    walks = {packet: _extremes(mode, shape, port, packet) for packet in packets}
    written = structure(mode, shape)
    return {
        "mode": mode,
        "chains": written.chain_count(),
        "rules": written.rule_count(),
        "walk": {packet: {at: one.total for at, one in ways.items()} for packet, ways in walks.items()},
        "cost_s": {
            packet: {at: cost_s(mode, packet, one) for at, one in ways.items()}
            for packet, ways in walks.items()
        },
    }


def _extremes(mode: Mode, shape: Shape, port: ServicePort, packet: Packet) -> dict[str, Walk]:
    places = shape.node_ports if packet == "nodeport" else shape.cluster_ips
    endpoints = port.external_endpoints if packet == "nodeport" else port.internal_endpoints
    return {
        "first": walk(mode, shape, port, packet, position=1, endpoint=1),
        "mean": walk(mode, shape, port, packet),
        "last": walk(mode, shape, port, packet, position=max(places, 1), endpoint=max(endpoints, 1)),
    }


def trace(way: Walk) -> list[dict[str, str | float]]:
    """List a walk as rows ``hook``, ``chain``, ``rules``, ``lookups``, a row per visited chain."""
    rows: list[dict[str, str | float]] = []
    for tested in way.rows:
        if not tested.rules:
            continue
        if rows and (rows[-1]["hook"], rows[-1]["chain"]) == (tested.hook, tested.chain):
            rows[-1]["rules"] = float(rows[-1]["rules"]) + tested.rules
            rows[-1]["lookups"] = float(rows[-1]["lookups"]) + tested.lookups
        else:
            rows.append(
                {"hook": tested.hook, "chain": tested.chain, "rules": tested.rules, "lookups": tested.lookups}
            )
    return rows
