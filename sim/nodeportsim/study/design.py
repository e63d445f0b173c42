"""Which points of a parameter space are simulated: ``--vary PATH=...``, and how they are combined.

An axis is written as

* values, ``proxy.mode=iptables,ipvs``: commas within brackets or quotes do not separate;
* steps, ``clients.rate=log:100/s:10000/s:5`` or ``lin:1ms:50ms:6``: the ends and what lies between in equal
  factors or differences, whole numbers without repeats where the field counts something;
* a range, ``log:100/s:10000/s``, ``lin:1ms:50ms`` or ``1ms..50ms``, from which `lhs` and `sobol` draw.

Methods: `grid`, every combination, the last axis fastest; `zip`, the first values of all, then the second;
`lhs`, a Latin hypercube (McKay, Beckman and Conover 1979, doi:10.1080/00401706.1979.10489755): n points,
one in each n-th of every axis; `sobol`, a scrambled Sobol' sequence (Owen 1998, doi:10.1006/jcom.1998.0487),
balanced for powers of two. Both are SciPy's, seeded. Values among which they choose have equal parts.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Literal, get_args

from nodeportsim.errors import InputError
from nodeportsim.scenario.fields import dotted, field_of
from nodeportsim.study.ranges import Range, read_range
from nodeportsim.units import NUMBER, duration_s, rate_rps, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nodeportsim.scenario.fields import Field

Value = str | int | float | bool | None
Method = Literal["grid", "zip", "lhs", "sobol"]
METHODS: tuple[Method, ...] = get_args(Method)
DRAWN = ("lhs", "sobol")
_BELOW_ONE = 1.0 - 2.0**-53

_STEPS = re.compile(r"(lin|log):(.*)")
_RANGE = re.compile(r"(.+?)\.\.(.+)")
_WORDS: dict[str, Value] = {"true": True, "false": False}
_OPEN, _CLOSE = "[{", "]}"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter that is varied.

    Parameters
    ----------
    path, written
        Its path, and all of it, as it was written.
    texts
        Its values as ``--set`` takes them; empty for a range.
    range
        From which values are drawn, where there are no values.
    is_text
        The field holds plain text: ``1.30`` is a version there and no number.
    """

    path: str
    written: str = ""
    texts: tuple[str, ...] = ()
    range: Range | None = None
    is_text: bool = False

    @property
    def ends(self) -> tuple[str, str]:
        """First and last of what it can be."""
        return self.range.ends if self.range else (self.texts[0], self.texts[-1])

    def drawn(self, u: float) -> str:
        """Give the value that a uniform draw from [0, 1] stands for."""
        u = min(u, _BELOW_ONE)
        return self.range.drawn(u) if self.range else self.texts[int(u * len(self.texts))]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point: what it is called, and what is set there.

    Parameters
    ----------
    labels
        Value by path as written, a number where it is a bare one.
    sets
        As ``--set`` takes them.
    """

    labels: dict[str, Value]
    sets: tuple[str, ...]


def parse_vary(words: Sequence[str]) -> tuple[Axis, ...]:
    """Read what was given as ``--vary``.

    Raises
    ------
    InputError
        No field of a scenario, a field or a value given twice, nothing to vary over, an unusable range.
    """
    axes: dict[str, Axis] = {}
    for word in words:
        path, equals, text = (part.strip() for part in word.partition("="))
        if not equals or not path:
            raise InputError("must be path=values, as in proxy.mode=iptables,ipvs", field="--vary", got=word)
        field, place = field_of(path, option="--vary")
        if (name := dotted(place)) in axes:
            raise InputError("is varied twice", field=f"--vary {path}", hint=f"first as {axes[name].path}")
        axes[name] = replace(_axis(path, text, field), written=f"{path}={text}")
    return tuple(axes.values())


def _axis(path: str, text: str, field: Field) -> Axis:
    where = f"--vary {path}"
    if not field.is_text and (match := _STEPS.fullmatch(text)):
        return _stepped(path, match[1] == "log", match[2], field)
    if not field.is_text and (match := _RANGE.fullmatch(text)) and text[0] not in "[{\"'":
        found = read_range(
            (match[1], match[2]), is_log=False, is_integer=field.is_integer, field=where, got=text
        )
        return Axis(path=path, range=found)
    texts = tuple(_split(text))
    if not all(texts):
        raise InputError("has an empty value", field=where, got=text)
    _assert_different(texts, where, is_text=field.is_text)
    return Axis(path=path, texts=texts, is_text=field.is_text)


def _stepped(path: str, is_log: bool, text: str, field: Field) -> Axis:
    where, parts = f"--vary {path}", text.split(":")
    if len(parts) not in (2, 3):
        rule = "must be lin:LOW:HIGH:N or log:LOW:HIGH:N; without N a range to draw from"
        raise InputError(rule, field=where, got=text)
    found = read_range(
        (parts[0], parts[1]), is_log=is_log, is_integer=field.is_integer, field=where, got=text
    )
    if len(parts) == 2:  # noqa: PLR2004  (two ends)
        return Axis(path=path, range=found)
    count = int(parts[2]) if parts[2].strip().isdecimal() else 0
    if not 2 <= count <= 1_000_000:  # noqa: PLR2004  (both ends)
        raise InputError("must have from 2 to a million steps", field=where, got=parts[2])
    return Axis(path=path, texts=found.steps(count))


def _split(text: str) -> Iterator[str]:
    """Split at the commas that stand in no bracket and no quotes."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in _OPEN + _CLOSE:
            depth += 1 if character in _OPEN else -1
        elif character == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()


def _assert_different(texts: Sequence[str], where: str, *, is_text: bool) -> None:
    seen: dict[object, str] = {}
    for text in texts:
        value = text if is_text else coordinate(label(text))
        key = (isinstance(value, bool), value)  # True is no 1.
        if key in seen:
            hint = None if seen[key] == text else f"it is {seen[key]}, too"
            raise InputError("has a value twice", field=where, got=text, hint=hint)
        seen[key] = text


def label(text: str) -> Value:
    """Give a value as a table shows it: a number where it is a bare one, else as written."""
    if text in _WORDS:
        return _WORDS[text]
    if not re.fullmatch(NUMBER, text):
        return text
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def coordinate(value: Value) -> Value:
    """Place a value on an axis: a number in SI units where it is one, or a quantity with its unit."""
    for parse in (rate_rps, duration_s, ratio) if isinstance(value, str) else ():
        try:
            return parse(str(value))
        except InputError:
            continue
    return value


def size(axes: Sequence[Axis], method: Method = "grid", samples: int | None = None) -> int:
    """Say how many points there will be, before any is made.

    Raises
    ------
    InputError
        The axes and the method do not go together.
    """
    if method in DRAWN:
        return _samples(axes, method, samples)
    if samples is not None:
        raise InputError(f"are for the methods {' and '.join(DRAWN)}", field="--samples", got=samples)
    for axis in axes:
        if axis.range is not None:
            low, high = axis.range.ends
            hint = f"write lin:{low}:{high}:5 for five steps, or take --method lhs --samples N"
            raise InputError(f"is a range, and {method} needs values", field=f"--vary {axis.path}", hint=hint)
    lengths = [len(axis.texts) for axis in axes]
    if method == "grid":
        return prod(lengths)
    if len(set(lengths)) > 1:
        told = ", ".join(f"{axis.path} has {len(axis.texts)}" for axis in axes)
        raise InputError("takes axes with equally many values", field="--method zip", hint=told)
    return lengths[0] if lengths else 1


def _samples(axes: Sequence[Axis], method: Method, samples: int | None) -> int:
    if not axes:
        raise InputError(
            "needs something to vary", field=f"--method {method}", hint="give --vary PATH=LOW..HIGH"
        )
    if samples is None or samples < 1:
        raise InputError(
            "needs --samples N, how many points to draw", field=f"--method {method}", got=samples
        )
    if method == "sobol" and samples & (samples - 1):
        below = 1 << (samples.bit_length() - 1)
        rule = "must be a power of two for the method sobol: else its points are not balanced"
        raise InputError(rule, field="--samples", got=samples, hint=f"take {below} or {2 * below}")
    return samples


def points(
    axes: Sequence[Axis], *, method: Method = "grid", samples: int | None = None, seed: int = 0
) -> tuple[Point, ...]:
    """Make the points, in an order that depends on nothing but the arguments.

    Parameters
    ----------
    axes
        What is varied; none is one point, the scenario itself.
    method
        `grid`, `zip`, `lhs` or `sobol`.
    samples, seed
        Of `lhs` and `sobol`: how many points, and which of all such designs.

    Raises
    ------
    InputError
        As `size`.
    """
    size(axes, method, samples)
    if method == "grid":
        rows: list[tuple[str, ...]] = list(itertools.product(*(axis.texts for axis in axes)))
    elif method == "zip":
        rows = list(zip(*(axis.texts for axis in axes), strict=True)) or [()]
    else:
        rows = [
            tuple(axis.drawn(u) for axis, u in zip(axes, draw, strict=True))
            for draw in unit_cube(len(axes), method, samples or 0, seed)
        ]
    return tuple(point(axes, row) for row in rows)


def point(axes: Sequence[Axis], texts: Sequence[str]) -> Point:
    """Make the point at which each axis has this value."""
    pairs = list(zip(axes, texts, strict=True))
    return Point(
        labels={axis.path: text if axis.is_text else label(text) for axis, text in pairs},
        sets=tuple(f"{axis.path}={text}" for axis, text in pairs),
    )


def unit_cube(dimensions: int, method: Method, samples: int, seed: int) -> list[list[float]]:
    """Draw a design in the unit cube, shape (samples, dimensions)."""
    from scipy.stats import qmc  # It takes more than a second to import.

    if method == "sobol":
        found = qmc.Sobol(dimensions, rng=seed).random_base2(samples.bit_length() - 1)
    else:
        found = qmc.LatinHypercube(dimensions, rng=seed).random(samples)
    rows: list[list[float]] = found.tolist()
    return rows
