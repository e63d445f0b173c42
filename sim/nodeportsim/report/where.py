"""The table "Where requests go": hops between nodes and zones, the hottest zone, when rules know a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report.words import duration, known, plain, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Summary = Mapping[str, Any]


def rows(summary: Summary) -> list[list[str]]:
    """Lay out the shares of hops, the zones, the programming delay: what of it there is."""
    return [*_hops(summary), *_zones(summary), *_programming(summary)]


def _hops(summary: Summary) -> Iterator[list[str]]:
    found = summary.get("routes")
    if not found or len(summary["nodes"]) == 1:
        return
    yield ["answered by a pod of another node", share(found["other_node_ratio"])]
    if known(found["hop_s"]):
        yield ["... which takes longer by", duration(found["hop_s"])]


def _zones(summary: Summary) -> Iterator[list[str]]:
    found = summary.get("routes")
    if not found or "zones" not in found:
        return
    yield ["answered in another zone", share(found["other_zone_ratio"])]
    for zone in found["zones"] if known(found["hottest_zone"]) else []:
        yield [f"load of a pod in {zone['zone']} / mean pod", plain(zone["pod_over_mean"])]


def _programming(summary: Summary) -> Iterator[list[str]]:
    found = summary.get("programming_s")
    for name, words in (
        ("p50", "half of the nodes"),
        ("p99", "99 % of them"),
        ("slowest", "the last of them"),
    ):
        if found:
            yield [f"rules know a change on {words} after", duration(found[name])]
