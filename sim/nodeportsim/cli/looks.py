"""Commands that show how things are: list, schema, ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import debug, output, print_json, print_table
from nodeportsim.errors import InputError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nodeportsim.kube.ports import Registry
    from nodeportsim.kube.service import Service


@click.command("list")
@click.argument("what", type=click.Choice(["examples", "profiles", "experiments"]))
@debug
def list_(what: str) -> None:
    """List what comes with the package, one name a line."""
    from nodeportsim.scenario.profile import profiles
    from nodeportsim.scenario.read import examples
    from nodeportsim.study.experiment import experiments

    names = {"examples": examples, "profiles": profiles, "experiments": experiments}[what]()
    click.echo("\n".join(names))


@click.command()
@debug
def schema() -> None:
    """Print the JSON Schema of a scenario file."""
    from nodeportsim.scenario.schema import schema as scenario_schema

    print_json(scenario_schema())


@click.command()
@click.argument("file", required=False)
@click.option("--automatic", type=click.IntRange(min=0), help="Without FILE: ports the API server chose.")
@click.option("--wanted", type=click.IntRange(min=1), default=1, show_default=True, help="Chosen by hand.")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of the automatic ports.")
@click.option("--range", "node_port_range", default="30000-32767", show_default=True, help="Of NodePorts.")
@output("table", "json")
@debug
def ports(
    *, file: str | None, automatic: int | None, wanted: int, seed: int, node_port_range: str, kind: str
) -> None:
    """Say how many NodePorts there are, and whether those chosen by hand collide.

    With FILE, allocate the ports of its Services as the API server does, or refuse them as it does.
    """
    import random

    from nodeportsim.kube.ports import Registry

    if (file is None) == (automatic is None):
        raise click.UsageError("give a FILE or --automatic N, one of the two")
    registry = Registry(node_port_range=node_port_range, rng=random.Random(seed))  # noqa: S311  (no secret)
    refusal = None
    try:
        if file is not None:
            _create(file, registry)
    except RefusedError as error:
        refusal = error
    services = [] if refusal else [_service_row(service) for service in registry.services]
    if refusal:
        if kind == "json":
            print_json({"accepted": False, "message": refusal.message, "services": []})
        raise refusal
    bands = _bands(registry, automatic, wanted)
    if kind == "json":
        print_json({"accepted": True, "message": "", "services": services, "range": bands})
    if kind == "table" and services:
        rows = [{"service": service["name"], **port} for service in services for port in service["ports"]]
        print_table("NodePorts", rows)
    if kind == "table":
        _tell(bands)


def _bands(registry: Registry, automatic: int | None, wanted: int) -> dict[str, Any]:
    """Count the ports of both bands, and say how likely ports chosen by hand are taken (`theory.limits`)."""
    from nodeportsim.theory.limits import birthday_ratio, taken_ratio

    dynamic, static = registry.range.dynamic, registry.range.static
    size, taken = len(dynamic) + len(static), registry.taken
    held = sum(port in dynamic for port in taken) if automatic is None else automatic
    if max(held, wanted) > len(dynamic):
        rule = f"must be at most {len(dynamic)}, the ports of the band"
        raise InputError(rule, field="--automatic, --wanted", got=f"{held}, {wanted}")
    return {
        "ports": size,
        "static": [static.start, static.stop - 1] if static else None,
        "dynamic": [dynamic.start, dynamic.stop - 1],
        "taken": max(len(taken), held),
        "left": size - max(len(taken), held),
        "automatic": held,
        "wanted": wanted,
        "collision_static_ratio": 0.0 if static else None,
        "collision_dynamic_ratio": taken_ratio(held, wanted, size),
        "same_choice_static_ratio": birthday_ratio(wanted, len(static)) if static else None,
    }


def _tell(bands: dict[str, Any]) -> None:
    low, high = bands["dynamic"]
    click.echo(
        f"{bands['ports']:,} NodePorts, {bands['taken']:,} taken, {bands['left']:,} left; "
        f"{bands['automatic']:,} stand in {low}-{high}, where automatic ones go first"
    )
    by_hand = f"{bands['wanted']:,} chosen by hand in"
    click.echo(f"{by_hand} {low}-{high}: {bands['collision_dynamic_ratio']:.3%} that one at least is taken")
    if bands["static"]:
        low, high = bands["static"]
        same = f"{bands['same_choice_static_ratio']:.3%} that two are the same if picked at random"
        click.echo(f"{by_hand} {low}-{high}: none by an automatic one while the other band has room; {same}")


def _create(file: str, registry: Registry) -> None:
    """Create the Services of a file in their order; a refusal says where its Service stands."""
    from nodeportsim.scenario.documents import documents, locate
    from nodeportsim.scenario.read import open_source

    source = open_source(file)
    found = list(_services(documents(source)))
    if not found:
        hint = "Give manifests, or what kubectl get services -A -o json prints; a scenario names no ports."
        raise InputError("holds no Service", field=file, hint=hint)
    for number, path, manifest in found:
        try:
            registry.create(manifest)
        except RefusedError as error:
            raise RefusedError(error.message, location=locate(source, number, path)) from None


def _services(found: Sequence[Any]) -> Iterator[tuple[int, tuple[str | int, ...], Mapping[str, Any]]]:
    """Find Services: (number of the document, path in it, manifest), also inside lists of objects."""
    for number, document in enumerate(found):
        items = document.get("items") if isinstance(document, dict) else None
        inside = [(("items", n), item) for n, item in enumerate(items)] if isinstance(items, list) else []
        for path, item in [((), document), *inside]:
            if isinstance(item, dict) and item.get("kind") == "Service":
                yield number, path, item


def _service_row(service: Service) -> dict[str, Any]:
    ports = [
        {
            "name": port.name,
            "protocol": port.protocol,
            "port": port.port,
            "targetPort": port.target_port,
            "nodePort": port.node_port or None,
        }
        for port in service.ports
    ]
    return {"name": service.name, "ports": ports}
