"""Quantities: what is read, what is refused, and that writing and reading are inverse."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.units import (
    DURATIONS_S,
    duration_s,
    format_duration,
    rate_rps,
    ratio,
    size_bytes,
    write_duration,
    write_rate,
    write_ratio,
)

POSITIVE = st.floats(min_value=1e-12, max_value=1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5ms", 0.005), ("1.5 s", 1.5), ("1m30s", 90.0), ("1h0.5s", 3600.5), ("2d", 172800.0), ("1e3ns", 1e-6)],
)
def test_a_duration_is_its_number_times_its_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@given(st.integers(0, 10**6), st.sampled_from(sorted(DURATIONS_S)))
def test_a_duration_is_correctly_rounded(number: int, unit: str) -> None:
    assert duration_s(f"{number}{unit}") == float(Fraction(number) * DURATIONS_S[unit])


def test_a_rate_counts_per_second_minute_or_hour() -> None:
    assert [rate_rps(text) for text in ("200/s", "60/m", "1800/h")] == [200.0, 1.0, 0.5]


def test_a_size_has_decimal_and_binary_units() -> None:
    assert [size_bytes(text) for text in ("64Ki", "2k", "3", "1Gi")] == [65536.0, 2000.0, 3.0, 2.0**30]


def test_a_share_is_the_float_nearest_to_its_percentage() -> None:
    assert ratio("57%") == 0.57  # 57 * 0.01 is 0.5700000000000001
    assert ratio("20%") == 0.2


@pytest.mark.parametrize(
    "text",
    ["", "5", "ms", "5 lightyears", "1e999s", "0x5s", "٣s", "1m30", "1s2", "9" * 70 + "s", "nan s", "5msms"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        duration_s(text)


def test_a_refusal_names_the_units_and_an_example() -> None:
    with pytest.raises(InputError) as caught:
        rate_rps("3 rps")
    assert caught.value.rule == "must be a number with one of the units /s, /m, /h, as in 200/s"
    assert caught.value.got == "3 rps"


@given(POSITIVE)
def test_what_is_written_is_read_back_exactly(value: float) -> None:
    assert duration_s(write_duration(value)) == value
    assert rate_rps(write_rate(value)) == value
    assert ratio(write_ratio(value)) == value


@given(st.text(max_size=80))
def test_any_text_is_a_quantity_or_an_input_error(text: str) -> None:
    for read in (duration_s, rate_rps, size_bytes, ratio):
        with contextlib.suppress(InputError):
            assert isinstance(read(text), float)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0046, "4.6 ms"), (0.0, "0 s"), (90.0, "90 s"), (1.2e-8, "12 ns"), (3e-5, "30 µs")],
)
def test_people_read_three_digits_and_a_fitting_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
