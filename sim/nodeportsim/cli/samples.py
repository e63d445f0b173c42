"""`calibrate` from what users have already: results of load tests, and scrapes of kube-proxy's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import print_json, print_table
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nodeportsim.calibrate.loadtests.estimated import Estimates

METRICS = "kubeproxy_"
"""What a line of kube-proxy's metrics begins with, after its comments."""


def from_files(
    files: Sequence[Path], direct: Path | None, told: dict[str, Any], size: tuple[int, int] | None, kind: str
) -> None:
    """Estimate from files, and print what they tell and what they do not.

    Parameters
    ----------
    files
        Results of load tests at one rate or more; or one scrape of kube-proxy, or two, the earlier first.
    direct
        A load test of one pod by its own address.
    told
        What the user knows: ``workers``, ``pods``, ``loop``, ``connections``; None where not.
    size
        Service ports and endpoints of the scraped cluster.
    """
    from nodeportsim.study.store import text_of

    texts = {str(file): text_of(file) for file in files}
    if any(METRICS in text for text in texts.values()):
        found = _syncs(texts, size)
    else:
        found = _load_tests(texts, direct, told)
    _show(found, kind)


def _syncs(texts: dict[str, str], size: tuple[int, int] | None) -> Estimates:
    from nodeportsim.calibrate.kubeproxy_metrics import read_metrics, since
    from nodeportsim.calibrate.kubeproxy_sync import sync_estimates

    if size is None:
        hint = "the metrics do not tell the cluster's size: --service-ports 120 --endpoints 400"
        raise InputError("is needed beside metrics", field="--service-ports, --endpoints", hint=hint)
    if len(texts) > 2:  # noqa: PLR2004  (an earlier and a later one)
        raise InputError("must be one scrape, or two of one kube-proxy", field="FILE", got=len(texts))
    scrapes = [read_metrics(text, path) for path, text in texts.items()]
    metrics = scrapes[0] if len(scrapes) == 1 else since(scrapes[1], scrapes[0])
    return sync_estimates(metrics, service_ports=size[0], endpoints=size[1])


def _load_tests(texts: dict[str, str], direct: Path | None, told: dict[str, Any]) -> Estimates:
    from nodeportsim.calibrate.loadtests import estimates, read_sample
    from nodeportsim.study.store import text_of

    about = {name: told[name] for name in ("loop", "connections")}
    samples = [read_sample(path, text, **about) for path, text in texts.items()]
    one_pod = None if direct is None else read_sample(str(direct), text_of(direct), **about)
    return estimates(samples, direct=one_pod, workers=told["workers"], pods=told["pods"])


def _show(found: Estimates, kind: str) -> None:
    rows = [
        {
            "parameter": f"{one.name} ({one.unit})",
            "value": one.value,
            "low95": one.low95,
            "high95": one.high95,
            "identified": one.identified,
            "why": one.why,
        }
        for one in found.parameters
    ]
    if kind == "json":
        print_json({"parameters": rows, "warnings": list(found.warnings), "fragment": found.fragment})
        return
    print_table("what the files tell; a bound has one end, what they do not tell has none", rows)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if found.fragment:
        click.echo("\nfor your scenario or profile:\n")
        click.echo(found.fragment)
