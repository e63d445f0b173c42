"""`sweep`: many points of a parameter space into one folder; its status, and its tables in other formats."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import (
    announce_compilation,
    debug,
    folder,
    options,
    output,
    print_json,
    print_table,
    progress_bar,
    question,
    read_scenario,
    work,
)
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.design import Method
    from nodeportsim.study.sweep import Sweep

LINE_S = 10.0
"""How often progress is written where nobody draws a bar."""


class Sweeps(click.RichGroup):
    """A group that takes anything but the name of one of its commands for a sweep to run."""

    default = "run"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let ``sweep FILE`` mean ``sweep run FILE``."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


@click.group(cls=Sweeps)
def sweep() -> None:
    """Run a scenario at many points: `sweep FILE --vary PATH=VALUES --out DIR`; or one of these."""


vary = click.option(
    "--vary",
    multiple=True,
    metavar="PATH=VALUES",
    help="a,b,c | lin:LOW:HIGH:N | log:LOW:HIGH:N | LOW..HIGH (repeatable).",
)
metrics_option = click.option(
    "--metrics", multiple=True, metavar="NAME", help="latency_s.p99, balance, all ... (repeatable)."
)
parallel = options(
    click.option("--scheduler", metavar="ADDRESS", help="Work on a Dask cluster: tcp://host:8786."),
    click.option("--yes", is_flag=True, help="Take on more than 10,000 points, or more than an hour."),
)


@sweep.command()
@click.argument("file", required=False)
@click.option("--example", metavar="NAME", help="A scenario that comes with the package: `list examples`.")
@vary
@click.option(
    "--method",
    type=click.Choice(["grid", "zip", "lhs", "sobol"]),
    default="grid",
    show_default=True,
    help="How values are combined, or drawn from ranges.",
)
@click.option("--samples", type=int, metavar="N", help="Points that lhs or sobol draw.")
@metrics_option
@question
@work
@parallel
@folder(required=True)
@debug
def run(
    *,
    file: str | None,
    example: str | None,
    vary: tuple[str, ...],
    method: Method,
    samples: int | None,
    metrics: tuple[str, ...],
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
    """Run a scenario or an experiment's file at every point; again, to go on after an interruption."""
    from nodeportsim.study.design import parse_vary
    from nodeportsim.study.sweep import designed, of_experiment

    more = () if replications is None else (f"run.replications={replications}",)
    given = (*sets, *more)
    found = of_experiment(file, given) if file else None
    if found is not None and vary:
        raise InputError("varies by itself: leave --vary out", field=str(file))
    if found is None:
        read = reader(file, example, given, service)
        found = designed(read, parse_vary(vary), method=method, samples=samples, yes=yes)
    announce_compilation(engine or "compiled", quiet)
    measure(found, out, jobs=jobs, scheduler=scheduler, engine=engine, metrics=metrics, yes=yes, quiet=quiet)
    click.echo(str(out / "results.csv"))


def reader(
    file: str | None, example: str | None, sets: Sequence[str], service: str | None
) -> Callable[[Sequence[str]], Scenario]:
    """Give the function that reads the scenario with the settings of a point."""

    def read(more: Sequence[str]) -> Scenario:
        return read_scenario(file, example, (*sets, *more), service)

    return read


def measure(found: Sweep, out: Path, *, quiet: bool, **how: Any) -> None:
    """Run a sweep and say how far it is."""
    from nodeportsim.study.sweep import run_sweep

    def notice(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    with progress(quiet) as shown:
        run_sweep(found, out, progress=shown, notice=notice, **how)


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function (done, total): a bar on a terminal, a line now and then elsewhere."""
    if quiet or sys.stderr.isatty():
        with progress_bar("points", quiet) as shown:
            yield shown
        return
    # Counted from the first point on: before it, workers start.
    first: tuple[float, int] | None = None
    last_s = 0.0

    def line(done: int, total: int) -> None:
        nonlocal first, last_s
        now_s = time.monotonic()
        if first is None:
            first, last_s = (now_s, done), now_s
        elif now_s - last_s >= LINE_S:
            last_s = now_s
            rate = (done - first[1]) / (now_s - first[0])
            left_s = (total - done) / rate
            click.echo(f"{done} of {total} points, {rate:.3g} points/s, {left_s:.0f} s left", err=True)

    yield line


@sweep.command()
@click.argument("directory", type=click.Path(path_type=Path))
@output("table", "json")
@debug
def status(*, directory: Path, kind: str) -> None:
    """Say how far the sweep of a folder is."""
    from nodeportsim.study.folder import opened
    from nodeportsim.study.results import counts

    found = counts(opened(directory))
    if kind == "json":
        print_json(found)
    else:
        print_table(str(directory), [{"": name, "value": value} for name, value in found.items()])


@sweep.command()
@click.argument("directory", type=click.Path(path_type=Path))
@metrics_option
@click.option(
    "--table",
    type=click.Choice(["results", "summary", "points"]),
    default="results",
    show_default=True,
    help="Every replication, estimates with intervals, or what the points are.",
)
@output("csv", "json", "parquet", "markdown")
@debug
def export(*, directory: Path, metrics: tuple[str, ...], table: str, kind: str) -> None:
    """Write a table of the finished points to standard output; parquet into the folder."""
    from nodeportsim.study.export import as_json_lines, as_markdown, write_parquet
    from nodeportsim.study.folder import opened
    from nodeportsim.study.results import write_csv

    found = opened(directory)
    match kind:
        case "parquet":
            click.echo(str(write_parquet(found, table, metrics)))
        case "json":
            as_json_lines(found, table, metrics, sys.stdout)
        case "markdown":
            as_markdown(found, table, metrics, sys.stdout)
        case _:
            write_csv(found, table, metrics, sys.stdout)
