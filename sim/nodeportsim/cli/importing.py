"""Command `import`: what kubectl prints, kube-proxy's configuration and metrics, as a scenario file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import debug, output, print_json, print_table
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from nodeportsim.calibrate.loadtests.estimated import Estimates
    from nodeportsim.scenario.gather import Known


@click.command("import")
@click.argument("files", nargs=-1, metavar="[FILE|-]...")
@click.option("--service", metavar="NAMESPACE/NAME", help="The Service under study.")
@click.option("--list", "listing", is_flag=True, help="List the Services instead.")
@click.option("--metrics", metavar="FILE", help="One kube-proxy's /metrics: how long its syncs took.")
@click.option("--profile-out", metavar="DIR", type=click.Path(path_type=Path), help="Put these prices here.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the scenario here.")
@output("table", "json")
@debug
def import_(
    *,
    files: tuple[str, ...],
    service: str | None,
    listing: bool,
    metrics: str | None,
    profile_out: Path | None,
    out: Path | None,
    kind: str,
) -> None:
    """Make a scenario of a cluster: what `kubectl get nodes,svc,endpointslices,pods -A -o json` prints.

    Reads these files, or standard input, and nothing else: no cluster is asked, no credentials are used.
    """
    from nodeportsim.scenario.imported import imported, listed
    from nodeportsim.scenario.read import gather_files

    if profile_out and not metrics:
        raise click.UsageError("--profile-out writes what --metrics tells: give both")
    known = gather_files(files or ("-",), service)
    if listing:
        rows = listed(known)
        print_json(rows) if kind == "json" else _show(rows)
        return
    found = _measured(known, metrics) if metrics else None
    remarks = _remarks(found) if found else ()
    profile = _profile(known, found, profile_out) if found and profile_out else None
    text = imported(known, service, remarks=remarks, profile=profile)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write(out, text)
        click.echo(str(out))


def _show(rows: list[dict[str, Any]]) -> None:
    columns = ("service", "type", "nodePort", "policy", "affinity", "endpoints")
    able = [{name: row[name] for name in columns} for row in rows if not row["left out"]]
    print_table("Services that can be simulated", able)
    for row in rows:
        if row["left out"]:
            click.echo(f"{row['service']} is not simulated: {row['left out']}")


def _measured(known: Known, file: str) -> Estimates:
    """Read the sync durations of a kube-proxy with all of the cluster's Services in its rules."""
    from nodeportsim.calibrate.kubeproxy_metrics import read_metrics
    from nodeportsim.calibrate.kubeproxy_sync import sync_estimates
    from nodeportsim.study.store import text_of

    counts = known.cluster.counts
    metrics = read_metrics(text_of(file), file)
    return sync_estimates(metrics, service_ports=counts.ports, endpoints=counts.endpoints)


def _remarks(found: Estimates) -> list[str]:
    """Say in comments what the metrics tell, and what they do not."""
    told = []
    for one in found.parameters:
        if not one.name.startswith("sync_") and one.name.endswith((".mean", ".p99")):
            bounds = "" if one.low95 is None else f" ({one.low95:.3g} .. {one.high95 or math.inf:.3g})"
            value = "no value" if one.value is None else f"{one.value:.3g} s"
            told.append(f"  {one.name}: {value}{bounds}; {one.why}")
    return ["kube-proxy's metrics, since it started:", *told, *(f"  {note}" for note in found.warnings)]


def _profile(known: Known, found: Estimates, folder: Path) -> str:
    """Write a profile with these sync prices; all others are the default profile's."""
    from nodeportsim.scenario.profile import mode_key
    from nodeportsim.scenario.spec import Cluster, Proxy
    from nodeportsim.study.store import staged

    if not found.fragment:
        raise InputError("tell no duration of full or partial syncs", field="--metrics")
    proxy, base = Proxy(), Cluster().profile
    mode = mode_key(known.proxy.mode if known.proxy else proxy.mode, proxy.backend)
    prices = "".join(f"    {line}\n" for line in found.fragment.splitlines())
    text = (
        f"name: {folder.name}\ndescription: sync prices from kube-proxy's metrics, all others of {base}\n"
        f"extends: {base}\nenvironment: {{sync: kube-proxy's own histograms}}\nmodes:\n  {mode}:\n{prices}"
    )
    with staged(folder) as staging:
        (staging / "profile.yaml").write_text(text, encoding="utf-8")
    return str(folder)


def _write(file: Path, text: str) -> None:
    from nodeportsim.study.store import staged

    with staged(file.parent) as staging:
        (staging / file.name).write_text(text, encoding="utf-8")
