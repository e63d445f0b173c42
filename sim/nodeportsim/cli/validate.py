"""The command that compares predictions with what was measured: by others, by us, on your node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from nodeportsim.cli.plumbing import debug, folder, output, print_table

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("source_id", "rows", "ok", "missed", "no_test", "not_modelled")
FILE = click.Path(path_type=Path)


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=FILE)
@click.option("--profile", default="kernel-6.18", show_default=True, help="Whose prices DIR is held against.")
@click.option("--rows", metavar="FILE", type=FILE, help="Published rows instead of the package's own.")
@folder(required=False)
@click.option("--page", metavar="FILE", type=FILE, help="Write the page here, as Markdown.")
@output("table", "json", "csv", "markdown")
@debug
def validate(
    *, directory: Path | None, profile: str, rows: Path | None, out: Path | None, page: Path | None, kind: str
) -> None:
    """Compare predictions with published numbers, or a profile with the measurements in DIR.

    A miss is a finding: the exit code stays 0.
    """
    if directory is not None:
        if rows is not None or page is not None:
            raise click.UsageError("--rows and --page are about published numbers: leave DIR out")
        _node(directory, profile, out, kind)
        return
    from nodeportsim.calibrate.shipped.published import read_rows
    from nodeportsim.calibrate.validating import residuals
    from nodeportsim.calibrate.validating import validate as validation
    from nodeportsim.report import validation as report

    table, own = validation.published(None if rows is None else read_rows(rows)), residuals.own()
    by_source = validation.by_source(table)
    if out is not None:
        _write({"table": table, "own": own}, out, figures=True)
    text = report.page(table, own, by_source)
    if page is not None:
        page.write_text(text, "utf-8")
    if kind == "markdown":
        click.echo(text, nl=False)
    elif kind == "table":
        print_table("Published numbers by source", by_source[list(SHOWN)].to_dict("records"))  # type: ignore[arg-type]
        _print_misses(table)
    else:
        _machine(table, kind)


def _node(directory: Path, profile: str, out: Path | None, kind: str) -> None:
    """Hold a profile against a folder of measurements."""
    from nodeportsim.calibrate.validating.residuals import measured

    cells, errors = measured(directory, profile)
    if out is not None:
        _write({"cells": cells, "errors": errors}, out, figures=False)
    if kind in ("json", "csv"):
        _machine(cells, kind)
    else:
        names = ["mode", "experiment", "target", "cells", "median_error", "p90_error", "max_error", "status"]
        print_table(f"{profile} against {directory}", errors[names].to_dict("records"))  # type: ignore[arg-type]


def _print_misses(table: pd.DataFrame) -> None:
    from nodeportsim.report.validation import error

    missed = table[table["status"] == "miss"].to_dict("records")
    rows = [
        {"source": row["source_id"], "what": f"{row['metric']}: {row['case']}", "error": error(row)}
        for row in missed
    ]
    print_table("Misses", rows)


def _machine(table: pd.DataFrame, kind: str) -> None:
    """Print a table for machines."""
    if kind == "json":
        click.echo(table.to_json(orient="records", indent=2))
    else:
        click.echo(table.to_csv(index=False, lineterminator="\n"), nl=False)


def _write(tables: dict[str, pd.DataFrame], out: Path, *, figures: bool) -> None:
    from nodeportsim.report.plots.validation import write
    from nodeportsim.study.store import staged

    with staged(out) as staging:
        for name, table in tables.items():
            table.to_csv(staging / f"{name}.csv", index=False, lineterminator="\n")
        if figures:
            write(tables["table"], staging)
