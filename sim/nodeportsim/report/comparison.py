"""A comparison as text: for people at a terminal, as CSV, as Markdown."""

from __future__ import annotations

import csv
import io
from statistics import median
from typing import IO, TYPE_CHECKING, Any

from nodeportsim.metrics.certainty import MOST_REPLICATIONS
from nodeportsim.metrics.intervals import zero_bound
from nodeportsim.report.grids import Grid
from nodeportsim.report.summary import grid_markdown, print_grid
from nodeportsim.report.words import (
    NOTHING,
    count,
    duration,
    metric_name,
    percent,
    plain,
    share,
    signed,
    times,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Row = Mapping[str, Any]

COLUMNS = 100
SURE = (
    "How sure: very sure is p <= 0.001, sure p <= 0.05, adjusted for all rows together (Holm): where nothing "
    "differs, fewer than one table in twenty says sure anywhere. Runs needed: to find a difference as large "
    "as this one looks, with 80 % chance."
)
CERTAIN = 0.999
"""Above it a confidence is not written out: the tail of t is not known as well."""


def grids(comparison: Row) -> Iterator[Grid]:
    """Lay out a table a variant, and one that says which is best where there are several."""
    rows, baseline = comparison["differences"], comparison["baseline"]
    for name in dict.fromkeys(row["variant"] for row in rows):
        body = [_cells(row) for row in rows if row["variant"] == name]
        head = ["", "before", "after", "difference", "relative", "how sure", "runs needed"]
        yield Grid(f"{name} against {baseline}", head, body)
    if len({row["variant"] for row in rows}) > 1:
        body = [[metric_name(row["metric"]), *_best(row)] for row in comparison["best"]]
        yield Grid(
            "Which is best, each metric by itself", ["", "best", "confidence", "may be best (95 %)"], body
        )


def _cells(row: Row) -> list[str]:
    written = _writer(row["metric"])
    interval = {"estimate": row["difference"], "low": row["low"], "high": row["high"]}
    relative = NOTHING if row["difference_ratio"] is None else signed(row["difference_ratio"])
    ends = [written({"estimate": row[end]}) for end in ("before", "after")]
    return [metric_name(row["metric"]), *ends, written(interval), relative, row["sure"], _needed(row)]


def _needed(row: Row) -> str:
    if row["sure"] != "cannot tell":
        return NOTHING
    if row["replications_needed"] is not None:
        return count(row["replications_needed"])
    return NOTHING if row["reason"] else f"> {count(MOST_REPLICATIONS)}"


def _writer(metric: str) -> Any:
    """Take the writer for a metric's unit, by its name."""
    parts = metric.split(".")
    if any(part.endswith("_s") for part in parts):
        return duration
    return share if parts[-1].endswith("_ratio") else plain


def _best(row: Row) -> list[str]:
    may_be = ", ".join(row["survivors"]) or NOTHING
    if row["confidence"] is None:
        return ["cannot tell", NOTHING, may_be]
    sure = row["confidence"] >= CERTAIN
    return [row["best"], f"> {percent(CERTAIN)}" if sure else percent(row["confidence"]), may_be]


def notes(comparison: Row) -> Iterator[str]:
    """Say what the words mean, what the sample cannot carry, and what the pairing was worth."""
    yield SURE
    rows, runs = comparison["differences"], comparison["provenance"]["replications"]
    for row in rows:
        if row["reason"]:
            yield f"{row['variant']}, {metric_name(row['metric'])}: {row['reason']}."
    if any(row["sure"] == "none seen" for row in rows):
        bound = percent(zero_bound(runs))
        yield f"None seen: equal in each of {runs} replications; at most {bound} of such would differ (95 %)."
    for row in comparison["controlled"]:
        yield (
            f"{row['variant']}, mean latency with control variates (arrivals, work): {duration(row)}, "
            f"{times(row['width_ratio'])} as wide."
        )
    ratios = [row["variance_ratio"] for row in rows if row["variance_ratio"]]
    if ratios:
        worth = median(ratios)
        yield (
            f"Common random numbers: the variance of a difference is {times(1 / worth)} that of independent "
            f"runs (median of the rows); {count(runs)} pairs tell as much as {count(runs * worth)} would."
        )


def show(comparison: Row, *, file: IO[str] | None = None) -> None:
    """Print a comparison; standard output by default."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=file, highlight=False, soft_wrap=False)
    console.width = min(console.width, 120) if console.is_terminal else COLUMNS
    for grid in grids(comparison):
        print_grid(console, grid)
    console.print()
    for note in notes(comparison):
        console.print(Text(note))


def as_csv(rows: Sequence[Row]) -> str:
    """Write the differences, a row each, nothing where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows(["" if value is None else value for value in row.values()] for row in rows)
    return out.getvalue()


def as_markdown(comparison: Row) -> str:
    """Write all tables as GitHub-flavoured Markdown, with the notes as a list."""
    parts = [line for grid in grids(comparison) for line in grid_markdown(grid)]
    return "\n".join([*parts, *(f"- {note}" for note in notes(comparison)), ""])
