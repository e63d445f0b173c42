"""Text to plain documents (dict, list, str, int, float, bool, None), and where each value stands.

A file is YAML or JSON. JSON goes to the standard library first, about fifty times faster; what that
refuses is read as YAML, which names the place. Positions are not kept: only an error needs one, and
then the text is read a second time up to the value at fault.

YAML is read from PyYAML's events, so that nothing can be built which the text does not spell out:
no aliases (a page of text can stand for gigabytes), no tags, no duplicate keys, bounded depth and
number of values. Plain scalars follow YAML 1.1 as Kubernetes reads it (octal ``0644`` is 420), except
where 1.1 surprises people (``no``, ``1:30``): those are refused, with what to write instead. Dates
stay text.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from nodeportsim.errors import InputError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]

MOST_YAML_CHARACTERS = 16 * 2**20  # YAML costs about 1 us a value to read; a dump is better kept as JSON.
MOST_VALUES = 1_000_000
DEEPEST = 100
LONGEST_KEY = 1024  # libyaml's own limit for a key without "?"
_LONGEST_NUMBER = 64
_LONGEST_INDENT = 100  # Beyond it an error shows no caret that could be followed.

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OLD_BOOL = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|NaN|-?Infinity")
_INTEGER = re.compile(r"[-+]?(0x[0-9a-fA-F][0-9a-fA-F_]*|0[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_LIKE_A_NUMBER = re.compile(r"[-+]?[0-9][-+0-9a-fA-FxX_.]*")  # linear, for texts of any length
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # YAML 1.1, section 4.2
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

# libyaml where PyYAML has it: ten times faster, the same events.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The text of one file; ``file`` is its name as the user gave it.

    Where it is a part of the file, `line` and `column` say where that begins, from 0.
    """

    file: str
    text: str = field(repr=False)
    line: int = 0
    column: int = 0

    def at(self, line: int, column: int) -> Location:
        """Make a location; both counted from 0."""
        start = 0
        for end in itertools.islice(_BREAK.finditer(self.text), line):
            start = end.end()
        end_of_line = _BREAK.search(self.text, start)
        text = self.text[start : end_of_line.start() if end_of_line else None]
        if line == 0 and self.column:
            column += self.column
            text = " " * min(self.column, _LONGEST_INDENT) + text
        return Location(file=self.file, line=self.line + line + 1, column=column + 1, text=text)

    def at_offset(self, offset: int) -> Location:
        """Make the location of a character."""
        before = [end.end() for end in _BREAK.finditer(self.text, 0, offset)]
        return self.at(len(before), offset - (before[-1] if before else 0))


def documents(source: Source) -> list[Any]:
    """Read every document of a text; empty ones (between two ``---``) are left out.

    Raises
    ------
    InputError
        Located: the text is empty, neither YAML nor JSON, or uses what is not read.
    """
    found = _json(source)
    if found is None:
        found = list(_Reader(source).documents())
    found = [document for document in found if document is not None]
    if not found:
        raise InputError("is empty: there is nothing to read", location=source.at(0, 0))
    return found


def locate(source: Source, document: int, path: Path, *, key: bool = False) -> Location | None:
    """Find where a value (or its key) stands in a text that `documents` could read.

    Parameters
    ----------
    source
        The text.
    document
        Its number among the documents that are not empty.
    path
        Keys and indices down to the value. Where it goes deeper than the text, the deepest value on
        it counts.
    key
        Find the key instead of the value, where the whole path is there.
    """
    reader = _Reader(source, wanted=path)
    try:
        for value in reader.documents():
            if value is not None:
                if document == 0:
                    break
                document -= 1
            reader.found.clear()
    except InputError:
        return None  # JSON that libyaml cannot read, such as an escaped surrogate pair.
    marks = reader.found.get(len(path)) or reader.found.get(max(reader.found, default=0))
    if marks is None:
        return None
    return source.at(*marks[0 if key and len(path) in reader.found else 1])


class _NotPlainJsonError(ValueError):
    """JSON that the standard library accepts and we do not."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise _NotPlainJsonError
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NotPlainJsonError
    return value


def _json(source: Source) -> list[Any] | None:
    """Read JSON; None where the text is not plain JSON, which YAML then explains."""
    if not source.text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(
            source.text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
        )
    except json.JSONDecodeError as error:
        if source.file.endswith(".json"):
            at = source.at(error.lineno - 1, error.colno - 1)
            raise InputError(f"is not JSON: {error.msg}", location=at) from None
        return None
    except RecursionError:
        raise InputError(f"is nested deeper than {DEEPEST} levels", location=source.at(0, 0)) from None
    except ValueError:  # A duplicate key, a number that is not finite, or one of thousands of digits.
        return None
    _guard_json(source, value)
    return [value]


def _guard_json(source: Source, value: Any) -> None:
    """Refuse what JSON allows and later code could not print or walk."""
    start = source.at(0, 0)
    level = [value]
    for _ in range(DEEPEST):
        mappings = [item for item in level if isinstance(item, dict)]
        if any(len(key) > LONGEST_KEY for item in mappings for key in item):
            raise InputError(f"holds a key longer than {LONGEST_KEY} characters", location=start)
        lists = [item for item in level if isinstance(item, list)]
        level = [child for item in (*(m.values() for m in mappings), *lists) for child in item]
    if any(isinstance(item, dict | list) for item in level):
        raise InputError(f"is nested deeper than {DEEPEST} levels", location=start)
    if surrogate := _SURROGATE.search(source.text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            rule = "holds half a surrogate pair, which is no character"
            raise InputError(rule, location=source.at_offset(surrogate.start())) from None


@dataclass
class _Reader:
    """Builds values from YAML events, and notes the marks of the values on one wanted path."""

    source: Source
    wanted: Path | None = None
    found: dict[int, tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=dict)
    values: int = 0

    def documents(self) -> Iterator[Any]:
        if len(self.source.text) > MOST_YAML_CHARACTERS:
            raise InputError(
                f"is too large to read as YAML: {len(self.source.text) / 2**20:.0f} MiB, at most 16",
                hint="write it as JSON: kubectl get ... -o json",
                location=self.source.at(0, 0),
            )
        events = self._events()
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                first = next(events)
                yield self._value(events, first, (), first)

    def _events(self) -> Iterator[Any]:
        """Yield the parser's events; its complaints become located errors."""
        try:
            yield from yaml.parse(self.source.text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = self.source.at(mark.line, mark.column) if mark else None
            raise InputError(f"is not YAML: {error.problem}", location=at) from None
        except yaml.reader.ReaderError as error:
            at = self.source.at_offset(error.position)
            raise InputError("holds a control character: is this a text file?", location=at) from None

    def _value(self, events: Iterator[Any], event: Any, path: Path, key: Any) -> Any:
        self._guard(event, path)
        if self.wanted is not None and self.wanted[: len(path)] == path:
            self.found[len(path)] = (_mark(key), _mark(event))
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event) if event.implicit[0] else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                items.append(self._value(events, item, (*path, len(items)), item))
            return items
        return self._mapping(events, path)

    def _mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            self._guard(key, path)
            if not isinstance(key, yaml.ScalarEvent):
                self._refuse(key, "a key must be text")
            if len(key.value) > LONGEST_KEY:
                self._refuse(key, f"holds a key longer than {LONGEST_KEY} characters")
            if key.value in result:
                self._refuse(key, f"key {key.value!r} stands twice in one mapping")
            result[key.value] = self._value(events, next(events), (*path, key.value), key)
        return result

    def _guard(self, event: Any, path: Path) -> None:
        """Refuse what makes a small text large or a plain one strange."""
        self.values += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._refuse(event, "anchors and aliases (&, *) are not read", "write the value out")
        if event.tag not in (None, "!"):
            self._refuse(event, "tags (!) are not read", "quote the text if it begins with !")
        if len(path) >= DEEPEST and not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, f"is nested deeper than {DEEPEST} levels")
        if self.values > MOST_VALUES:
            self._refuse(event, f"holds more than {MOST_VALUES} values", "write it as JSON")

    def _scalar(self, event: Any) -> Any:
        """Resolve a plain scalar."""
        text: str = event.value
        if _NULL.fullmatch(text):
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _OLD_BOOL.fullmatch(text):
            hint = f'write true or false, or "{text}" in quotes if the text is meant'
            self._refuse(event, f"{text} is a boolean in YAML 1.1 and text in YAML 1.2", hint)
        if _SEXAGESIMAL.fullmatch(text):
            hint = f'write 90s or 1m30s for a time, or "{text}" in quotes if the text is meant'
            self._refuse(event, f"{text} is a number to the base of 60 in YAML 1.1", hint)
        if _NOT_FINITE.fullmatch(text):
            self._refuse(event, f"{text} is not a finite number")
        return self._number(event, text)

    def _number(self, event: Any, text: str) -> Any:
        """Resolve a plain scalar that is a number, else text."""
        if len(text) > _LONGEST_NUMBER:
            if _LIKE_A_NUMBER.fullmatch(text):
                self._refuse(event, "is too long for a number", "quote it if the text is meant")
            return text
        whole = _INTEGER.fullmatch(text)
        if not whole and not _FLOAT.fullmatch(text):
            return text
        plain = text.replace("_", "")
        if not whole:
            if not math.isfinite(value := float(plain)):
                self._refuse(event, f"{text} is too large for a number")
            return value
        digits = plain.lstrip("+-")
        base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
        return int(plain, base)

    def _refuse(self, event: Any, rule: str, hint: str | None = None) -> NoReturn:
        raise InputError(rule, hint=hint, location=self.source.at(*_mark(event)))


def _mark(event: Any) -> tuple[int, int]:
    """Line and column of an event, both counted from 0."""
    return event.start_mark.line, event.start_mark.column
