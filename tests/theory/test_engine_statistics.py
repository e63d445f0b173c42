"""The engine against closed forms: `tests/closed_forms.py` says which, and how certain that is."""

from __future__ import annotations

import pytest
from closed_forms import BUSY, CHECKS, LEVEL, SAMPLES, VISIBLE


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in BUSY else []) for name in CHECKS]
)
def test_a_mean_is_the_closed_form(name: str) -> None:
    check = CHECKS[name]
    estimate, half = check.interval(LEVEL)
    assert half < VISIBLE * check.expected
    assert abs(estimate - check.expected) <= half


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_follows_its_law(name: str) -> None:
    assert SAMPLES[name]() >= LEVEL
