"""The command ``incidents``: published incidents, simulated again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import (
    announce_compilation,
    debug,
    output,
    print_json,
    print_table,
    progress_bar,
)
from nodeportsim.errors import ThresholdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.engine.simulate import Engine

VERDICTS = {True: "yes", False: "NO"}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="Name them with their sources; run nothing.")
@click.option("--engine", type=click.Choice(["compiled", "simpy"]), help="Same results, other speed.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="At a time.")
@click.option("--quiet", is_flag=True, help="No progress.")
@output("table", "json", "markdown")
@debug
def incidents(
    *, names: tuple[str, ...], only_list: bool, engine: Engine | None, jobs: int, quiet: bool, kind: str
) -> None:
    """Simulate published incidents again, all or by NAME; exit with 1 if a figure lies outside its band."""
    from nodeportsim.study.incidents.library import incidents as ours
    from nodeportsim.study.incidents.rerun import rerun

    chosen = names or tuple(ours())
    if only_list:
        _list(chosen, kind)
        return
    announce_compilation(engine or "compiled", quiet)
    with progress_bar("incidents", quiet) as progress:
        rows = rerun(chosen, engine=engine, jobs=jobs, progress=progress)
    _show(rows, kind)
    if missed := [f"{row['name']}: {row['quantity']}" for row in rows if not row["in_band"]]:
        raise ThresholdError(f"{len(missed)} of {len(rows)} lie outside their band: {'; '.join(missed)}")


def _list(names: Sequence[str], kind: str) -> None:
    from nodeportsim.study.incidents.library import incident_path, read_incident

    read = {name: read_incident(incident_path(name)) for name in names}
    rows = [{"name": name, "source": i.source, "title": i.title} for name, i in read.items()]
    if kind == "json":
        print_json(rows)
    elif kind == "markdown":
        click.echo(_markdown(rows))
    else:
        print_table("incidents", rows)


def _show(rows: Sequence[dict[str, Any]], kind: str) -> None:
    if kind == "json":
        print_json(rows)
        return
    written = [
        row | {"band": _band(row["band"]), "in_band": "yes" if row["in_band"] else "NO"} for row in rows
    ]
    if kind == "markdown":
        click.echo(_markdown(written))
    else:
        print_table("incidents, simulated again", written)


def _band(band: Sequence[float]) -> str:
    low, high = band
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows of the same keys as a table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_text(row[key]) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
