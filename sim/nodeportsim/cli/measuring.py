"""The command ``measure``: times of a real machine's kernel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import debug, folder, print_table, progress_bar
from nodeportsim.errors import InputError, ThresholdError

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.calibrate.measuring.measure import Request

MOST_SERVICES = 60_000
"""NodePorts that there are, less those that stay free for other uses."""


@click.command()
@folder(required=True)
@click.option("--smoke", "plan", flag_value="smoke", help="A quarter of a minute: does it work here?")
@click.option("--thorough", "plan", flag_value="thorough", help="Twenty minutes instead of five.")
@click.option("--modes", metavar="LIST", help="Some of iptables-legacy,iptables-nft,nftables,ipvs.")
@click.option("--services", metavar="LIST", help="Numbers of Services, as 1,100,1000.")
@click.option("--kubernetes", default="1.36", show_default=True, help="Release whose rules are loaded.")
@click.option("--timer", type=click.Choice(["c", "python"]), help="Default: c where it can be compiled.")
@click.option("--label", default="this-node", show_default=True, help="Name of the machine in the tables.")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of the order of measuring.")
@click.option("--quiet", is_flag=True, help="No progress.")
@debug
def measure(*, out: Path, quiet: bool, plan: str | None, **wanted: Any) -> None:
    """Time kube-proxy's rules in this machine's kernel (Linux, root), in network namespaces of its own."""
    from nodeportsim.calibrate.measuring.measure import measure as measure_machine

    request = _request(plan or "default", **wanted)
    with progress_bar("measuring", quiet) as progress:
        answer = measure_machine(
            request, out, say=lambda words: click.echo(words, err=True), progress=progress
        )
    print_table("connect to a NodePort, quiet times", answer.summary)
    click.echo(f"tables in {out}; next: nodeportsim calibrate {out}", err=True)
    if answer.refused:
        raise ThresholdError("a real packet's walk is not the counted one:\n  " + "\n  ".join(answer.refused))


def _request(
    plan: str, *, modes: str | None, services: str | None, kubernetes: str, timer: Any, label: str, seed: int
) -> Request:
    """Read the options into a request."""
    from nodeportsim.calibrate.measuring.backends import BACKENDS
    from nodeportsim.calibrate.measuring.measure import Request
    from nodeportsim.calibrate.measuring.plans import PLANS

    names = tuple(filter(None, (modes or "").split(",")))
    for name in names:
        if name not in BACKENDS:
            hint = "Modes: " + ", ".join(BACKENDS)
            raise InputError("must be modes, separated by commas", field="--modes", got=name, hint=hint)
    return Request(
        plan=PLANS[plan],
        backends=names,
        services=tuple(_number(text) for text in (services or "").split(",") if text),
        version=_version(kubernetes),
        timer=timer,
        label=label,
        seed=seed,
    )


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text.strip()) or not 1 <= int(text) <= MOST_SERVICES:
        raise InputError(
            f"must be numbers in 1..{MOST_SERVICES}, separated by commas", field="--services", got=text
        )
    return int(text)


def _version(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"1\.\d{1,2}", text):
        raise InputError("must be a Kubernetes version such as 1.36", field="--kubernetes", got=text)
    return 1, int(text[2:])
