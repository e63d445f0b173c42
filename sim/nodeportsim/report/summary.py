"""A run's summary as text: for people at a terminal, as CSV, as Markdown, as JSON.

The terminal form fits 80 columns. Rich leaves colours out where the output is no terminal or NO_COLOR
(https://no-color.org) is set; nothing is said by colour alone.
"""

from __future__ import annotations

import csv
import io
import json
from typing import IO, TYPE_CHECKING, Any

from nodeportsim.report import grids
from nodeportsim.report.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rich.console import Console

    from nodeportsim.report.grids import Grid

COLUMNS = 80
_SIGN = {"✓": "green", "✗": "red"}


def show(summary: Mapping[str, Any], folder: Path | None = None, *, file: IO[str] | None = None) -> None:
    """Print the summary of a run.

    Parameters
    ----------
    summary
        As in ``summary.json``.
    folder
        Where the run was written, if it was; its report is named at the end.
    file
        Where to; standard output by default.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=file, highlight=False, soft_wrap=False)
    console.width = min(console.width, 120) if console.is_terminal else COLUMNS
    console.print(Text.assemble((summary["provenance"]["scenario"], "bold"), "  ", grids.headline(summary)))
    print_grid(console, grids.phases(summary))
    print_grid(console, grids.failures(summary))
    print_grid(console, grids.recovery(summary))
    print_grid(console, grids.milestones(summary)._replace(title="Milestones, mean over replications"))
    print_grid(console, grids.where(summary))
    _print_hottest(console, summary)
    _print_thresholds(console, grids.thresholds(summary))
    print_grid(console, grids.precision(summary))
    console.print(Text.assemble(("why: ", "bold"), why(summary)))
    for sentence in summary["provenance"]["assumptions"]:
        console.print(Text.assemble(("assumed: ", "bold"), sentence))
    if folder is not None:
        console.print(Text(f"{folder}/report.html"), soft_wrap=True)


def why(summary: Mapping[str, Any]) -> str:
    """Say the dominant thing in one sentence (see `nodeportsim.metrics.why.why`)."""
    from nodeportsim.metrics.why import why as sentence

    return str(sentence(summary))


def print_grid(console: Console, grid: Grid) -> None:
    """Print a table; long words fold rather than being cut off."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not grid.rows:
        return
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for place, name in enumerate(grid.head):
        table.add_column(Text(name), justify="left" if place == 0 else "right", overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print()
    console.print(Text(grid.title, style="italic"))
    console.print(table)


def _print_hottest(console: Console, summary: Mapping[str, Any]) -> None:
    parts = [
        f"{kind.removesuffix('s')} {plain(values.get('max_over_mean'))}"
        for kind, values in summary["balance"].items()
    ]
    console.print(f"\nhottest / mean:  {',  '.join(parts)}")


def _print_thresholds(console: Console, grid: Grid) -> None:
    from rich.text import Text

    for sign, name, limit, value in grid.rows:
        console.print(Text.assemble((f"{sign} ", _SIGN[sign]), f"{name} {limit}  (is {value})"))


def as_json(summary: Mapping[str, Any]) -> str:
    """Write exactly what ``summary.json`` holds."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


def as_csv(summary: Mapping[str, Any]) -> str:
    """Write one row a number: ``name,estimate,low,high``; a name is the path of its keys in the JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name", "estimate", "low", "high"])
    writer.writerows(_numbers(summary, ""))
    return out.getvalue()


def _numbers(value: Any, path: str) -> Iterator[list[Any]]:
    """Walk down to every number and interval; a list counts from 0."""
    if isinstance(value, dict) and "estimate" in value:
        yield [path, *("" if value.get(key) is None else value[key] for key in ("estimate", "low", "high"))]
    elif isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int | float):
        yield [path, int(value) if isinstance(value, bool) else value, "", ""]


def as_markdown(summary: Mapping[str, Any]) -> str:
    """Write all tables as GitHub-flavoured Markdown."""
    lines = [f"# {_escaped(summary['provenance']['scenario'])}", "", _escaped(grids.headline(summary)), ""]
    for grid in grids.everything(summary):
        lines += grid_markdown(grid)
    return "\n".join([*lines, f"Why: {_escaped(why(summary))}", ""])


def grid_markdown(grid: Grid) -> list[str]:
    """Write one table with its title, line by line."""
    align = [":--", *["--:"] * (len(grid.head) - 1)]
    return [f"## {_escaped(grid.title)}", "", _line(grid.head), _line(align), *map(_line, grid.rows), ""]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Keep a user's name from being read as Markdown or HTML."""
    for sign, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("\n", " ")):
        text = text.replace(sign, safe)
    return text
