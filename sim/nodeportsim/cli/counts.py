"""Counts per pod as people give them: in a row, in a JSON or YAML file, in the folder of a run."""

from __future__ import annotations

import csv
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError, Location

if TYPE_CHECKING:
    from nodeportsim.scenario.documents import Source

_ROW = re.compile(r"[-+0-9.,eE_\s]+")
_LONGEST_NUMBER = 64


def counts(given: str) -> tuple[float, ...]:
    """Read ``977,995,585,993``, a file that holds a list or a mapping by pod, or a run's ``pods.csv``.

    Raises
    ------
    InputError
        There is no such file, or what it holds is no row of numbers; located.
    """
    if not given.strip() or _ROW.fullmatch(given):  # A file of such a name may be called ./123.
        return tuple(_number(part) for part in given.split(","))
    from nodeportsim.scenario.read import open_source

    path = Path(given) / "pods.csv" if os.path.isdir(given) else Path(given)  # noqa: PTH112  (never raises)
    source = open_source(str(path))
    return _of_a_run(source) if path.suffix == ".csv" else _of_a_file(source)


def _number(text: str) -> float:
    try:
        value = float(text) if len(text) <= _LONGEST_NUMBER else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        hint = "as in 977,995,585,993, or the name of a JSON file or of a run's folder"
        raise InputError("must be numbers with commas between", field="--counts", got=text, hint=hint)
    return value


def _of_a_file(source: Source) -> tuple[float, ...]:
    """Read a list of numbers, or a mapping of pods to numbers."""
    from nodeportsim.scenario.documents import documents, locate

    found = documents(source)
    document: Any = found[0] if found else None
    places: dict[str | int, Any] = {}
    if isinstance(document, dict):
        places = dict(document)
    elif isinstance(document, list):
        places = dict(enumerate(document))
    if not places or len(found) != 1:
        at = Location(file=source.file, line=1, column=1)
        raise InputError("must hold a list of counts, or one by pod", got=document, location=at)
    for place, value in places.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError("must be a number", got=value, location=locate(source, 0, (place,)))
    return tuple(_finite(value, source) for value in places.values())


def _finite(value: float, source: Source) -> float:
    try:
        return float(value)
    except OverflowError:
        at = Location(file=source.file, line=1, column=1)
        raise InputError("holds a number too large to be a count", location=at) from None


def _of_a_run(source: Source) -> tuple[float, ...]:
    """Read the connections of the first replication: one run is what one measures."""
    rows = list(csv.DictReader(source.text.splitlines()))
    needed = {"replication", "connections"}
    if not rows or not needed <= {*rows[0]}:
        at = Location(file=source.file, line=1, column=1)
        hint = "pods.csv is in the folder that nodeportsim run --out DIR writes"
        raise InputError("must have the columns replication and connections", hint=hint, location=at)
    first = rows[0]["replication"]
    return tuple(_number(str(row["connections"])) for row in rows if row["replication"] == first)
