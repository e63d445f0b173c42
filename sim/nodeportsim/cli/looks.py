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
@click.argument("file")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of the automatic ports.")
@click.option("--range", "node_port_range", default="30000-32767", show_default=True, help="Of NodePorts.")
@output("table", "json")
@debug
def ports(*, file: str, seed: int, node_port_range: str, kind: str) -> None:
    """Allocate the NodePorts of a file's Services as the API server does, or refuse them as it does."""
    import random

    from nodeportsim.kube.ports import Registry

    registry = Registry(node_port_range=node_port_range, rng=random.Random(seed))  # noqa: S311  (no secret)
    refusal = None
    try:
        _create(file, registry)
    except RefusedError as error:
        refusal = error
    services = [] if refusal else [_service_row(service) for service in registry.services]
    if kind == "json":
        message = refusal.message if refusal else ""
        print_json({"accepted": refusal is None, "message": message, "services": services})
    if refusal:
        raise refusal
    if kind == "table":
        rows = [{"service": service["name"], **port} for service in services for port in service["ports"]]
        print_table("NodePorts", rows)


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
