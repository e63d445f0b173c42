"""`sensitivity`: which of many parameters matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from nodeportsim.cli.plumbing import announce_compilation, debug, folder, print_table, question, work
from nodeportsim.cli.sweeps import measure, parallel, reader, vary

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.study.sensitivity import Analysis


@click.command()
@click.argument("file", required=False)
@click.option("--example", metavar="NAME", help="A scenario that comes with the package: `list examples`.")
@vary
@click.option(
    "--method",
    type=click.Choice(["tornado", "morris", "sobol"]),
    default="tornado",
    show_default=True,
    help="One at a time, effects along trajectories, shares of the variance.",
)
@click.option("--metric", default="latency_s.p99", show_default=True, help="What the parameters act on.")
@click.option("--samples", type=int, metavar="N", help="Trajectories (20), or base samples (64).")
@question
@work
@parallel
@folder(required=True)
@debug
def sensitivity(
    *,
    file: str | None,
    example: str | None,
    vary: tuple[str, ...],
    method: Analysis,
    metric: str,
    samples: int | None,
    sets: tuple[str, ...],
    service: str | None,
    replications: int | None,
    engine: Engine | None,
    jobs: int,
    quiet: bool,
    scheduler: str | None,
    yes: bool,
    out: Path,
) -> None:
    """Say which parameters matter for a metric; with another metric the same runs are read again."""
    import pandas as pd

    from nodeportsim.metrics.importance import verdict
    from nodeportsim.report.figures import write
    from nodeportsim.study.design import parse_vary
    from nodeportsim.study.folder import opened, results_of
    from nodeportsim.study.sensitivity import analyse, one, planned, sweep_of

    one(metric)  # A misspelt one is worth knowing before the work.
    more = () if replications is None else (f"run.replications={replications}",)
    read = reader(file, example, (*sets, *more), service)
    plan = planned(parse_vary(vary), method, samples, read(()).run.seed)
    announce_compilation(engine or "compiled", quiet)
    measure(sweep_of(plan, read), out, jobs=jobs, scheduler=scheduler, engine=engine, yes=yes, quiet=quiet)
    found = opened(out)
    rows = analyse(plan, metric, found)
    table = pd.DataFrame(rows).astype(dict.fromkeys(("estimate", "low", "high"), float))
    with results_of(found) as staging:
        table.to_csv(staging / "sensitivity.csv", index=False, lineterminator="\n")
        write("tornado", {"table": table}, staging)
    print_table(f"{method}: {metric}", [_shown(row) for row in rows])
    click.echo(verdict(rows))
    click.echo(str(out / "sensitivity.csv"))


def _shown(row: dict[str, object]) -> dict[str, object]:
    """Leave out what is the same in every row."""
    return {name: value for name, value in row.items() if name not in {"metric", "method"}}
