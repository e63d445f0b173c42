"""Real clients, rules, pods and a real cut do what a simulation of the same scenario predicts.

Every test also holds the same live run against a scenario that is wrong in one way, which must be noticed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nodeportsim.calibrate.live.cases import (
    WORK_S,
    Overheads,
    adjusted,
    calmly,
    case,
    disturbance_s,
    is_disturbed,
    overheads,
)
from nodeportsim.calibrate.live.compare import compare, simulate
from nodeportsim.calibrate.live.lab import view
from nodeportsim.calibrate.measuring import backends
from nodeportsim.calibrate.measuring.testbed import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.calibrate.live.compare import Row
    from nodeportsim.calibrate.live.lab import Answer
    from nodeportsim.calibrate.measuring.testbed import Bed
    from nodeportsim.scenario.spec import Scenario

pytestmark = pytest.mark.long

LEVEL = 0.9999  # Chance is to fail one run in ten thousand; what is wrong must stand out beyond that.
FEW = 6  # Replications are enough to see what is far off.
KINDS = pytest.mark.parametrize("kind", [("iptables-legacy", "iptables-nft"), ("nftables",)], ids="-".join)


@pytest.fixture(scope="module")
def bed(machine: None) -> Iterator[Bed]:  # noqa: ARG001  (it skips)
    with build() as made:
        yield made


@pytest.fixture(scope="module")
def added(bed: Bed) -> Overheads:
    """What this machine adds to every request."""
    return overheads(bed)


def usable(bed: Bed, kind: tuple[str, ...]) -> str:
    """The first backend of a kind that works here; skip where none does."""
    reasons = []
    for backend in kind:
        reason = backends.refusal(bed, backend, view(case("probe", backend, rate=1.0, seconds=2.0)))
        if reason is None:
            return backend
        reasons.append(f"{backend}: {reason}")
    pytest.skip(f"needs {'; '.join(reasons)}")


def played(bed: Bed, backend: str, scenario: Scenario) -> list[Answer]:
    """A live run, played again once if the machine was busy; skip where it still is."""
    answers = calmly(bed, backend, scenario, print)
    if is_disturbed(answers):
        pytest.skip(f"needs a calmer machine: it was {disturbance_s(answers) * 1e3:.1f} ms late, twice")
    return answers


def misses(scenario: Scenario, answers: list[Answer], added: Overheads) -> dict[str, Row]:
    """What does not hold, by name."""
    rows = compare(scenario, answers, simulate(adjusted(scenario, added)), added, level=LEVEL)
    return {row.measure: row for row in rows if row.holds is False}


@KINDS
def test_latencies_and_shares_of_pods_are_as_predicted(
    bed: Bed, added: Overheads, kind: tuple[str, ...]
) -> None:
    backend = usable(bed, kind)
    scenario = case("busy", backend, rate=140.0, seconds=8.0)
    answers = played(bed, backend, scenario)
    assert not misses(scenario, answers, added)
    # A fifth more work is seen request by request, half of the work in the quantiles of a short run.
    slower = replace(added, turn_s=added.turn_s + 0.2 * WORK_S)
    assert {"replayed.p50", "replayed.p90"} <= misses(scenario, answers, slower).keys()
    law = {"dist": "constant", "mean_s": WORK_S / 2}
    light = case("busy", backend, rate=140.0, seconds=8.0, law=law, replications=FEW)
    assert {"latency.p50", "latency.p90"} <= misses(light, answers, added).keys()


@KINDS
def test_a_cut_node_fails_its_share_until_the_rules_change(
    bed: Bed, added: Overheads, kind: tuple[str, ...]
) -> None:
    backend = usable(bed, kind)

    def cut(noticed_s: float, **more: int) -> Scenario:
        event = {"at_s": 1.5, "fault": "cut", "node": "node-2"}
        changed = {"events": [event], "noticed_s": noticed_s, "connect_s": 2.0}
        return case("cut", backend, rate=70.0, seconds=8.0, **changed, **more)

    answers = played(bed, backend, cut(3.0))
    assert not misses(cut(3.0), answers, added)
    assert "recovered" in misses(cut(5.0, replications=FEW), answers, added)


def test_syns_sent_again_connect_in_lumps_after_a_short_cut(bed: Bed, added: Overheads) -> None:
    backend = usable(bed, ("nftables", "iptables-legacy", "iptables-nft"))

    def blink(for_s: float, **more: int) -> Scenario:
        event = {"at_s": 1.5, "fault": "cut", "node": "node-2", "for_s": for_s}
        return case("blink", backend, rate=70.0, seconds=6.0, events=[event], connect_s=10.0, **more)

    answers = played(bed, backend, blink(2.7))
    assert not misses(blink(2.7), answers, added)
    assert "connects.3s" in misses(blink(1.7, replications=FEW), answers, added)
