"""Commands of the capacity model: `capacity` and `size`."""

from __future__ import annotations

import csv
import io
import math
from contextlib import nullcontext
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
)
from nodeportsim.errors import InputError, ThresholdError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.trial import Bench

Row = dict[str, Any]

subject = options(
    click.argument("file", required=False),
    click.option("--example", metavar="NAME", help="A scenario that comes with the package."),
    question,
)
effort = options(
    click.option("--engine", type=click.Choice(["compiled", "simpy"]), help="Same results, other speed."),
    click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="At a time."),
    click.option("--quiet", is_flag=True, help="No progress."),
)
survive_option = click.option("--survive", metavar="node=N|zone=N", help="Must hold with these lost, too.")


@click.command()
@subject
@click.option("--slo", metavar="LIMITS", help="'p99<50ms, errors<0.1%': find the highest load within.")
@survive_option
@click.option("--request", "request_size", default="1Ki", show_default=True, help="Bytes of a request.")
@click.option("--response", "response_size", default="10Ki", show_default=True, help="Bytes of an answer.")
@click.option("--link", default="10G", show_default=True, help="Bits per second of a node's link.")
@click.option("--packets", default="1M", show_default=True, help="Packets per second a node can do.")
@click.option("--churn", default="0/s", show_default=True, help="Changes of endpoints, all Services.")
@click.option("--agreement", is_flag=True, help="Instead: every closed form against the simulator.")
@effort
@folder(required=False)
@output("table", "json", "csv", "markdown")
@debug
def capacity(
    *,
    file: str | None,
    example: str | None,
    sets: tuple[str, ...],
    service: str | None,
    slo: str | None,
    survive: str | None,
    request_size: str,
    response_size: str,
    link: str,
    packets: str,
    churn: str,
    agreement: bool,
    engine: Engine | None,
    jobs: int,
    quiet: bool,
    out: Path | None,
    kind: str,
) -> None:
    """Say what breaks first as load grows, and the highest load within the limits."""
    if agreement:
        _agreement(engine or "compiled", quiet, out, kind)
        return
    from nodeportsim.study.capacity import Wire
    from nodeportsim.study.highest import highest
    from nodeportsim.study.trial import bench_of
    from nodeportsim.units import rate_rps

    bits_per_byte = 8
    wire = Wire(
        request_bytes=_size("--request", request_size),
        response_bytes=_size("--response", response_size),
        link_bytes_per_s=_size("--link", link) / bits_per_byte,
        packets_per_s=_size("--packets", packets),
    )
    scenario = read_scenario(file, example, sets, service)
    bench = bench_of(slo, None, survive, engine, jobs)
    rows = _resources(scenario, bench, wire, rate_rps(churn))
    answer: Row = {"rate_rps": _digits(sum(group.rate_rps for group in scenario.clients)), "resources": rows}
    if slo is not None:
        announce_compilation(bench.engine, quiet)
        found = highest(scenario, bench)
        answer |= {
            "highest_rps": _digits(found.rate_rps),
            "expected_rps": _digits(found.expected_rps),
            "fails_at_rps": _digits(found.fails_at_rps),
            "because": found.because,
        }
    _show_capacity(answer, kind)


def _agreement(engine: Engine, quiet: bool, out: Path | None, kind: str) -> None:
    """Compare the closed forms with the simulator, and write the points."""
    from nodeportsim.study.agreement import compare, design, errors
    from nodeportsim.study.store import staged

    announce_compilation(engine, quiet)
    with staged(out) if out else nullcontext() as staging, progress_bar("points", quiet) as progress:
        points = compare(design(), engine=engine, progress=progress)
        summed = errors(points)
        if staging is not None:
            points.to_csv(staging / "points.csv", index=False, lineterminator="\n")
            summed.to_csv(staging / "errors.csv", index=False, lineterminator="\n")
    rows: list[Row] = [
        {str(key): _known(value) for key, value in row.items()} for row in summed.to_dict("records")
    ]
    if kind == "json":
        print_json(rows)
    else:
        _print("Closed form over simulated - 1", rows, kind)


def _known(value: Any) -> Any:
    """Give None for what is no number: JSON has none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _size(field: str, text: str) -> float:
    """Read a positive size."""
    from nodeportsim.units import size_bytes

    try:
        value = size_bytes(text)
    except InputError as error:
        raise InputError(error.rule, field=field, got=text) from None
    if not 0 < value < float("inf"):
        raise InputError("must be above 0 and finite", field=field, got=text)
    return value


def _resources(scenario: Scenario, bench: Bench, wire: Any, churn_rps: float) -> list[Row]:
    """List the resources of the worst state, with their use in each."""
    trial = bench.trial(scenario)
    if not trial.states:
        raise InputError(trial.reason or "", field="--survive", got=str(bench.loss))
    states = {
        state.name: {r.name: r for r in state.forms.resources(wire, churn_rps)} for state in trial.states
    }
    whole, worst = states["all up"], states[trial.states[0].name]
    lost = {} if bench.loss is None else {"breaks_at_rps_degraded": worst, "utilisation_degraded": worst}
    return [
        {
            "resource": r.name,
            "breaks_at_rps": _limit(r.breaks_at_rps),
            "utilisation": _digits(r.utilisation),
            **{name: _of(name, given[r.name]) for name, given in lost.items()},
            "load": _digits(r.load),
            "ceiling": _digits(r.ceiling),
            "unit": r.unit,
            "source": r.source,
            "claim": r.claim,
            "simulated": r.simulated,
        }
        for r in whole.values()
    ]


def _of(name: str, resource: Any) -> float | None:
    if name.startswith("breaks"):
        return _limit(resource.breaks_at_rps)
    return _digits(resource.utilisation)


def _limit(value: float) -> float | None:
    """Give a rate; None where requests do not use the resource up."""
    return None if value == float("inf") else _digits(value)


def _digits(value: float | None) -> float | None:
    """Round to six digits: more than a model carries."""
    return None if value is None else float(f"{value:.6g}")


def _show_capacity(answer: Row, kind: str) -> None:
    if kind == "json":
        print_json(answer)
        return
    rows = answer["resources"]
    title = f"What breaks first, from {answer['rate_rps']:,.6g} requests/s on"
    _print(title, [_for_people(row) for row in rows] if kind == "table" else rows, kind)
    if kind == "table" and not all(row["simulated"] for row in rows):
        click.echo("* in closed form only: the simulator, as this scenario stands, is never short of it")
    if "highest_rps" in answer and kind != "csv":
        click.echo(_sentence(answer))


def _for_people(row: Row) -> Row:
    """Write a resource shortly; what only theory speaks of is marked."""
    lost = (
        {"lost: at /s": row["breaks_at_rps_degraded"], "lost: used": row["utilisation_degraded"]}
        if "utilisation_degraded" in row
        else {}
    )
    numbers = {"breaks at /s": row["breaks_at_rps"], "used now": row["utilisation"], **lost}
    return {
        "resource": row["resource"] + ("" if row["simulated"] else " *"),
        **{name: _number(name, value) for name, value in numbers.items()},
        "source": row["source"].partition(":")[0],
    }


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.3g} %" if "used" in name else f"{float(f'{value:.4g}'):,.0f}"


def _sentence(answer: Row) -> str:
    if answer["highest_rps"] is None:
        return f"No load keeps to the limits: {answer['because']}."
    expected = "" if answer["expected_rps"] is None else f" (closed form: {answer['expected_rps']:,.4g}/s)"
    then = "" if answer["because"] is None else f"; at {answer['fails_at_rps']:,.4g}/s {answer['because']}"
    return f"Highest load within the limits: {answer['highest_rps']:,.4g} requests/s{expected}{then}."


def _print(title: str, rows: Sequence[Row], kind: str) -> None:
    """Print rows as a table for people, as CSV, or as Markdown."""
    if kind == "table":
        print_table(title, rows)
    elif kind == "csv":
        sheet = io.StringIO()
        writer = csv.DictWriter(sheet, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(sheet.getvalue(), nl=False)
    else:
        head = list(rows[0]) if rows else []
        lines = [head, ["---"] * len(head), *([_cell(x) for x in row.values()] for row in rows)]
        click.echo(f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@click.command()
@subject
@click.option("--slo", metavar="LIMITS", required=True, help="'p99<50ms, errors<0.1%, max_over_mean<1.3'.")
@survive_option
@click.option("--slo-during", "during", metavar="LIMITS", help="'lost<5000': requests lost per failure.")
@click.option("--cost", metavar="PRICES", default="node=1,pod=0.1", show_default=True, help="Of each.")
@click.option("--nodes", metavar="A..B", help="Default: 2..20.")
@click.option("--pods", metavar="A..B", help="Default: 2..60.")
@click.option("--workers", metavar="N,...", help="Workers of a pod; default: the scenario's.")
@click.option("--modes", metavar="MODE,...", help="kube-proxy's; default: the scenario's.")
@click.option("--policies", metavar="POLICY,...", help="externalTrafficPolicy; default: the scenario's.")
@click.option("--entries", metavar="POLICY,...", help="clients' entry policy; default: the scenario's.")
@effort
@folder(required=False)
@output("table", "json", "csv", "markdown")
@debug
def size(
    *,
    file: str | None,
    example: str | None,
    sets: tuple[str, ...],
    service: str | None,
    slo: str,
    survive: str | None,
    during: str | None,
    cost: str,
    engine: Engine | None,
    jobs: int,
    quiet: bool,
    out: Path | None,
    kind: str,
    **ranges: str | None,
) -> None:
    """Find the cheapest nodes and pods that keep to the limits, also with some of them lost."""
    from nodeportsim.study.size import size as sized
    from nodeportsim.study.store import staged

    scenario = read_scenario(file, example, sets, service)
    announce_compilation(engine or "compiled", quiet)
    with staged(out) if out else nullcontext() as staging, progress_bar("families", quiet) as progress:
        answer = sized(
            scenario,
            slo=slo,
            survive=survive,
            slo_during=during,
            cost=cost,
            engine=engine,
            jobs=jobs,
            progress=progress,
            **ranges,
        )
        if staging is not None:
            from nodeportsim.result import write_sizes

            write_sizes(answer, staging)
    from nodeportsim.study.sized import as_rows

    rows = as_rows(answer)
    if kind == "json":
        print_json({"designs": rows, "infeasible_because": answer.infeasible_because})
    elif rows:
        _print(*(_designs(slo, rows) if kind == "table" else (f"Cheapest designs for {slo}", rows)), kind)
    if answer.infeasible_because is not None:
        raise ThresholdError(f"infeasible: {answer.infeasible_because}")


SAME = ("workers", "mode", "policy", "entry")


def _designs(slo: str, rows: Sequence[Row]) -> tuple[str, list[Row]]:
    """Write designs for people: what all have in common stands in the title, times are in ms."""
    alike = {key: rows[0][key] for key in SAME if len({row[key] for row in rows}) == 1}
    words = ", ".join(f"{key} {value}" for key, value in alike.items())
    hidden = {*alike, "p99_s", "p99_degraded_s", "headroom"}
    shown = [
        {key: value for key, value in row.items() if key not in hidden}
        | {
            "p99 ms": _ms(row["p99_s"]),
            "lost: p99 ms": _ms(row["p99_degraded_s"]),
            "headroom": f"{100 * row['headroom']:.3g} %",
        }
        for row in rows
    ]
    return f"Cheapest designs for {slo}; {words}", shown


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else float(f"{1000 * value_s:.4g}")
