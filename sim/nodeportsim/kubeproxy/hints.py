"""Which zone each endpoint is meant for, as the EndpointSlice controller decides for ``topology-mode: Auto``.

Zones get endpoints in proportion to the CPU of their ready nodes. Every endpoint begins with its own zone;
zones that have more than they should lend some to those that have less. The controller gives no hints at all
where an endpoint could get more than 1.2 times its fair share that way: 11 endpoints in three equal zones
need at least ceil(11/3/1.2) = 4 each, 12 in all, so 4 + 4 + 3 have no hints (kubernetes/kubernetes#122437).

Source: k8s:staging/src/k8s.io/endpointslice/topologycache (AddHints, getAllocations,
getGivingAndReceivingZones, redistributeHints). Left out: that slices without a change keep their hints while
these are good enough, and Go's random order of zones: of equal ones the first counts here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OVERLOAD_THRESHOLD = 0.2
"""How much more than its fair share an endpoint may have to expect (topologycache.go)."""

WHOLE, HALF = 1.0, 0.5  # Of an endpoint: less is not worth lending it (utils.go).


@dataclass(frozen=True, kw_only=True)
class Hints:
    """Zone of every endpoint, in their order; none where the controller refused, for the reason it gives."""

    zones: tuple[str, ...] = ()
    refused: str = ""


def proportional(zones: Sequence[str | None], cores: Mapping[str | None, float]) -> Hints:
    """Allot ready endpoints to zones in proportion to their cores.

    Parameters
    ----------
    zones
        Zone of every ready endpoint; None where its node has none.
    cores
        Cores of the ready nodes by zone; None collects the nodes without a zone.
    """
    if None in cores or len(cores) < 2:  # noqa: PLR2004  (two zones, to choose between)
        return Hints(refused="insufficient node information")
    if len(cores) > len(zones):
        return Hints(refused="fewer endpoints than zones")
    named = {zone: amount / sum(cores.values()) * len(zones) for zone, amount in cores.items() if zone}
    least = {zone: ceil(fair * (1 / (1 + OVERLOAD_THRESHOLD))) for zone, fair in named.items()}
    if sum(least.values()) > len(zones):
        return Hints(refused="the least allotment exceeds the overload threshold")
    own = [zone for zone in zones if zone is not None]
    if len(own) < len(zones):
        return Hints(refused="an endpoint without a zone")
    return Hints(zones=_lent(own, {zone: max(fair, least[zone]) for zone, fair in named.items()}))


def _lent(own: Sequence[str], wanted: Mapping[str, float]) -> tuple[str, ...]:
    """Begin with each endpoint's own zone, then let zones with too many lend the first of theirs."""
    giving, taking = _moves(Counter(own), wanted)
    meant = []
    for zone in own:
        taker = next(iter(+taking), None) if giving[zone] > 0 else None
        if taker is not None:
            giving[zone] -= 1
            taking[taker] -= 1
        meant.append(taker or zone)
    return tuple(meant)


def _moves(have: Mapping[str, int], wanted: Mapping[str, float]) -> tuple[Counter[str], Counter[str]]:
    """Count the endpoints that each zone lends, and that each borrows: from most spare to most in need."""
    over = {zone: have.get(zone, 0) - target for zone, target in wanted.items()}
    spare = {zone: number for zone, number in over.items() if number > 0}
    need = {zone: -number for zone, number in over.items() if number < 0}
    giving: Counter[str] = Counter()
    taking: Counter[str] = Counter()
    while spare and need:
        giver, taker = (max(some, key=lambda zone: some[zone]) for some in (spare, need))
        most, least = spare[giver], need[taker]
        if max(most, least) < WHOLE or min(most, least) < HALF:
            break
        giving[giver] += 1
        taking[taker] += 1
        spare[giver] -= 1
        need[taker] -= 1
    return giving, taking
