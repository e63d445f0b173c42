"""Every error the package raises on purpose.

The tree::

    NodePortSimError            exit 3: our bug, unless a subclass says otherwise
    ├── InputError              exit 2: something the user wrote is not usable
    │   └── RefusedError        exit 2: the API server would refuse this object, in its own words
    ├── ThresholdError          exit 1: the run is fine, its answer breaks a threshold or a verification
    └── IncompleteError         exit 1: some points of a sweep could not be simulated, the others are there

An `InputError` says where (file, line, column), which field, the rule it breaks, what was got,
and what to do next; `str(error)` is the complete message, ready for a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_SENTENCE = 2000
"""Characters of a rule or hint that are printed: it may quote a name, and a name may be a whole file long."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """A place in a file the user wrote.

    Parameters
    ----------
    file
        Path as the user gave it.
    line, column
        Counted from 1.
    text
        The source line itself, without its line break.
    """

    file: str
    line: int
    column: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class NodePortSimError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = 3


class InputError(NodePortSimError):
    """Something the user wrote cannot be used.

    Parameters
    ----------
    rule
        What must hold, as a sentence part: ``must be in 30000..32767``.
    field
        Dotted path of the field, in the user's spelling: ``clients.rate``.
    got
        What was found, already in printable form; None where nothing was.
    hint
        The next step: ``did you mean cores?``.
    location
        Where it stands, when it stands in a file.
    """

    exit_code = 2

    def __init__(
        self,
        rule: str,
        *,
        field: str | None = None,
        got: object = None,
        hint: str | None = None,
        location: Location | None = None,
    ) -> None:
        self.rule = rule
        self.field = field
        self.got = got
        self.hint = hint
        self.location = location
        super().__init__(self._message())

    def _message(self) -> str:
        head = _short_line(self.rule, LONGEST_SENTENCE)
        if self.field:
            head = f"{_short_line(self.field)} {head}"
        if self.got is not None:
            head += f" (got {_short(self.got)})"
        lines = [f"{self.location}: {head}" if self.location else head]
        if self.location and self.location.text:
            lines.append("  " + _short_line(self.location.text))
            lines.append("  " + " " * min(self.location.column - 1, 120) + "^")
        if self.hint:
            lines.append("  " + _short_line(self.hint, LONGEST_SENTENCE))
        return "\n".join(lines)


class RefusedError(InputError):
    """The Kubernetes API server would refuse this object; `message` is its text, word for word."""

    def __init__(self, message: str, *, location: Location | None = None) -> None:
        self.message = message
        super().__init__(message, location=location, hint="The API server refuses this object.")


class ThresholdError(NodePortSimError):
    """A threshold of the scenario does not hold, or a verification found a difference."""

    exit_code = 1


class IncompleteError(NodePortSimError):
    """Some points of a sweep could not be simulated; the others are there."""

    exit_code = 1


def _short(value: object, limit: int = 80) -> str:
    """Represent a value in at most `limit` characters, never spanning lines."""
    text = value if isinstance(value, str) and value.startswith(("'", '"', "{", "[")) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _short_line(text: str, limit: int = 120) -> str:
    """Make a user's text safe to print: no control characters, bounded length."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
