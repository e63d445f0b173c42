"""The tables of a sweep, from the files of its points, one point in memory at a time.

* ``results.csv``: a row for each point, replication and measure: ``point``, a column for each path that was
  varied, ``replication, metric, value``;
* ``summary.csv``: a row for each point and measure: ``estimate, low, high`` and a ``reason`` where
  something is missing (see `nodeportsim.metrics.estimates`);
* ``points.csv``: a row for each point: what was set there as it was written, ``status``, ``warmup_s``,
  ``reason``.

In the first two, quantities are numbers in SI units, so that they can be plotted. What a sample cannot
carry is an empty field. A point that failed, or is not finished, has a row in ``points.csv`` alone.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from nodeportsim.metrics.observables import MAIN, NAMES, chosen
from nodeportsim.study.design import coordinate
from nodeportsim.study.folder import is_locked, results_of
from nodeportsim.study.measure import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from nodeportsim.study.folder import Folder

    Row = Sequence[Any]

TABLES = ("results", "summary", "points")
PENDING = "pending"
ALL = "all"


def wanted(metrics: Sequence[str]) -> tuple[str, ...]:
    """Give the measures of the tables: those that were asked for, else the main ones; ``all`` is every one.

    Raises
    ------
    InputError
        There is no such measure.
    """
    return NAMES if ALL in metrics else chosen(metrics or MAIN)


def header(folder: Folder, table: str) -> list[str]:
    """Name the columns of a table."""
    after = {
        "results": ["replication", "metric", "value"],
        "summary": ["metric", "estimate", "low", "high", "reason"],
        "points": ["status", "warmup_s", "reason"],
    }
    return ["point", *folder.manifest["columns"], *after[table]]


def rows(folder: Folder, table: str, metrics: Sequence[str] = ()) -> Iterator[Row]:
    """Give the rows of a table, point by point."""
    names = wanted(metrics)
    for number, (labels, record) in enumerate(zip(folder.manifest["points"], folder.records(), strict=True)):
        if table == "points":
            found = record or {"status": PENDING}
            yield number, *labels, found["status"], found.get("warmup_s"), found.get("reason")
        elif record is not None and record["status"] == DONE:
            places = [record["metrics"].index(name) for name in names]
            place = (number, *map(coordinate, labels))
            make = _results if table == "results" else _summary
            yield from make(record, place, list(zip(names, places, strict=True)))


def _results(record: dict[str, Any], place: Row, named: list[tuple[str, int]]) -> Iterator[Row]:
    for replication, values in zip(record["replications"], record["values"], strict=True):
        for name, at in named:
            yield *place, replication, name, values[at]


def _summary(record: dict[str, Any], place: Row, named: list[tuple[str, int]]) -> Iterator[Row]:
    for name, at in named:
        yield *place, name, *record["estimates"][at]


def counts(folder: Folder) -> dict[str, Any]:
    """Count the points of a folder by their status, and say whether a process is at work there."""
    found = {DONE: 0, FAILED: 0, PENDING: 0}
    for record in folder.records():
        found[record["status"] if record else PENDING] += 1
    return {"points": sum(found.values()), **found, "running": is_locked(folder.path)}


def write_csv(folder: Folder, table: str, metrics: Sequence[str], stream: TextIO) -> None:
    """Write a table as CSV; numbers so that they are read back the same, words of YAML for true and null."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header(folder, table))
    writer.writerows([_cell(value) for value in row] for row in rows(folder, table, metrics))


def _cell(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def write_results(folder: Folder, metrics: Sequence[str] = ()) -> None:
    """Write all tables into the folder.

    Raises
    ------
    InputError
        A metric is none, or the operating system refuses.
    """
    with results_of(folder) as staging:
        for table in TABLES:
            with (staging / f"{table}.csv").open("w", encoding="utf-8", newline="") as stream:
                write_csv(folder, table, metrics, stream)
