"""Field types: those that turn ``5ms`` into 0.005 and back, and the plain ones that declarations share.

A bare zero needs no unit. Bounds: no duration beyond 1e9 s (32 years), so that clocks keep their
microseconds (float spacing at 1e9 s is 0.12 us).
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema

from nodeportsim.errors import InputError
from nodeportsim.units import (
    DURATIONS_S,
    NUMBER,
    RATES_RPS,
    RATIOS,
    duration_s,
    rate_rps,
    ratio,
    write_duration,
    write_rate,
    write_ratio,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


def _validator(parse: Callable[[str], float], example: str) -> BeforeValidator:
    """Make a validator: text is parsed; a number passes, unless it stands in a file."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return parse(value)
            except InputError as error:
                raise ValueError(error.rule) from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            # pydantic turns a ValueError into a located message, and lets a TypeError through.
            raise ValueError(f"must be a quantity such as {example}")  # noqa: TRY004
        if info.context and info.context.get("file") and value != 0:
            raise ValueError(f"needs a unit, as in {example}")
        return float(value)

    return BeforeValidator(validate)


def _schema(units: Iterable[str], example: str, *extra: str) -> WithJsonSchema:
    """Describe a quantity to an editor: a number with a unit, or a bare zero."""
    one = rf"{NUMBER}\s*({'|'.join(units)})"
    pattern = "|".join([rf"^\s*{one}\s*$", *extra])
    return WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": pattern, "examples": [example]}, {"const": 0}]}
    )


_GO_DURATION = r"^\s*([0-9]+(\.[0-9]+)?(h|ms|us|µs|ns|m|s)){2,}\s*$"

Duration = Annotated[
    float,
    _validator(duration_s, "5ms"),
    Field(ge=0, le=1e9),
    PlainSerializer(write_duration, when_used="json-unless-none"),
    _schema(DURATIONS_S, "5ms", _GO_DURATION),
]
Rate = Annotated[
    float,
    _validator(rate_rps, "200/s"),
    Field(gt=0, le=1e8),
    PlainSerializer(write_rate, when_used="json-unless-none"),
    _schema(RATES_RPS, "200/s"),
]
Ratio = Annotated[
    float,
    _validator(ratio, "20%"),
    Field(ge=0, le=1),
    PlainSerializer(write_ratio, when_used="json-unless-none"),
    _schema(RATIOS, "20%"),
]

_PERCENT = r"^[0-9]{1,3}%$"


def _pods_or_share(value: Any) -> Any:
    """Let a number of pods pass, or a whole percentage of them."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if whole or (isinstance(value, str) and re.match(_PERCENT, value)):
        return value
    # pydantic turns a ValueError into a located message, and lets a TypeError through.
    raise ValueError("must be a number of pods or a percentage of them, such as 1 or 25%")


PodsOrShare = Annotated[
    int | str,
    BeforeValidator(_pods_or_share),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _PERCENT}, {"type": "integer", "minimum": 0}]}),
]

Count = Annotated[int, Field(ge=0, le=10_000_000)]
Positive = Annotated[int, Field(ge=1, le=10_000_000)]

_NAME = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
_LIMIT = r"^\s*(<|<=|>|>=)\s*[0-9][0-9_.]*([eE][+-]?[0-9]+)?\s*[a-zµ%]*\s*$"
_WIDTH = r"^\s*[0-9][0-9_.]*([eE][+-]?[0-9]+)?\s*[a-zµ%]*\s*$"
_VERSION = r"^1\.[0-9]{1,2}$"
_FUNCTION = r"^[^:]+\.py:[A-Za-z_]\w*$"
PATTERNS = {  # What a pattern means to people.
    _NAME: "a name: letters, digits, and . _ - between them",
    _LIMIT: 'a limit such as "<50ms" or "<=0.5%"',
    _WIDTH: 'a half-width such as "2%" of the estimate or "1ms"',
    _VERSION: 'a Kubernetes version such as "1.36"',
    _FUNCTION: "a file and a name in it, such as policies.py:power_of_two",
}
Name = Annotated[str, Field(max_length=253, pattern=_NAME)]  # It may become part of a folder's name.
Limit = Annotated[str, Field(max_length=40, pattern=_LIMIT)]
Width = Annotated[str, Field(max_length=40, pattern=_WIDTH)]
Version = Annotated[str, Field(pattern=_VERSION)]
Function = Annotated[str, Field(pattern=_FUNCTION)]

T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(strict=False)]  # A list in a file, a tuple in memory.


class FieldError(ValueError):
    """A rule that ties fields together does not hold; `path` is the field at fault, below the checked one."""

    def __init__(self, rule: str, *path: str | int, got: object = None) -> None:
        self.path = path
        self.got = got
        super().__init__(rule)


def check_known(what: str, names: Sequence[str], asked: Mapping[Any, str | None]) -> None:
    """Raise `FieldError` for the first name asked for, by the path of its field, that is not there."""
    known = set(names)
    for path, name in asked.items():
        if name is not None and name not in known:
            there = ", ".join(list(dict.fromkeys(names))[:10]) or "none"
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise FieldError(f"names no {what} of this scenario; there are {there}{meant}", *path, got=name)
