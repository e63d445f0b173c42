"""Quantities as people write them, to SI floats and back: ``5ms`` <-> 0.005.

Only what the input language needs. Own code because the alternatives cost more than they give:
pint takes 0.37 s to import and 375 us to parse a value, against 3 us here. Scales are exact
fractions, so that ``57%`` is the float 0.57 and not 57 * 0.01 = 0.5700000000000001.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from nodeportsim.errors import InputError

DURATIONS_S = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "ms": Fraction(1, 10**3),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
RATES_RPS = {"/s": Fraction(1), "/m": Fraction(1, 60), "/h": Fraction(1, 3600)}
SIZES_BYTES = {"": Fraction(1)} | {
    unit: Fraction(size)
    for unit, size in {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}.items()
}
RATIOS = {"%": Fraction(1, 100)}

NUMBER = r"[+-]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"\s*({NUMBER})\s*(\S*)\s*")
_GO_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|us|µs|ns|m|s)")
_GO_DURATION = re.compile(rf"\s*(?:{_GO_PART.pattern}){{2,}}\s*")
_LONGEST = 64  # characters: more is no quantity, and big numbers are slow to read


def _parse(text: str, units: dict[str, Fraction], example: str) -> float:
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or match[2] not in units:
        known = ", ".join(unit for unit in units if unit)
        raise InputError(f"must be a number with one of the units {known}, as in {example}", got=text)
    try:
        return float(Fraction(match[1].replace("_", "")) * units[match[2]])
    except OverflowError:
        raise InputError("must be finite", got=text) from None


def duration_s(text: str) -> float:
    """Read a duration in seconds: ``5ms`` is 0.005; Go's compound form ``1m30s`` is 90."""
    if len(text) <= _LONGEST and _GO_DURATION.fullmatch(text):
        return float(sum(Fraction(number) * DURATIONS_S[unit] for number, unit in _GO_PART.findall(text)))
    return _parse(text, DURATIONS_S, "5ms")


def rate_rps(text: str) -> float:
    """Read a rate per second: ``200/s`` is 200, ``60/m`` is 1."""
    return _parse(text, RATES_RPS, "200/s")


def size_bytes(text: str) -> float:
    """Read a size in bytes: ``64Ki`` is 65536."""
    return _parse(text, SIZES_BYTES, "64Ki")


def ratio(text: str) -> float:
    """Read a share: ``20%`` is 0.2."""
    return _parse(text, RATIOS, "20%")


def write_duration(value_s: float) -> str:
    """Write seconds for a file, so that `duration_s` reads the same float back."""
    return f"{value_s!r}s"


def write_rate(value_rps: float) -> str:
    """Write a rate for a file, so that `rate_rps` reads the same float back."""
    return f"{value_rps!r}/s"


def write_ratio(value: float) -> str:
    """Write a share for a file, so that `ratio` reads the same float back."""
    return f"{Decimal(repr(value)) * 100}%"


def format_duration(value_s: float) -> str:
    """Write seconds for people, three significant digits: 0.0046 is ``4.6 ms``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(value_s) >= size:
            return f"{value_s / size:.3g} {unit}"
    return f"{value_s / 1e-9:.3g} ns" if value_s else "0 s"
