"""`calibrate`: from measurements to a profile of prices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import debug, output, print_json, print_table
from nodeportsim.cli.samples import from_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.calibrate.fitting.fit import Fit
    from nodeportsim.calibrate.fitting.solve import Estimate


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Write the profile here.")
@click.option("--label", metavar="NAME", help="Which of several environments in the data: their env_label.")
@click.option(
    "--extends",
    "base",
    metavar="PROFILE",
    default="kernel-6.18",
    show_default=True,
    help="What the data do not tell is taken over from it.",
)
@click.option("--describe", metavar="TEXT", default="A machine of ours", help="What the card calls it.")
@click.option("--direct", metavar="FILE", type=click.Path(path_type=Path), help="A load test of one pod.")
@click.option("--workers", type=click.IntRange(min=1), help="Requests a pod works on at a time.")
@click.option("--pods", type=click.IntRange(min=1), default=1, show_default=True, help="Behind the Service.")
@click.option("--loop", type=click.Choice(["open", "closed"]), help="Where a result does not tell.")
@click.option("--connections", type=click.IntRange(min=1), help="Where a result does not tell.")
@click.option("--service-ports", type=click.IntRange(min=1), help="Of the cluster that was scraped.")
@click.option("--endpoints", type=click.IntRange(min=1), help="Of the cluster that was scraped.")
@output("table", "json")
@debug
def calibrate(*, sources: tuple[Path, ...], out: Path | None, kind: str, **told: Any) -> None:
    """Fit prices to measurements, or read what your own files tell.

    SOURCE is a folder that `measure` wrote: a profile is fitted and written to --out, named like that folder.
    Or SOURCE is what you have: results of fortio, k6, vegeta, oha or wrk2, or kube-proxy's /metrics.
    """
    if not any(source.is_dir() for source in sources):
        size = (told["service_ports"], told["endpoints"])
        from_files(sources, told["direct"], told, None if None in size else size, kind)
        return
    if len(sources) > 1 or out is None:
        raise click.UsageError("a folder of measurements stands alone, and its profile needs --out DIR")
    _profile(sources[0], out, told["label"], told["base"], told["describe"], kind)


def _profile(source: Path, out: Path, label: str | None, base: str, describe: str, kind: str) -> None:
    """Fit a folder of measurements and write the profile's folder."""
    from nodeportsim.calibrate.fitting.fit import environment, fit
    from nodeportsim.calibrate.fitting.measurements import read
    from nodeportsim.calibrate.fitting.write import write
    from nodeportsim.report import canvas
    from nodeportsim.report.plots import residuals
    from nodeportsim.scenario.profile import load_profile
    from nodeportsim.study.store import staged

    load_profile(base)  # A misspelt one is worth knowing before the work.
    measured = read(source)
    found = fit(measured, label=label)
    name = out.resolve().name
    head = {"name": name, "description": describe, "environment": environment(measured, found.label)}
    with staged(out) as staging:
        write(staging, found, measured, head, base=base)
        canvas.save(residuals.draw(found.table(), name), staging / "residuals")
        load_profile(staging)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    _show(found, out, kind)


def _show(found: Fit, out: Path, kind: str) -> None:
    if kind == "json":
        held: list[dict[str, Any]] = found.held_out().to_dict("records")  # type: ignore[assignment]  # By name.
        print_json({"held_out": held, "prices": _prices(found)})
        return
    print_table("price ± standard error; ?: the data do not decide it", list(_by_price(found)))
    print_table("relative errors on held out cells", _by_experiment(found))
    for mode, pairs in found.tied.items():
        for a, b, correlation in pairs:
            click.echo(f"{mode}: the data cannot tell {a} from {b} (correlation {correlation:.2f})")
    click.echo(f"{out}/README.md tells how good it is; next: nodeportsim run FILE --profile {out}")


def _by_price(found: Fit) -> Iterator[dict[str, Any]]:
    """Put a price a row, a mode a column."""
    told = {
        mode: {e.name: _with_error(e) for e, _ in prices}
        for mode, prices in (("all modes", found.host), *found.modes.items())
    }
    for name in dict.fromkeys(name for prices in told.values() for name in prices):
        yield {"price": name} | {mode: prices.get(name, "") for mode, prices in told.items()}


def _with_error(estimate: Estimate) -> str:
    from nodeportsim.calibrate.fitting.write import rounded

    value, error = rounded(estimate.value, 4), rounded(estimate.error, 2)
    return f"{value:,.10g} ± {error:,.10g}{'' if estimate.identified else ' ?'}"


def _by_experiment(found: Fit) -> list[dict[str, Any]]:
    """Sum up the held out cells of all targets; README.md has them apart."""
    from nodeportsim.calibrate.fitting.holdout import summary

    table = found.table()
    table = table[table["held"]]
    error = table["predicted_ns"] / table["measured_ns"] - 1
    rows: list[dict[str, Any]] = []
    for (mode, of), group in error.groupby([table["mode"], table["experiment"]]):
        told = {name: round(number, 3) for name, number in summary(group.to_numpy()).items()}
        rows.append({"mode": mode, "of": of, **told})
    return rows


def _prices(found: Fit) -> list[dict[str, Any]]:
    """List every number that was fitted."""
    return [
        {
            "mode": mode or "all",
            "price": e.name,
            "value": float(f"{e.value:.5g}"),
            "error": float(f"{e.error:.2g}"),
            "identified": e.identified,
            "note": e.note,
        }
        for mode, prices in (("", found.host), *found.modes.items())
        for e, _ in prices
    ]
