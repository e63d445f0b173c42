"""How numbers are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.report import words


def interval(estimate: float | None, half: float | None = None) -> dict[str, float | None]:
    if estimate is None or half is None:
        return {"estimate": estimate, "low": None, "high": None}
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.1784, "0.178"),
        (1234567.0, "1,230,000"),
        (0.000123, "0.000123"),
        (99.96, "100"),
    ],
)
def test_a_number_has_three_significant_digits_and_no_exponent(value: float, text: str) -> None:
    assert words.significant(value) == text


@pytest.mark.parametrize(
    ("estimate", "half", "text"),
    [
        (0.0279, 0.0004, "27.9 ms ± 0.4"),
        (3.0062, 0.0002, "3.01 s ± 0.01"),
        (4.2e-5, 1e-6, "42 µs ± 1"),
        (0.0046, None, "4.6 ms"),
        (None, None, "-"),
        (0.0, None, "0 µs"),
    ],
)
def test_a_time_is_written_in_the_unit_of_its_size(
    estimate: float | None, half: float | None, text: str
) -> None:
    assert words.duration(interval(estimate, half)) == text


@given(st.floats(1e-6, 1e6), st.floats(1e-9, 1e3))
def test_a_printed_half_width_is_never_smaller_than_the_true_one(estimate: float, half: float) -> None:
    bounds = interval(estimate, half)
    value, printed = (float(part.replace(",", "")) for part in words.plain(bounds).split(" ± "))
    assert printed >= words.half_width(bounds) * (1 - 1e-9) - 1e-6
    last_digit = 10.0 ** -len(words.plain(bounds).split(" ± ")[0].partition(".")[2])
    assert math.isclose(value, estimate, abs_tol=0.5000001 * last_digit)


def test_every_number_fits_the_column_it_stands_in() -> None:
    """Four phases, a name and their gaps share 80 columns: 14 characters a cell."""
    widest = [words.duration(interval(10.0**power, 10.0 ** (power - 3))) for power in range(-6, 4)]
    assert max(map(len, widest)) <= 14


def test_multiples_and_differences_carry_true_signs() -> None:
    assert words.times(1.61) == "1.61\N{MULTIPLICATION SIGN}"
    assert (words.signed(-0.03), words.signed(0.03), words.signed(0)) == ("\N{MINUS SIGN}3 %", "+3 %", "0 %")
