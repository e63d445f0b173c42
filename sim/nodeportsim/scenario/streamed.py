"""A dump of any size, one object at a time.

``kubectl get ... -A -o json`` prints one list, which for a large cluster is gigabytes. Its text is read in
pieces of a few MiB; each item is parsed by itself with the standard library and given away before the next
is touched, so memory holds one piece and one item. That is faster, too: a parsed dump of a gigabyte is
millions of containers, which Python's garbage collector walks again and again.

Several values may follow each other (``kubectl get nodes -o json; kubectl get pods -o json``). Of a key that
stands twice the last counts, as for the API server. Other text is YAML, and goes to `documents` as a whole.
"""

from __future__ import annotations

import codecs
import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from nodeportsim.errors import InputError, Location
from nodeportsim.scenario.documents import MOST_YAML_CHARACTERS, Source, documents
from nodeportsim.scenario.gather import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

PIECE_BYTES = 4 * 2**20
MOST_OBJECT_CHARACTERS = 64 * 2**20
_LONGEST_LITERAL = 16  # Characters of a JSON token that is no text: what a cut may leave of it.


def objects_of(stream: BinaryIO, file: str) -> Iterator[Origin]:
    """Read the objects of a file.

    Parameters
    ----------
    stream
        Its bytes, read once from the start.
    file
        Its name, for errors.

    Raises
    ------
    InputError
        Located: the text is empty, cut off, neither JSON nor YAML, or holds what is no object.
    """
    text = _Text(stream, file)
    if text.peek() in {"{", "["}:
        yield from _json(text)
        return
    while len(text.text) <= MOST_YAML_CHARACTERS and text.more():
        pass
    source = text.source(0, len(text.text))
    for number, document in enumerate(documents(source)):
        yield Origin(source, number, document)


def _json(text: _Text) -> Iterator[Origin]:
    while char := text.peek():
        if char != "{":
            text.refuse("must be a Kubernetes object, or a list of them as kubectl prints it")
        yield from _top(text)


def _top(text: _Text) -> Iterator[Origin]:
    """Read one object; what stands in its list ``items`` is given away item by item."""
    text.hold()
    rest: dict[str, Any] = {}
    start, items = text.line, False
    text.take("{")
    while text.peek() != "}":
        if rest or items:
            text.take(",")
        key = text.value()
        if not isinstance(key, str):
            text.refuse("must be the name of a field", got=key)
        text.take(":")
        if key == "items" and text.peek() == "[":
            items = True
            text.release()
            yield from _items(text)
        else:
            rest[key] = text.value()
    text.take("}")
    if not items:
        yield Origin(text.held(), 0, rest)
    elif not str(rest.get("kind")).endswith("List"):
        at = Location(file=text.file, line=start + 1, column=1)
        raise InputError("holds items, so its kind must end with List", got=rest.get("kind"), location=at)


def _items(text: _Text) -> Iterator[Origin]:
    text.take("[")
    first = True
    while (char := text.peek()) != "]":
        if not first:
            text.take(",")
            char = text.peek()
        if char != "{":
            text.refuse("must be a Kubernetes object")
        text.hold()
        document = text.value()
        yield Origin(text.held(), 0, document)
        first = False
    text.take("]")


def _not_finite(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


_STRICT = json.JSONDecoder(parse_float=_finite, parse_constant=_not_finite)
_LAX = json.JSONDecoder(parse_float=str, parse_constant=str, parse_int=str)


class _Text:
    """A window on a text: what is not read yet, and what an error may still quote."""

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self.file = file
        self.text = ""
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._at = 0
        self._held: int | None = None
        self._base = (0, 0)  # Line and column in the file of where `text` begins.
        self._counted = self._line = self._column = 0  # The same of the last place asked for.
        self._ended = False

    @property
    def line(self) -> int:
        """Line of the next character, from 0."""
        return self._count(self._at)[0]

    def peek(self) -> str:
        """Pass over blanks; return the character that comes next, nothing at the end."""
        while True:
            self._at = json.decoder.WHITESPACE.match(self.text, self._at).end()  # type: ignore[attr-defined]
            if self._at < len(self.text):
                return self.text[self._at]
            if not self.more():
                return ""

    def take(self, char: str) -> None:
        """Pass over one character that must come."""
        if (got := self.peek()) != char:
            self.refuse(f"is not JSON: {char} must stand here" if got else "is cut off: the text ends here")
        self._at += 1

    def value(self) -> Any:
        """Parse the value that comes next."""
        self.peek()
        while True:
            try:
                value, end = _STRICT.raw_decode(self.text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos + _LONGEST_LITERAL > len(self.text)
                if cut and self.more():
                    continue
                self._at = error.pos
                self.refuse("is cut off: the text ends here" if cut else f"is not JSON: {error.msg}")
            except RecursionError:
                self.refuse("is nested too deeply")
            except ValueError:
                self._explain()
            if end == len(self.text) and self.more():
                continue  # A number may go on.
            self._at = end
            return value

    def hold(self) -> None:
        """Keep the text from here on."""
        self.peek()
        self._held = self._at

    def release(self) -> None:
        """Keep the text no longer."""
        self._held = None

    def held(self) -> Source:
        """Give the text that was kept, up to here."""
        assert self._held is not None
        source = self.source(self._held, self._at)
        self.release()
        return source

    def source(self, start: int, end: int) -> Source:
        """Cut a part out that knows where in the file it stood."""
        line, column = self._count(start)
        return Source(file=self.file, text=self.text[start:end], line=line, column=column)

    def more(self) -> bool:
        """Read on; False where the text has ended. What is read and not held is dropped."""
        if self._ended:
            return False
        kept = self._at if self._held is None else self._held
        if len(self.text) - kept > MOST_OBJECT_CHARACTERS:
            self._at = kept
            self.refuse(f"is an object larger than {MOST_OBJECT_CHARACTERS // 2**20} MiB")
        piece = self._stream.read(PIECE_BYTES)
        self._ended = not piece
        self._base = self._count(kept)
        self.text = self.text[kept:] + self._decoded(piece)
        self._counted = 0
        self._at -= kept
        self._held = None if self._held is None else 0
        return True

    def refuse(self, rule: str, *, got: object = None) -> NoReturn:
        """Complain about what comes next."""
        self.peek()
        end = self.text.find("\n", self._at)
        line = self.source(self.text.rfind("\n", 0, self._at) + 1, len(self.text) if end < 0 else end)
        offset = self._at - (self.text.rfind("\n", 0, self._at) + 1)
        raise InputError(rule, got=got, location=line.at_offset(offset))

    def _decoded(self, piece: bytes) -> str:
        try:
            return self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode("utf-8", "replace")
            at = self._count(len(self.text))[0] + before.count("\n")
            place = Location(file=self.file, line=at + 1, column=len(before) - before.rfind("\n"))
            raise InputError(
                "is not UTF-8 text", got=error.object[error.start :][:1], location=place
            ) from None

    def _explain(self) -> NoReturn:
        """Name the number that is not finite, or far too long: YAML's reader knows where it stands."""
        while True:
            try:
                _, end = _LAX.raw_decode(self.text, self._at)
            except json.JSONDecodeError:  # It is cut here, or not the only thing that is wrong.
                if self.more():
                    continue
            else:
                documents(self.source(self._at, end))
            self.refuse("holds a number that is not finite, or far too long")

    def _count(self, place: int) -> tuple[int, int]:
        """Line and column in the file of a place in `text`, from 0; quick for places in rising order."""
        if place < self._counted:
            self._counted, self._line, self._column = 0, *self._base
        breaks = self.text.count("\n", self._counted, place)
        last = self.text.rfind("\n", self._counted, place)
        self._line += breaks
        self._column = place - last - 1 if breaks else self._column + place - self._counted
        self._counted = place
        return self._line, self._column
