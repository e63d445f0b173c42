"""A range of a quantity, from ``1ms`` to ``50ms``: what stands at which part of the way.

Values are written in the unit of the lower end, as a person would: plain digits, six of them significant, the
ends as they were given. A field that counts something gets whole numbers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from nodeportsim.errors import InputError
from nodeportsim.units import DURATIONS_S, NUMBER, RATES_RPS, RATIOS, SIZES_BYTES

DIGITS = 6
KINDS = (DURATIONS_S, RATES_RPS, RATIOS, SIZES_BYTES)
_END = re.compile(rf"\s*({NUMBER})\s*([^\d\s]*)\s*")


@dataclass(frozen=True, kw_only=True)
class Range:
    """Every value from `low` to `high`.

    Parameters
    ----------
    low, high
        The ends, in `unit`.
    ends
        The ends as they were written.
    unit
        As in `nodeportsim.units`; empty for a bare number.
    is_log
        Equal steps are equal factors, and not equal differences.
    is_integer
        Only whole numbers are meant.
    """

    low: float
    high: float
    ends: tuple[str, str]
    unit: str
    is_log: bool
    is_integer: bool

    def steps(self, count: int) -> tuple[str, ...]:
        """Write `count` values in equal steps; whole numbers that would repeat stand once."""
        if count == 1:
            return (self.ends[0],)
        inside = [self._text(self._at(place / (count - 1))) for place in range(1, count - 1)]
        return tuple(dict.fromkeys([self.ends[0], *inside, self.ends[1]]))

    def drawn(self, u: float) -> str:
        """Write the value that a uniform draw from [0, 1) stands for; whole numbers are all as likely.

        Of a logarithmic range of whole numbers each is as likely as the part of the range from half below it
        to half above.
        """
        if not self.is_integer:
            return self._text(self._at(u))
        if self.is_log:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return self._text(min(max(math.exp(low + u * (high - low)), self.low), self.high))
        return self._text(self.low + math.floor(u * (self.high - self.low + 1)))

    def _at(self, part: float) -> float:
        """Value after this part of the way."""
        if self.is_log:
            return math.exp(math.log(self.low) + part * (math.log(self.high) - math.log(self.low)))
        return self.low + part * (self.high - self.low)

    def _text(self, value: float) -> str:
        if self.is_integer:
            return str(round(value))
        # Not 1e-05, which YAML takes for a word.
        return f"{Decimal(f'{value:.{DIGITS}g}'):f}{self.unit}"


def read_range(ends: tuple[str, str], *, is_log: bool, is_integer: bool, field: str, got: str) -> Range:
    """Read a range from its two ends.

    Raises
    ------
    InputError
        An end is no quantity, the two measure different things, the lower is not below the higher, or a
        logarithmic range does not lie above zero.
    """
    low, high = (_end(text, field) for text in ends)
    units = _common(low[1], high[1], field, got)
    unit = low[1] if low[0] or not high[1] else high[1]  # Zero is the same in every unit.
    values = [float(number * units[own or unit] / units[unit]) for number, own in (low, high)]
    whole = is_integer and not unit
    if whole and not all(value.is_integer() for value in values):
        raise InputError("counts something: its range must end at whole numbers", field=field, got=got)
    if values[0] >= values[1]:
        raise InputError("must go from a lower to a higher value", field=field, got=got)
    if is_log and values[0] <= 0:
        raise InputError("must lie above zero to be logarithmic", field=field, got=got, hint="take lin:")
    written = (ends[0].strip(), ends[1].strip())
    return Range(low=values[0], high=values[1], ends=written, unit=unit, is_log=is_log, is_integer=whole)


def _end(text: str, field: str) -> tuple[Fraction, str]:
    match = _END.fullmatch(text)
    if match is None or not any(match[2] in kind for kind in KINDS):
        rule = "must be a range of numbers or quantities, as in log:100/s:10000/s:5 or 1ms..50ms"
        raise InputError(rule, field=field, got=text)
    return Fraction(match[1].replace("_", "")), match[2]


def _common(low: str, high: str, field: str, got: str) -> dict[str, Fraction]:
    """Find the kind of quantity both ends are of; a bare zero is of any."""
    for kind in KINDS:
        units = {"": Fraction(1), **kind}
        if low in units and high in units:
            return units
    raise InputError("must have ends of one kind, as in 1ms..50ms", field=field, got=got)
