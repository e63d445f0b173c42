"""The verdict on measured counts: every rule's chance, and a sentence on the rule in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.diagnose import luck
from nodeportsim.scenario.ports import addresses as source_addresses
from nodeportsim.theory.balance import local_shares

if TYPE_CHECKING:
    from nodeportsim.diagnose.case import Case
    from nodeportsim.diagnose.luck import Chance, Measured


def verdict(
    measured: Measured, case: Case | None = None, *, nodes: int | None = None, addresses: int | None = None
) -> dict[str, Any]:
    """Hold counts against each rule that could have made them.

    Parameters
    ----------
    case
        Tells the rule in force; None: nothing is known but the counts.
    nodes
        By how many nodes the connections enter; else the case's.
    addresses
        How many client addresses there are; else those of the case, where affinity is on.
    """
    chances, in_force = _chances(measured, case, nodes, addresses)
    known = case is not None and (in_force is not chances[0] or case.mode is not None)
    rows = [_row(chance, known and chance is in_force) for chance in chances]
    most = luck.explained_up_to(measured) if in_force.p < luck.ORDINARY else None
    return {
        "counts": list(measured.counts),
        "connections": measured.choices,
        "given": measured.connections is not None,
        "max_over_mean": max(measured.counts) / _mean(measured),
        "min_over_mean": min(measured.counts) / _mean(measured),
        "rules": rows,
        "verdict": _sentence(in_force, most),
        "explained_up_to": most,
    }


def _mean(measured: Measured) -> float:
    return sum(measured.counts) / len(measured.counts)


def _chances(
    measured: Measured, case: Case | None, nodes: int | None, addresses: int | None
) -> tuple[list[Chance], Chance]:
    """Every rule that can be judged, and the one in force: the most special that is known to hold."""
    chances = [luck.at_random(measured)]
    in_force = chances[0]
    nodes = nodes or (case.scenario.cluster.nodes if case and case.knows_nodes else None)
    if nodes:
        chances += [luck.by_rotation(measured, nodes), luck.by_least(measured, nodes)]
        if case and case.mode == "ipvs":
            in_force = chances[2 if case.scenario.cluster.proxy.scheduler in {"lc", "wlc"} else 1]
    shares = _local_shares(case, measured)
    if shares:
        chances.append(luck.by_local(measured, shares))
        in_force = chances[-1]
    affine = case is not None and case.scenario.service.session_affinity == "ClientIP"
    if case and affine and not addresses:
        addresses = sum(source_addresses(group) for group in case.clients) or None
    if addresses:
        chances.append(luck.by_affinity(measured, addresses))
        in_force = chances[-1] if affine else in_force
    return chances, in_force


def _local_shares(case: Case | None, measured: Measured) -> list[float]:
    """Shares of the pods under policy Local; none where it is off, or other pods were measured."""
    if case is None or not case.is_local:
        return []
    pods = list(case.usable_by_node.values())
    return local_shares(pods) if sum(pods) == len(measured.counts) else []


def _row(chance: Chance, in_force: bool) -> dict[str, Any]:
    return {
        "rule": chance.rule,
        "in_force": in_force,
        "assumes": chance.assumes,
        "hottest_p": chance.hottest_p,
        "coldest_p": chance.coldest_p,
        "p": chance.p,
        "how": chance.how,
        "verdict": chance.verdict,
    }


def _sentence(chance: Chance, most: int | None) -> str:
    """Say it in plain words, with what to look for."""
    said = f"{chance.verdict} ({chance.rule})"
    if most is None:
        return said
    hint = "look for reused connections or affinity"
    if chance.rule.startswith("ipvs"):
        hint = f"other connections move a node's rotation, and syncs reset it; else {hint}"
    return f"{said}; luck does it with up to about {most} independent choices: {hint}"
