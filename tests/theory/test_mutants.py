"""Every mutant is caught by a named check: tests that cannot fail prove nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import closed_forms
import exact_laws
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import mutants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mutants import Mutant

CAUGHT_BY: dict[Mutant, Callable[[], None] | str] = {
    mutants.service_takes_longer: exact_laws.a_queue_grows_by_what_it_cannot_serve,
    mutants.robin_skips_one_every_lap: exact_laws.ipvs_turns_are_exact,
    mutants.nothing_pins: exact_laws.the_pin_holds,
    mutants.data_goes_before_control: exact_laws.control_goes_first,
    mutants.retries_stay: exact_laws.the_next_node_rescues,
    mutants.syns_come_late: exact_laws.syns_follow_the_schedule,
    mutants.time_wait_is_short: exact_laws.conntrack_is_rate_times_lifetime,
    mutants.first_endpoint_is_favoured: "connections over pods",
    mutants.one_more_may_wait: "M/M/2/5 share turned away",
    mutants.think_is_short: "closed loop throughput",
}
CAUGHT_BY_STATISTICS = {
    mutants.service_takes_longer: "service time",
    mutants.workers_rest: "M/M/1 response",
    mutants.arrivals_are_regular: "M/D/1 response",
}


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no run of a mutant be taken for one of the engine, nor the other way round."""
    with monkeypatch.context() as patch:
        patch.setattr(closed_forms, "remembered", {})
        yield


def holds(check: Callable[[], None] | str) -> bool:
    """Tell whether the engine passes a check, exact or statistical."""
    if isinstance(check, str):
        return closed_forms.holds(check)
    try:
        check()
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("mutant", CAUGHT_BY, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert not holds(CAUGHT_BY[mutant])


@pytest.mark.long
@pytest.mark.parametrize("mutant", CAUGHT_BY_STATISTICS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught_by_statistics(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert not holds(CAUGHT_BY_STATISTICS[mutant])


def test_every_mutant_has_its_check() -> None:
    written = {f for f in vars(mutants).values() if getattr(f, "__module__", "") == mutants.__name__}
    assert written == CAUGHT_BY.keys() | CAUGHT_BY_STATISTICS.keys()
