"""`diagnose`: from objects and a symptom to causes; and whether measured counts are luck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.counts import counts as read_counts
from nodeportsim.cli.plumbing import debug, output, print_json, question, read_scenario
from nodeportsim.errors import ThresholdError

if TYPE_CHECKING:
    from nodeportsim.diagnose.case import Case

_NOTHING: dict[str, Any] = {"symptoms": [], "causes": [], "also": []}


@click.command()
@click.argument("file", required=False)
@click.option("--example", metavar="NAME", help="A scenario that comes with the package: `list examples`.")
@question
@click.option("--symptom", "symptoms", multiple=True, metavar="NAME", help="What is seen, such as timeout.")
@click.option("--counts", metavar="N,N,...|FILE", help="Measured per pod: is it luck?")
@click.option("--connections", type=click.IntRange(min=1), help="Independent choices behind the counts.")
@click.option("--addresses", type=click.IntRange(min=1), help="Client addresses, for session affinity.")
@click.option(
    "--nodes", type=click.IntRange(1, 5000), help=("Entry nodes, for mode ipvs; default: the file's.")
)
@output("table", "json", "markdown")
@debug
def diagnose(
    *,
    file: str | None,
    example: str | None,
    sets: tuple[str, ...],
    service: str | None,
    symptoms: tuple[str, ...],
    counts: str | None,
    connections: int | None,
    addresses: int | None,
    nodes: int | None,
    kind: str,
) -> None:
    """Name the causes of a symptom in order of likelihood, each with its check and its fix.

    FILE is a dump of kubectl or a scenario. Without a symptom: what the objects prove. Ends with 1 if that
    is a fault.
    """
    from nodeportsim.diagnose.symptoms import known

    seen = [known(name) for name in dict.fromkeys(symptoms)]
    if counts is None and (connections or addresses or nodes):
        raise click.UsageError("--connections, --addresses and --nodes belong to --counts")
    case, told = None, _NOTHING
    if counts is None or file is not None or example is not None:
        case = _case(file, example, sets, service)
        told = _causes(case, seen)
    elif seen or sets or service:
        raise click.UsageError("--symptom, --set and --service need a FILE or --example NAME")
    luck = None if counts is None else _luck(read_counts(counts), connections, addresses, nodes, case)
    _show({**told, "luck": luck}, kind)
    faults = [row["cause"] for row in [*told["causes"], *told["also"]] if row["fault"]]
    if faults:
        raise ThresholdError(f"a fault is proven: {', '.join(faults)}")


def _case(file: str | None, example: str | None, sets: tuple[str, ...], service: str | None) -> Case:
    from nodeportsim.diagnose.case import Case
    from nodeportsim.scenario.read import example_path, objects

    scenario = read_scenario(file, example, sets, service)
    return Case(scenario=scenario, cluster=objects(file or example_path(str(example))))


def _causes(case: Case, symptoms: list[str]) -> dict[str, Any]:
    from nodeportsim.diagnose.diagnosis import diagnose as weigh

    head = {"scenario": case.scenario.name, "service": case.name, "symptoms": symptoms}
    return {**head, **weigh(case, symptoms), "assumptions": list(case.scenario.assumptions)}


def _luck(
    counts: tuple[float, ...],
    connections: int | None,
    addresses: int | None,
    nodes: int | None,
    case: Case | None,
) -> dict[str, Any]:
    from nodeportsim.diagnose.luck import Measured
    from nodeportsim.diagnose.verdict import verdict

    return verdict(Measured(counts=counts, connections=connections), case, nodes=nodes, addresses=addresses)


def _show(diagnosis: dict[str, Any], kind: str) -> None:
    from nodeportsim.report import diagnosis as text

    if kind == "json":
        print_json(diagnosis)
    else:
        click.echo(text.markdown(diagnosis) if kind == "markdown" else text.plain(diagnosis), nl=False)
