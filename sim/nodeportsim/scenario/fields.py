"""The fields of a scenario by path, and `--set`: ``proxy.mode=ipvs`` is ``cluster.proxy.mode``.

A path is written with dots, list items by number: ``events.0.at``. Any ending of a path that fits one
field alone may stand for it; the number of the only item of a list may be left out (``clients.rate``).
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin

from nodeportsim.errors import InputError
from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.documents import Path, Source, documents
from nodeportsim.scenario.spec import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ITEM = "*"  # in a pattern: the number of a list item
KEY = "**"  # in a pattern: a free key, which may hold dots
LONGEST_WORD = 80  # characters that a did-you-mean compares: difflib's cost is the product of the lengths


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field: the pattern of its path, whether it holds plain text, whether it counts something."""

    pattern: tuple[str, ...]
    is_text: bool
    is_integer: bool = False

    def __str__(self) -> str:
        return dotted(self.pattern)


def dotted(path: Path) -> str:
    """Write a path for people: list items by number, ``N`` where it is open."""
    return ".".join({ITEM: "N", KEY: "NAME"}.get(str(part), str(part)) for part in path)


@functools.cache
def fields() -> tuple[Field, ...]:
    """Every field of a scenario, in the order of declaration."""
    return tuple(_fields(Scenario, ()))


def _fields(model: type[Spec], prefix: tuple[str, ...]) -> Iterator[Field]:
    for info in model.model_fields.values():
        path = (*prefix, str(info.alias))
        inner, many = _inner(info.annotation)
        if get_origin(info.annotation) is dict:
            yield Field(pattern=path, is_text=False)
            yield Field(pattern=(*path, KEY), is_text=True)
            continue
        yield Field(pattern=path, is_text=inner is str and not many, is_integer=inner is int and not many)
        below = (*path, ITEM) if many else path
        if isinstance(inner, type) and issubclass(inner, Spec):
            yield from _fields(inner, below)
        elif many:
            yield Field(pattern=below, is_text=inner is str, is_integer=inner is int)


def _inner(annotation: Any) -> tuple[Any, bool]:
    """Look through ``| None``, ``Annotated`` and tuples: the type inside, and whether there are many."""
    many = False
    while args := [arg for arg in get_args(annotation) if isinstance(arg, type) or get_args(arg)]:
        many = many or get_origin(annotation) is tuple
        annotation = next((arg for arg in args if arg not in (type(None), Ellipsis)), None)
    return annotation, many


def suggest(path: Path) -> str:
    """Say what an unknown field may have been meant for."""
    *parent, key = path
    here = {
        f.pattern[-1]: f for f in fields() if len(f.pattern) == len(path) and _is_below(f.pattern, parent)
    }
    near = difflib.get_close_matches(
        _plain(str(key)[:LONGEST_WORD]), [_plain(name) for name in here], n=1, cutoff=0.7
    )
    if near:
        return f"did you mean {next(name for name in here if _plain(name) == near[0])}?"
    elsewhere = [str(f) for f in fields() if _plain(f.pattern[-1]) == _plain(str(key))]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere[:3])}?"
    return f"known here: {', '.join(here)}" if here else ""


def _plain(name: str) -> str:
    """Fold spellings together: minSyncPeriod, min_sync_period, min-sync-period."""
    return name.replace("_", "").replace("-", "").lower()


def _is_below(pattern: tuple[str, ...], parent: list[str | int]) -> bool:
    return all(
        isinstance(part, int) if name == ITEM else name == part
        for name, part in zip(pattern[:-1], parent, strict=True)
    )


def apply_sets(raw: dict[str, Any], sets: Sequence[str]) -> dict[Path, str]:
    """Write every ``path=value`` into a document; return what was set where.

    Raises
    ------
    InputError
        No value, an unknown or ambiguous path (the candidates are listed), or no YAML value.
    """
    done: dict[Path, str] = {}
    for text in sets:
        written, equals, value = text.partition("=")
        if not equals or not written.strip():
            raise InputError("must be path=value, as in --set proxy.mode=ipvs", field="--set", got=text)
        found, path = _resolve(written.strip(), raw)
        _put(raw, path, value if found.is_text else _value(path, value))
        done[path] = text
    return done


def _value(path: Path, text: str) -> Any:
    """Read the value of a --set as YAML."""
    try:
        found = documents(Source(file="--set", text=text))
    except InputError as error:
        raise InputError(error.rule, field=dotted(path), got=text, hint=error.hint) from None
    if len(found) != 1:
        raise InputError("must be one value", field=dotted(path), got=text)
    return found[0]


def field_of(written: str, *, option: str = "--set") -> tuple[Field, Path]:
    """Find the field that a path means where every list has one item.

    Raises
    ------
    InputError
        It means none, or could mean several.
    """
    return _resolve(written, {}, option)


def _resolve(written: str, raw: dict[str, Any], option: str = "--set") -> tuple[Field, Path]:
    parts = written.split(".")
    matches = [(field, skip, path) for field in fields() for skip, path in _matches(field.pattern, parts)]
    best = [match for match in matches if match[1] == 0] or matches
    if not best:
        names = [str(field) for field in fields()]
        endings = dict.fromkeys([*names, *(name.rsplit(".", 1)[-1] for name in names)])
        near = difflib.get_close_matches(written[:LONGEST_WORD], endings, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else None
        raise InputError("is not a field of a scenario", field=f"{option} {written}", hint=hint)
    # A field of an event gives way: it is named with its number, as in events.0.replicas.
    if len(plain := [match for match in best if match[0].pattern[0] != "events"]) == 1:
        best = plain
    if len(best) > 1:
        hint = f"write one of {', '.join(str(field) for field, _, _ in best)}"
        raise InputError("could be several fields", field=f"{option} {written}", hint=hint)
    field, _, path = best[0]
    return field, _numbered(raw, path, written)


def _matches(pattern: tuple[str, ...], parts: list[str]) -> Iterator[tuple[int, Path]]:
    """Try every ending of a pattern; an item number that is not written stays open."""
    for skip, first in enumerate(pattern):
        filled = None if first in (ITEM, KEY) else _fill(pattern[skip:], parts)
        if filled is not None:
            yield skip, (*pattern[:skip], *filled)


def _fill(pattern: tuple[str, ...], parts: list[str]) -> Path | None:
    result: list[str | int] = []
    rest = list(parts)
    for name in pattern:
        if name == KEY and rest:
            result.append(".".join(rest))
            rest = []
        elif name == ITEM and not (rest and rest[0].isdecimal() and len(rest[0]) < len("10000000")):
            result.append(ITEM)
        elif name == ITEM:
            result.append(int(rest.pop(0)))
        elif not rest or rest.pop(0) != name:
            return None
        else:
            result.append(name)
    return None if rest or result[-1] == ITEM else tuple(result)


def _numbered(raw: Any, path: Path, written: str) -> Path:
    """Fill open item numbers: only a list of one (or none yet) leaves no doubt."""
    result: list[str | int] = []
    here = raw
    for part in path:
        if part == ITEM and isinstance(here, list) and len(here) > 1:
            hint = f"there are {len(here)}: write the number, as in {dotted((*result, 0, path[-1]))}"
            raise InputError("leaves open which item", field=f"--set {written}", hint=hint)
        result.append(0 if part == ITEM else part)
        here = _child(here, result[-1])
    return tuple(result)


def _child(container: Any, part: str | int) -> Any:
    if isinstance(container, dict):
        return container.get(part)
    is_there = isinstance(container, list) and isinstance(part, int) and part < len(container)
    return container[part] if is_there else None


def _put(here: Any, path: Path, value: Any, above: Path = ()) -> None:
    """Write one value, making the mappings and lists that are missing; a list grows by one at most."""
    part, *rest = path
    is_item = isinstance(here, list) and isinstance(part, int) and part <= len(here)
    if not is_item and not (isinstance(here, dict) and isinstance(part, str)):
        size = f"a list of {len(here)}" if isinstance(here, list) else f"{here!r:.40}"
        raise InputError(f"cannot be set: {dotted(above)} is {size}", field=dotted((*above, *path)))
    if is_item and part == len(here):
        here.append(None)
    if not rest:
        here[part] = value
        return
    if _child(here, part) is None:
        here[part] = [] if isinstance(rest[0], int) else {}
    _put(here[part], tuple(rest), value, (*above, part))
