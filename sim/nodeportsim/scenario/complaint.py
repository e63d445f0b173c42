"""pydantic's findings as one `InputError`: the first in full, with its place; the others briefly."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Protocol

from nodeportsim.errors import InputError, Location
from nodeportsim.scenario.fields import LONGEST_WORD, dotted, suggest
from nodeportsim.scenario.quantities import PATTERNS, FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from nodeportsim.scenario.documents import Path

MOST_OTHERS = 5

_RULES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_type": "must be a mapping",
    "string_too_long": "must be at most {max_length} characters long",
    "string_type": "must be text",
    "tuple_type": "must be a list",
}


class Place(Protocol):
    """Finds where a path stands in the user's file, if it has one."""

    def __call__(self, path: Path, *, key: bool) -> Location | None: ...  # noqa: D102  see the class


def complaint(
    error: ValidationError, *, written: Mapping[str, Any], sets: Mapping[Path, str], place: Place
) -> InputError:
    """Turn a failed validation into one error.

    Parameters
    ----------
    error
        What pydantic found.
    written
        The scenario as the user wrote it: paths follow its spelling.
    sets
        What ``--set`` put where: such values stand in no file.
    place
        Finds a path in the file.
    """
    # A misspelt field is often missed under its right name too: the misspelling comes first.
    first, *others = sorted(error.errors(include_url=False), key=lambda found: found["type"] == "missing")
    path = _path(first)
    rule, got, hint = _told(first)
    spelled, value = _spelled(path, written)
    by_set = next((text for target, text in sets.items() if path[: len(target)] == target), None)
    hints = [hint, f"given by --set {by_set}" if by_set else "", _brief(others, written)]
    return InputError(
        rule,
        field=dotted(spelled),
        got=got if by_set or got is None or value is None or isinstance(value, dict | list) else value,
        hint="\n  ".join(filter(None, hints)) or None,
        location=None if by_set else place(spelled, key=first["type"] == "extra_forbidden"),
    )


def _path(found: ErrorDetails) -> Path:
    cause = found.get("ctx", {}).get("error")
    return (*found["loc"], *cause.path) if isinstance(cause, FieldError) else found["loc"]


def _told(found: ErrorDetails) -> tuple[str, object, str]:
    """Rule, value got and hint of one finding."""
    kind, got, context = found["type"], found["input"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return "is unknown", None, suggest(found["loc"])
    if kind == "missing":
        return "is missing", None, ""
    if kind == "value_error":
        cause = context["error"]
        return str(cause), cause.got if isinstance(cause, FieldError) else got, ""
    if kind == "string_pattern_mismatch":
        return f"must be {PATTERNS[context['pattern']]}", got, ""
    rule = _RULES[kind].format_map(context) if kind in _RULES else found["msg"]
    return rule, "null" if got is None else got, _hint(kind, got, context)


def _hint(kind: str, got: object, context: Mapping[str, Any]) -> str:
    if kind == "literal_error" and isinstance(got, str):
        near = difflib.get_close_matches(
            got[:LONGEST_WORD].lower(), [c for c in context["expected"].split("'") if c.isalnum()], n=1
        )
        return f"did you mean {near[0]}?" if near else ""
    if kind == "string_type" and isinstance(got, int | float):
        return "write it in quotes"
    return ""


def _spelled(path: Path, written: Any) -> tuple[Path, Any]:
    """Follow a path through what the user wrote: its spelling there and the value, None where none is.

    A single group of clients may be a plain mapping: its item number was not written.
    """
    result: list[str | int] = []
    for part in path:
        if isinstance(part, int) and isinstance(written, dict):
            continue
        result.append(part)
        try:
            written = written[part]
        except (KeyError, IndexError, TypeError):
            written = None
    return tuple(result), written


def _brief(others: list[ErrorDetails], written: Mapping[str, Any]) -> str:
    told = [
        f"{dotted(_spelled(_path(found), written)[0])} {_told(found)[0]}" for found in others[:MOST_OTHERS]
    ]
    more = [f"{len(others) - MOST_OTHERS} more"] if len(others) > MOST_OTHERS else []
    return f"also: {'; '.join(told + more)}" if told else ""
