"""Commands that simulate: run, check, experiment."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.dumps import dump_options, given_dump, with_dump
from nodeportsim.cli.plumbing import (
    announce_compilation,
    debug,
    folder,
    output,
    progress_bar,
    question,
    read_scenario,
    work,
)
from nodeportsim.errors import InputError, ThresholdError

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.engine.simulate import Engine


@click.command()
@click.argument("file", required=False)
@click.option("--example", metavar="NAME", help="A scenario that comes with the package: `list examples`.")
@question
@dump_options
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the file's.")
@click.option("--profile", metavar="NAME|FOLDER", help="Prices: short for `--set cluster.profile=`.")
@click.option("--uncertainty", is_flag=True, help="Let the intervals hold the errors of the prices.")
@click.option(
    "--precision", multiple=True, metavar="METRIC=WIDTH", help="Run on until latency.p99=2% (repeatable)."
)
@click.option("--max-replications", type=click.IntRange(min=1), help="With --precision: give up here.")
@work
@folder(required=False)
@output("table", "json", "csv", "markdown")
@debug
def run(
    *,
    file: str | None,
    example: str | None,
    sets: tuple[str, ...],
    service: str | None,
    from_iptables_save: str | None,
    from_nft: str | None,
    from_ipvsadm: str | None,
    seed: int | None,
    profile: str | None,
    uncertainty: bool,
    precision: tuple[str, ...],
    max_replications: int | None,
    replications: int | None,
    engine: Engine | None,
    jobs: int,
    quiet: bool,
    out: Path | None,
    kind: str,
) -> None:
    """Simulate a scenario: a YAML file, a dump of kubectl, or an example; over a node's rules."""
    from nodeportsim.result import run_folder, simulate
    from nodeportsim.study.run import choose_engine
    from nodeportsim.study.store import staged

    given = {"run.seed": seed, "run.replications": replications, "cluster.profile": profile}
    given |= {"run.uncertainty": "true"} if uncertainty else {}
    given |= {"run.maxReplications": max_replications, **_asked(precision)}
    sets += tuple(f"{path}={value}" for path, value in given.items() if value is not None)
    dump = given_dump(from_iptables_save, from_nft, from_ipvsadm)
    if dump is None:
        scenario = read_scenario(file, example, sets, service)
    else:
        scenario = with_dump(dump, lambda under: read_scenario(file, example, (*under, *sets), service))
    if kind == "table" and out is None:
        out = run_folder(scenario)
    announce_compilation(choose_engine(scenario, engine), quiet)
    # The folder is tried before the work, not after it.
    with staged(out) if out else nullcontext() as staging, progress_bar("replications", quiet) as progress:
        result = simulate(scenario, engine=engine, jobs=jobs, progress=progress)
        if staging is not None:
            result.write(staging)
    _show(result.summary, kind, out)
    _precision(result.summary)
    _thresholds(result.summary)


def _show(summary: dict[str, Any], kind: str, out: Path | None) -> None:
    from nodeportsim.report import summary as text

    match kind:
        case "json":
            click.echo(text.as_json(summary), nl=False)
        case "csv":
            click.echo(text.as_csv(summary), nl=False)
        case "markdown":
            click.echo(text.as_markdown(summary), nl=False)
        case _:
            text.show(summary, out)


def _asked(precision: tuple[str, ...]) -> dict[str, str]:
    """Read METRIC=WIDTH pairs; a misspelt metric is refused here, not as a path that does not exist."""
    from nodeportsim.metrics.precision import parse

    given = {}
    for word in precision:
        name, equals, width = (part.strip() for part in word.partition("="))
        if not equals:
            raise InputError("must be METRIC=WIDTH, as in latency.p99=2%", field="--precision", got=word)
        given[name] = width
    parse(given)
    return {f"run.precision.{name}": width for name, width in given.items()}


def _precision(summary: dict[str, Any]) -> None:
    found = summary.get("precision")
    if found and not found["ok"]:
        words = "; ".join(
            f"{row['name']} within {row['asked']} (it is {row['estimate']} +- {row['half_width']})"
            for row in found["metrics"]
            if not row["ok"]
        )
        many = f"after {found['replications']} replications, the most allowed"
        raise ThresholdError(f"the precision asked for is not reached {many}: {words}")


def _thresholds(summary: dict[str, Any]) -> None:
    broken = [row for row in summary["thresholds"] if not row["ok"]]
    if broken:
        words = "; ".join(f"{row['name']} {row['limit']} (it is {row['value']})" for row in broken)
        raise ThresholdError(f"a threshold does not hold: {words}")


@click.command()
@click.argument("file")
@question
@debug
def check(file: str, sets: tuple[str, ...], service: str | None) -> None:
    """Say whether a file is a scenario, and which."""
    from nodeportsim.metrics.thresholds import parse

    s = read_scenario(file, None, sets, service)
    parse(s.thresholds)
    rate = sum(group.rate_rps for group in s.clients if group.loop == "open")
    load = f"{rate:g} requests/s" if rate else f"{sum(group.count for group in s.clients)} clients"
    click.echo(
        f"{file} is fine: {s.name}: {s.cluster.proxy.mode}, {s.cluster.nodes} nodes, "
        f"{s.service.replicas} pods, {load}, {len(s.events)} events, "
        f"{s.run.replications} x {s.run.duration_s:g} s"
    )


@click.command()
@click.argument("name")
@work
@folder(required=True)
@debug
def experiment(
    *, name: str, replications: int | None, engine: Engine | None, jobs: int, quiet: bool, out: Path
) -> None:
    """Run an experiment, one of ours by NAME or your own FILE: a table, figures, conclusions."""
    from nodeportsim.report.figures import plot
    from nodeportsim.result import write_findings
    from nodeportsim.study.experiment import find, run_experiment
    from nodeportsim.study.store import staged

    plan, home = find(name)
    for curve in plan.figures:
        plot(curve.name)  # A misspelt one is worth knowing before the work.
    with staged(out) as staging, progress_bar("cells", quiet) as progress:
        findings = run_experiment(
            plan, home, replications=replications, engine=engine, jobs=jobs, progress=progress
        )
        write_findings(plan, findings, staging, name=name, replications=replications)
    click.echo(str(out / "table.csv"))
