"""How many endpoints a zone is allotted, and when the controller refuses."""

from __future__ import annotations

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.kubeproxy.hints import OVERLOAD_THRESHOLD, Hints, proportional

EVEN = {"a": 4.0, "b": 4.0, "c": 4.0}


def placed(**pods: int) -> list[str | None]:
    """Zones of endpoints: so many in each."""
    return [zone for zone, count in pods.items() for _ in range(count)]


def test_four_four_three_in_equal_zones_get_no_hints() -> None:
    """kubernetes/kubernetes#122437: 3 ceil(11 / 3 / 1.2) = 12 > 11; the user's own numbers and words."""
    assert proportional(placed(a=4, b=4, c=3), EVEN) == Hints(
        refused="the least allotment exceeds the overload threshold"
    )
    assert proportional(placed(a=4, b=4, c=4), EVEN).zones == tuple(placed(a=4, b=4, c=4))


def test_the_controller_refuses_what_it_cannot_allot() -> None:
    assert proportional(placed(a=1, b=1), EVEN).refused == "fewer endpoints than zones"
    assert proportional(placed(a=9), {"a": 4.0}).refused == "insufficient node information"
    assert proportional(placed(a=9), {**EVEN, None: 4.0}).refused == "insufficient node information"
    assert proportional([*placed(a=4, b=4, c=3), None], EVEN).refused == "an endpoint without a zone"


def test_a_zone_with_too_many_lends_its_first_to_the_zone_with_most_need() -> None:
    """Fair are 4 each: of 6 + 4 + 2 the first two of a go to c."""
    assert proportional(placed(a=6, b=4, c=2), EVEN).zones == ("c", "c", *placed(a=4, b=4, c=2))


def test_a_zone_with_twice_the_cores_gets_twice_the_endpoints() -> None:
    hints = proportional(placed(a=3, b=3, c=2), {"a": 4.0, "b": 8.0, "c": 4.0})
    assert Counter(hints.zones) == {"a": 2, "b": 4, "c": 2}


def test_an_endpoint_in_a_zone_without_ready_nodes_keeps_its_own_zone() -> None:
    hints = proportional(placed(a=3, b=3, lost=2), {"a": 4.0, "b": 4.0})
    assert Counter(hints.zones)["lost"] == 2


@given(
    st.lists(st.sampled_from("abc"), min_size=3, max_size=60),
    st.fixed_dictionaries({zone: st.integers(1, 64) for zone in "abc"}),
)
def test_no_zone_gets_less_than_its_least_and_none_moves_without_need(
    zones: list[str], cores: dict[str, int]
) -> None:
    """Where there are hints, a zone has its fair share / 1.2, but for what rounding takes."""
    hints = proportional(zones, {zone: float(n) for zone, n in cores.items()})
    if hints.refused:
        return
    got = Counter(hints.zones)
    for zone, amount in cores.items():
        fair = amount / sum(cores.values()) * len(zones)
        assert got[zone] > ceil(fair / (1 + OVERLOAD_THRESHOLD)) - 1
    kept = sum(own == meant for own, meant in zip(zones, hints.zones, strict=True))
    wanted = {
        zone: max(n / sum(cores.values()) * len(zones), ceil(n / sum(cores.values()) * len(zones) / 1.2))
        for zone, n in cores.items()
    }
    spare = sum(max(0.0, Counter(zones)[zone] - target) for zone, target in wanted.items())
    assert len(zones) - kept <= ceil(spare) + len(cores)
