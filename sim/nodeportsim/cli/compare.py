"""The command that compares variants under common random numbers."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import (
    announce_compilation,
    debug,
    folder,
    output,
    print_json,
    progress_bar,
    question,
    read_scenario,
    work,
)
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.compare import Comparison

TWO = 2


@click.command()
@click.argument("files", metavar="[A] [B]", nargs=-1)
@click.option("--example", "examples", multiple=True, metavar="NAME", help="In place of a file.")
@click.option("--vary", multiple=True, metavar="PATH=A,B", help="Values; the first is the baseline.")
@click.option("--to", "changes", multiple=True, metavar="PATH=VALUE", help="What the variant changes.")
@click.option("--baseline", metavar="VARIANT", help="Compare with this one, not the first.")
@click.option("--metrics", metavar="NAMES", help="Names or beginnings of names, with commas between.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the files'.")
@question
@work
@folder(required=False)
@output("table", "json", "csv", "markdown")
@debug
def compare(
    *,
    files: tuple[str, ...],
    examples: tuple[str, ...],
    vary: tuple[str, ...],
    changes: tuple[str, ...],
    baseline: str | None,
    metrics: str | None,
    seed: int | None,
    sets: tuple[str, ...],
    service: str | None,
    replications: int | None,
    engine: Engine | None,
    jobs: int,
    quiet: bool,
    out: Path | None,
    kind: str,
) -> None:
    """Compare two scenarios, A with B, or one with what --vary or --to changes: what differs, how sure.

    All variants share their arrivals and demands: what differs, differs by what was changed.
    """
    from nodeportsim.study.compare import compare_scenarios
    from nodeportsim.study.run import choose_engine
    from nodeportsim.study.store import staged

    given = {"run.seed": seed, "run.replications": replications}
    sets += tuple(f"{path}={value}" for path, value in given.items() if value is not None)
    scenarios = _variants(files, examples, vary, changes, sets, service)
    announce_compilation(choose_engine(next(iter(scenarios.values())), engine), quiet)
    wanted = tuple(name.strip() for name in (metrics or "").split(",") if name.strip())
    with staged(out) if out else nullcontext() as staging, progress_bar("variants", quiet) as progress:
        found = compare_scenarios(
            scenarios, baseline=baseline, metrics=wanted, engine=engine, jobs=jobs, progress=progress
        )
        if staging is not None:
            _write(found, staging)
    _show(found, kind)


def _variants(
    files: tuple[str, ...],
    examples: tuple[str, ...],
    vary: tuple[str, ...],
    changes: tuple[str, ...],
    sets: tuple[str, ...],
    service: str | None,
) -> dict[str, Scenario]:
    """Read the variants by name."""
    asked: list[tuple[str | None, str | None]] = [*((f, None) for f in files), *((None, e) for e in examples)]
    if vary and changes:
        raise click.UsageError("--vary and --to are two ways to say what changes: give one of them")
    if not (vary or changes):
        if len(asked) != TWO:
            raise click.UsageError("give two scenarios, A and B, or one and what changes: --vary or --to")
        return _two([read_scenario(*source, sets, service) for source in asked])
    if len(asked) != 1:
        raise click.UsageError("with --vary or --to, give one scenario: FILE or --example NAME")
    points = {"as given": (), ", ".join(changes): changes} if changes else _points(vary)
    return {name: read_scenario(*asked[0], (*sets, *more), service) for name, more in points.items()}


def _two(scenarios: list[Scenario]) -> dict[str, Scenario]:
    """Name two scenarios, by letters where they have one name."""
    a, b = scenarios
    return {a.name: a, b.name: b} if a.name != b.name else {f"{a.name} (A)": a, f"{b.name} (B)": b}


def _points(vary: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Name every combination of values by what tells it from the others."""
    from nodeportsim.study.design import parse_vary, points

    axes = parse_vary(vary)
    named = {_named(point.labels): point.sets for point in points(axes)}
    if len(named) < TWO:
        raise InputError("has one value: nothing to compare it with", field="--vary", got=vary[0])
    return named


def _named(labels: dict[str, Any]) -> str:
    """Name a point: by its value alone, where one field is varied."""
    return ", ".join(str(value) if len(labels) == 1 else f"{path}={value}" for path, value in labels.items())


def _write(found: Comparison, staging: Path) -> None:
    """Write the comparison, its tables, and the figure where a relative difference has an interval."""
    import json

    from nodeportsim.report.figures import plot, write

    text = json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n"
    (staging / "comparison.json").write_text(text, encoding="utf-8")
    tables = found.tables
    for name in ("differences", "best"):
        tables[name].to_csv(staging / f"{name}.csv", index=False, lineterminator="\n")
    if frames := plot("paired").frames({}, tables):
        write("paired", frames, staging)


def _show(found: Comparison, kind: str) -> None:
    from nodeportsim.report import comparison as text

    match kind:
        case "json":
            print_json(found.as_dict())
        case "csv":
            click.echo(text.as_csv(found.differences), nl=False)
        case "markdown":
            click.echo(text.as_markdown(found.as_dict()), nl=False)
        case _:
            text.show(found.as_dict())
