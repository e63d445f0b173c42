"""Requests per CPU second of the C floor, the compiled engine and the oracle, case by case, in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cases import CASES, PLAIN, PROFILES
from sides import PlainC, Reference, Scheduler, prepare, take_turns

from nodeportsim.scenario.profile import load_profile

if TYPE_CHECKING:
    from sides import Timed

    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

ORACLE_S = {"new connection": 2.0, "5,000 x 150,000": 0.2, "50,000 services": 8.0, PLAIN: 2.0}
"""Cases that the oracle covers, and for how long: some 40,000 requests each. It knows neither connections
that are kept nor an application's 503."""
ORACLE_ROUNDS = 3
DIGITS = 4

Row = dict[str, Any]


def rows(case: str, rounds: int) -> list[Row]:
    """Time one case; the plain path has a second row, with the least C program in the floor's place."""
    scenario = CASES[case]()
    profile = PROFILES[case]() if case in PROFILES else load_profile(scenario.cluster.profile)
    prepared = prepare(scenario, profile=profile)
    makers: dict[str, Any] = {"floor": lambda: prepared}
    if case == PLAIN:
        makers["plain.c"] = lambda: PlainC(prepared)
    makers["compiled"] = lambda: Scheduler(scenario, profile)
    if case in ORACLE_S:
        short = shorter(scenario, ORACLE_S[case])
        makers["oracle"] = lambda: Reference(short, profile)
        assert_covered(short, profile)
    Scheduler(shorter(scenario, 0.1), profile).run()  # Compiles, where nothing is kept.
    timed = take_turns(makers, rounds, {"oracle": min(rounds, ORACLE_ROUNDS)})
    assert_same_work(timed)
    found = [row(case, timed, "floor")]
    return [*found, row(f"{case}, plain.c", timed, "plain.c")] if case == PLAIN else found


def shorter(scenario: Scenario, duration_s: float) -> Scenario:
    return scenario.model_copy(update={"run": scenario.run.model_copy(update={"duration_s": duration_s})})


def assert_covered(short: Scenario, profile: Profile) -> None:
    """Assert that the oracle carries as many requests as the engine, with the same success."""
    sides = Reference(short, profile), Scheduler(short, profile)
    for side in sides:
        side.run()
    theirs, ours = (side.read() for side in sides)
    assert (theirs.offered, theirs.succeeded) == (ours.offered, ours.succeeded)


def assert_same_work(timed: dict[str, Timed]) -> None:
    """Assert that what was timed did the same: requests, successes, every bucket of the histogram."""
    ours = timed["compiled"].answer
    for name in timed.keys() & {"floor", "plain.c"}:
        theirs = timed[name].answer
        assert (theirs.offered, theirs.succeeded) == (ours.offered, ours.succeeded), name
    assert (timed["floor"].answer.latency == ours.latency).all()
    if "plain.c" in timed:
        # The engine rounds an instant twice where a request waits for a worker: a nanosecond at most.
        off_ns = abs(timed["plain.c"].answer.latency_ns - int(ours.latency_sum_ns.sum()))
        assert off_ns <= ours.succeeded


def row(case: str, timed: dict[str, Timed], floor: str) -> Row:
    """Write down rates and ratios; None where the oracle does not cover the case."""
    floor_per_s, compiled_per_s = timed[floor].per_s, timed["compiled"].per_s
    oracle_per_s = timed["oracle"].per_s if "oracle" in timed else None
    numbers = {
        "floor_per_s": floor_per_s,
        "compiled_per_s": compiled_per_s,
        "oracle_per_s": oracle_per_s,
        "compiled_over_floor": compiled_per_s / floor_per_s,
        "compiled_over_oracle": compiled_per_s / oracle_per_s if oracle_per_s else None,
    }
    return {"case": case} | {name: rounded(number) for name, number in numbers.items()}


def rounded(number: float | None) -> float | None:
    """Round to four significant digits; whole numbers stay whole."""
    if number is None:
        return None
    short = float(f"{number:.{DIGITS}g}")
    return int(short) if short.is_integer() else short
