"""The domain of each argument, refused with the argument's name."""

from __future__ import annotations

import math
from numbers import Integral

from nodeportsim.errors import InputError


def require(holds: bool, rule: str, *, field: str, got: object) -> None:
    """Refuse an argument outside its domain.

    Raises
    ------
    InputError
        If `holds` is false.
    """
    if not holds:
        raise InputError(rule, field=field, got=got)


def positive(**values: float) -> None:
    """Refuse what is not a finite number above 0."""
    for field, value in values.items():
        require(0 < value < math.inf, "must be above 0 and finite", field=field, got=value)


def not_negative(**values: float) -> None:
    """Refuse what is not a finite number of at least 0."""
    for field, value in values.items():
        require(0 <= value < math.inf, "must be at least 0 and finite", field=field, got=value)


def ratio(**values: float) -> None:
    """Refuse what is not a share from 0 to 1."""
    for field, value in values.items():
        require(0 <= value <= 1, "must be from 0 to 1", field=field, got=value)


def count(at_least: int, **values: int) -> None:
    """Refuse what is not a whole number of at least `at_least`."""
    for field, value in values.items():
        whole = isinstance(value, Integral) and value >= at_least
        require(whole, f"must be a whole number of at least {at_least}", field=field, got=value)
