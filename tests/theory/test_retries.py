"""Retries, hedges and fan-out against enumerated outcomes, integrals and published figures."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.theory import failure, retries

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("p", [0.0, 0.35, 0.9, 1.0])
@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_success_and_load_are_those_of_every_pattern_of_failures(p: float, attempts: int) -> None:
    succeeded = load = 0.0
    for pattern in itertools.product((True, False), repeat=attempts):
        chance = math.prod(p if failed else 1 - p for failed in pattern)
        succeeded += chance * (not all(pattern))
        load += chance * (pattern.index(False) + 1 if not all(pattern) else attempts)
    assert retries.success_ratio(p, attempts) == pytest.approx(succeeded)
    assert retries.load_factor(p, attempts) == pytest.approx(load)


def test_three_attempts_at_35_percent_succeed_and_load_as_published() -> None:
    assert retries.success_ratio(0.35, 3) == pytest.approx(0.957125, abs=1e-12)
    assert retries.load_factor(0.35, 3) == pytest.approx(1.4725, abs=1e-12)


@given(p=st.floats(0, 1), attempts=st.integers(1, 8))
def test_the_load_is_that_of_the_failure_module_where_all_entries_live(p: float, attempts: int) -> None:
    other = failure.load_factor(attempts, nodes=3, dead_nodes=0, dead_endpoint_ratio=p)
    assert retries.load_factor(p, attempts) == pytest.approx(other)


def test_a_budget_of_a_tenth_bounds_the_load_whatever_fails() -> None:
    # Site Reliability Engineering, ch. 21: 3x without a per-client budget of 10 %, 1.1x with it.
    assert retries.load_factor(1.0, 3) == 3.0
    assert retries.budgeted_load_factor(1.0, 3, 0.1) == pytest.approx(1.1)
    assert retries.budgeted_load_factor(0.05, 3, 0.1) == retries.load_factor(0.05, 3) < 1.1


def layered(p: float, attempts: int, layers: int) -> tuple[float, float]:
    """Failing share and calls to the bottom of one request to the topmost layer, call by call."""
    if layers == 0:
        return p, 1.0
    failing, calls = layered(p, attempts, layers - 1)
    return failing**attempts, sum(failing**k * calls for k in range(attempts))


@pytest.mark.parametrize("p", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize(("attempts", "layers"), [(1, 3), (2, 2), (3, 3), (4, 3)])
def test_layers_multiply_what_each_of_them_asks_for(p: float, attempts: int, layers: int) -> None:
    assert retries.layered_load_factor(p, attempts, layers) == pytest.approx(layered(p, attempts, layers)[1])


def test_three_layers_of_three_retries_make_64_attempts_as_published() -> None:
    # Site Reliability Engineering, ch. 22.
    assert retries.layered_load_factor(1.0, 4, 3) == 64.0


def test_a_hundred_leaves_make_one_slow_answer_of_a_hundred_the_rule_as_published() -> None:
    # Dean & Barroso 2013: 63 % of the requests to 100 leaves take over a second where 1 % of the leaves do.
    assert retries.fan_out_slow_ratio(0.01, 100) == pytest.approx(0.634, abs=5e-4)
    assert (retries.fan_out_slow_ratio(0.3, 0), retries.fan_out_slow_ratio(0.3, 1)) == (
        0.0,
        pytest.approx(0.3),
    )


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 1.0, 3.0])
def test_the_hedged_exponential_mean_is_the_integral_of_its_survival(delay_s: float) -> None:
    from scipy.integrate import quad

    def survival(t: float) -> float:
        return retries.hedged_survival(lambda u: math.exp(-u / 0.7), t, delay_s)

    mean = quad(survival, 0, delay_s)[0] + quad(survival, delay_s, math.inf)[0]
    assert retries.hedged_exponential_mean_s(0.7, delay_s) == pytest.approx(mean, rel=1e-7)


def test_hedging_at_once_halves_the_mean_and_never_hedging_leaves_it() -> None:
    assert retries.hedged_exponential_mean_s(2.0, 0.0) == 1.0
    assert retries.hedged_exponential_mean_s(2.0, 1e6) == pytest.approx(2.0)


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.02, 0.5, 2.0])
def test_two_point_attempts_hedge_as_all_four_pairs_do(delay_s: float) -> None:
    fast_s, slow_s, q = 0.01, 1.0, 0.01
    expected: dict[float, float] = {}
    for first, second in itertools.product((fast_s, slow_s), repeat=2):
        chance = (q if first == slow_s else 1 - q) * (q if second == slow_s else 1 - q)
        at_s = min(first, delay_s + second)
        expected[at_s] = expected.get(at_s, 0.0) + chance
    law = retries.hedged_two_point(fast_s, slow_s, q, delay_s)
    assert law == pytest.approx(expected)
    assert sum(law.values()) == pytest.approx(1.0)

    def survival(t: float) -> float:
        return float(t < fast_s) or (q if t < slow_s else 0.0)

    for t in (0.0, 0.009, 0.02, 0.6, 1.5):
        left = sum(mass for at_s, mass in law.items() if at_s > t)
        assert retries.hedged_survival(survival, t, delay_s) == pytest.approx(left, abs=1e-15)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("failing_ratio", lambda: retries.success_ratio(1.1, 2)),
        ("attempts", lambda: retries.load_factor(0.5, 0)),
        ("budget_ratio", lambda: retries.budgeted_load_factor(0.5, 3, -0.1)),
        ("layers", lambda: retries.layered_load_factor(0.5, 3, 0)),
        ("layers", lambda: retries.layered_load_factor(1.0, 10, 300)),
        ("leaves", lambda: retries.fan_out_slow_ratio(0.1, -1)),
        ("slow_ratio", lambda: retries.fan_out_slow_ratio(-0.1, 3)),
        ("delay_s", lambda: retries.hedged_exponential_mean_s(1.0, -1.0)),
        ("mean_s", lambda: retries.hedged_exponential_mean_s(0.0, 1.0)),
        ("slow_s", lambda: retries.hedged_two_point(2.0, 1.0, 0.1, 0.0)),
    ],
)
def test_an_argument_outside_its_domain_is_named(field: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError) as refusal:
        call()
    assert refusal.value.field == field
