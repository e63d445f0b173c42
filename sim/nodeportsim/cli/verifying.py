"""Commands over stored results: verify, runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import debug, output, print_json, print_table, progress_bar, resources
from nodeportsim.errors import InputError, ThresholdError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.study.verify import Verdict

MOST_ROWS = 20
SHOWN = (
    "run",
    "version",
    "seed",
    "failed",
    "p50_s",
    "p99_s",
    "state",
)  # In 80 columns; -o json has the rest.


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--against", metavar="RUN", type=click.Path(path_type=Path), help="Simulate nothing: compare.")
@resources
@output("table", "json")
@debug
def verify(
    *, runs: tuple[Path, ...], against: Path | None, engine: Engine | None, jobs: int, quiet: bool, kind: str
) -> None:
    """Check the files of stored results, simulate them again, and compare every number.

    Exit code: 0 all identical, 1 files changed or results differ, 2 something cannot be verified.
    """
    from nodeportsim.study import verify as study

    verdicts = []
    for folder in runs:
        if against is not None:
            verdicts.append(study.against(folder, against))
        else:
            with progress_bar(str(folder), quiet) as progress:
                verdicts.append(study.verify(folder, engine=engine, jobs=jobs, progress=progress))
    if kind == "json":
        print_json([vars(verdict) for verdict in verdicts])
    else:
        for verdict in verdicts:
            _show(verdict)
    _end(verdicts)


def _show(verdict: Verdict) -> None:
    click.echo(f"{verdict.folder}: {verdict.answer}")
    for line in (*verdict.reasons, *verdict.notes):
        click.echo(f"  {line}")
    if verdict.rows:
        columns = ("metric", "before", "after", "difference_ratio", "within")
        rows = [{name: row[name] for name in columns} for row in verdict.rows[:MOST_ROWS]]
        judged = [row["within"] for row in verdict.rows if row["within"] is not None]
        print_table("what differs; within: in the first one's 95 % interval", rows)
        told = f"of {len(judged)} with an interval {sum(judged)} are within it"
        click.echo(f"{len(verdict.rows)} numbers differ; {told}")


def _end(verdicts: list[Verdict]) -> None:
    """End as the worst verdict does."""
    bad = [verdict for verdict in verdicts if verdict.answer != "identical"]
    if lost := [verdict.folder for verdict in bad if verdict.answer == "cannot be verified"]:
        raise InputError("cannot be verified", field=", ".join(lost))
    if bad:
        raise ThresholdError(f"not identical: {', '.join(verdict.folder for verdict in bad)}")


@click.command()
@click.argument("folder", required=False, default="runs", type=click.Path(path_type=Path))
@output("table", "json", "csv")
@debug
def runs(*, folder: Path, kind: str) -> None:
    """List stored runs, by default those under runs/: what was asked, which version, the main numbers."""
    if not folder.is_dir():
        raise InputError(
            "is not a folder", field=str(folder), hint="nodeportsim run FILE writes runs/NAME-HASH"
        )
    rows = [_row(each) for each in _folders(folder)]
    if kind == "json":
        print_json(rows)
    elif kind == "csv":
        _csv(rows)
    else:
        print_table(f"runs in {folder}", [{name: row[name] for name in SHOWN} for row in rows])
        for row in rows:
            if row["problem"]:
                click.echo(row["problem"], err=True)


def _folders(folder: Path) -> Iterator[Path]:
    from nodeportsim.study.manifest import NAME, SUMMARY

    for each in sorted(folder.iterdir()):
        if each.is_dir() and any((each / name).exists() for name in (NAME, SUMMARY)):
            yield each


def _row(folder: Path) -> dict[str, Any]:
    """Read one folder; what is damaged is said, not raised."""
    from nodeportsim.study.manifest import stored

    row = dict.fromkeys(("run", "scenario", "version", "seed", "replications", "failed", "p50_s", "p99_s"))
    row["run"] = folder.name
    try:
        found = stored(folder)
        summary = found.summary() if found.is_run else {}
        about = summary.get("provenance") or found.manifest or {}
        row |= {name: about.get(name) for name in ("scenario", "version", "seed", "replications")}
        row["scenario"] = row["scenario"] or about.get("experiment")
        row["failed"] = (summary.get("requests") or {}).get("failed")
        for name in ("p50", "p99"):
            row[f"{name}_s"] = ((summary.get("latency_s") or {}).get(name) or {}).get("estimate")
    except InputError as error:
        return row | {"state": "damaged", "problem": str(error)}
    except (AttributeError, TypeError):
        return row | {"state": "damaged", "problem": f"{folder / 'summary.json'} is not a summary of a run"}
    changed = found.changed()
    problem = f"{folder}: {'; '.join(changed)}" if changed else None
    return row | {
        "state": "changed" if changed else "no manifest" if not found.manifest else "",
        "problem": problem,
    }


def _csv(rows: list[dict[str, Any]]) -> None:
    import csv
    import io

    text = io.StringIO()
    if rows:
        table = csv.DictWriter(text, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    click.echo(text.getvalue(), nl=False)
