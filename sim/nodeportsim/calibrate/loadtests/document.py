"""Fields of a JSON result, with errors that say where they stand."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from nodeportsim.errors import InputError, Location
from nodeportsim.scenario.documents import Source, locate

DEEPEST_PATH = 6
LARGEST = 1e18
_LOCATED_CHARACTERS = 2**20  # Searching a longer text for the place of a field takes seconds.


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed JSON value and the text it came from."""

    source: Source
    value: Any

    def refuse(self, rule: str, *path: str | int, got: object = None, hint: str | None = None) -> InputError:
        """Make the error for the field at `path`."""
        found = None
        if len(self.source.text) <= _LOCATED_CHARACTERS:
            found = locate(self.source, 0, path)
        start = Location(file=self.source.file, line=1, column=1)
        name = ".".join(str(part) for part in path)
        return InputError(rule, field=name or None, got=got, hint=hint, location=found or start)

    def at(self, *path: str | int) -> Any:
        """Return the value at a path, or None where it is not there."""
        value = self.value
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def number(self, *path: str | int) -> float:
        """Return a finite number from 0."""
        return self._number(self.at(*path), path)

    def number_or_none(self, *path: str | int) -> float | None:
        """Return a finite number from 0, or None where the field is not there."""
        return None if self.at(*path) is None else self.number(*path)

    def whole(self, *path: str | int) -> int:
        """Return a whole number from 0."""
        value = self.number(*path)
        if value != int(value):
            raise self.refuse("must be a whole number", *path, got=value)
        return int(value)

    def table(self, *path: str | int) -> dict[str, Any]:
        """Return an object; an absent one is empty."""
        value = self.at(*path)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.refuse("must be an object", *path, got=repr(value)[:40])
        return value

    def rows(self, *path: str | int) -> list[Any]:
        """Return a list; an absent one is empty."""
        value = self.at(*path)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refuse("must be a list", *path, got=repr(value)[:40])
        return value

    def total(self, *path: str | int) -> int:
        """Add the whole numbers of an object."""
        return sum(self.whole(*path, key) for key in self.table(*path))

    def _number(self, value: Any, path: tuple[str | int, ...]) -> float:
        if value is None:
            raise self.refuse("is missing", *path, hint="was the file cut, or written by another tool?")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse("must be a number", *path, got=repr(value)[:40])
        if not 0 <= value <= LARGEST or math.isnan(value):
            raise self.refuse("must be a finite number from 0", *path, got=repr(value)[:40])
        return float(value)


def parse(source: Source) -> Any:
    """Parse JSON.

    Raises
    ------
    InputError
        Located where the text stops being JSON.
    """
    try:
        return json.loads(source.text)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(source.text.rstrip()) or error.msg.startswith("Unterminated")
        rule = "ends in the middle: the file is cut" if cut else f"is not JSON: {error.msg.lower()}"
        hint = "let the tool finish, and write the result again" if cut else None
        raise InputError(rule, hint=hint, location=source.at_offset(error.pos)) from None
    except (RecursionError, ValueError):
        # A ValueError: an integer of more digits than Python reads.
        raise InputError("is not the JSON of a load test", location=source.at(0, 0)) from None
