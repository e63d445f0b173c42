"""Which node should answer, by what is known: the list to hold a round of ``nc`` against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.diagnose.case import Case

SILENT = ("power-off", "cut", "cut-in", "cut-out")


def expected(case: Case) -> list[dict[str, Any]]:
    """Say of every node what a new connection to its NodePort meets there."""
    return list(_rows(case)) if case.knows_endpoints and case.knows_nodes else []


def _rows(case: Case) -> Iterator[dict[str, Any]]:
    for node, here in case.usable_by_node.items():
        found = case.nodes.get(node)
        yield {
            "node": node,
            "address": found.address if found else None,
            "ready": found.ready if found else None,
            "endpoints": here,
            "expected": _expected(case, node, here),
        }


def _expected(case: Case, node: str, here: int) -> str:
    found = case.nodes.get(node)
    silent = [event for event in case.events(*SILENT) if node in case.struck(event)]
    if found and not found.ready:
        return "silence, if the machine is dead"
    if not case.usable:
        return "refuses: no endpoint is ready"
    if case.is_local and not here:
        return "drops: policy Local, no endpoint here"
    if silent:
        return f"answers, silence from {silent[0].at_s:g} s on"
    return "answers"
