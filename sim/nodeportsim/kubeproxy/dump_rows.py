"""All Services of a node's dump as a table: where each stands, what its packets test, what that costs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.dump import usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nodeportsim.kubeproxy.concrete import Port
    from nodeportsim.kubeproxy.dump import Dump
    from nodeportsim.kubeproxy.walk import Packet, Walk

LISTED = 3  # Names offered where one is not found.


def rows(dump: Dump, cost_s: Callable[[Packet, Walk], float]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Follow a NodePort and a ClusterIP packet to the first and the last endpoint of every port.

    Parameters
    ----------
    dump
        The node's rules.
    cost_s
        Price (s) of a packet's walk.

    Returns
    -------
    (list of dict, Counter)
        A row per service port, in the order of the dump: names and numbers, and per packet kind ``position``,
        rules tested (``first``, ``mean``, ``last`` endpoint), ``cost_s`` (of the mean), ``foreign`` rules and
        ``verdict``. The mean is that of the first and the last, for each further endpoint costs a rule. The
        Counter says, by what was not understood, how many service ports' packets met it.
    """
    unknown: Counter[str] = Counter()
    return [_row(dump, port, cost_s, unknown) for port in dump.view.ports], unknown


def _row(
    dump: Dump, port: Port, cost_s: Callable[[Packet, Walk], float], unknown: Counter[str]
) -> dict[str, Any]:
    met: set[str] = set()
    row: dict[str, Any] = {
        "service": port.full_name,
        "protocol": port.protocol,
        "cluster_ip": port.cluster_ip,
        "port": port.port,
        "node_port": port.node_port,
        "endpoints": len(port.endpoints),
    }
    for packet in packets(port):
        last = max(len(usable(port, packet)), 1)
        ways = [dump.follow(port, packet, endpoint=rank) for rank in ((1, last) if last > 1 else (1,))]
        totals = [way.walk.total for way in ways]
        met |= {name for way in ways for name in way.unknown}
        row[packet] = {
            "position": dump.position(port, packet),
            "first": totals[0],
            "mean": sum(totals) / len(totals),
            "last": totals[-1],
            "cost_s": sum(cost_s(packet, way.walk) for way in ways) / len(ways),
            "foreign": ways[0].foreign,
            "verdict": ways[0].walk.verdict,
        }
    unknown.update(met)
    return row


def packets(port: Port) -> Iterator[Packet]:
    """Kinds of packets a port takes."""
    if port.node_port:
        yield "nodeport"
    if port.cluster_ip:
        yield "clusterip"


def find(dump: Dump, name: str) -> Port:
    """Find a Service's port by ``namespace/service`` or ``namespace/service:port``; the first of several.

    Raises
    ------
    InputError
        The dump does not hold it.
    """
    from difflib import get_close_matches

    known = {port.full_name: port for port in reversed(dump.view.ports)}
    known |= {f"{port.namespace}/{port.service}": port for port in reversed(dump.view.ports)}
    if name not in known:
        near = get_close_matches(name, known, n=LISTED, cutoff=0.5) or list(known)[-LISTED:]
        raise InputError("is not in the dump", field=name, hint=f"there are {', '.join(near)} ...")
    return known[name]
