"""What commands do with a node's dump: the three options, the table of its Services, one packet's trace."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click

from nodeportsim.cli.plumbing import options, print_json, print_table
from nodeportsim.units import format_duration

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

    from nodeportsim.kubeproxy.dump import Dump, Tool
    from nodeportsim.kubeproxy.walk import Packet, Walk
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

MOST_ROWS = 200  # of a table on a terminal; -o json has them all

dump_options = options(
    click.option(
        "--from-iptables-save", metavar="DUMP", help="A node's rules: what `iptables-save` printed."
    ),
    click.option("--from-nft", metavar="DUMP", help="... what `nft list ruleset` printed."),
    click.option("--from-ipvsadm", metavar="DUMP", help="... what `ipvsadm -Ln` printed."),
)


def given_dump(
    from_iptables_save: str | None, from_nft: str | None, from_ipvsadm: str | None
) -> tuple[Tool, str] | None:
    """Return which of the three options was given, and its file."""
    pairs: list[tuple[Tool, str | None]] = [
        ("iptables-save", from_iptables_save),
        ("nft", from_nft),
        ("ipvsadm", from_ipvsadm),
    ]
    given = [(tool, file) for tool, file in pairs if file is not None]
    if len(given) > 1:
        raise click.UsageError("give one of --from-iptables-save, --from-nft and --from-ipvsadm")
    return given[0] if given else None


@contextmanager
def _no_collector() -> Iterator[None]:
    """Switch the garbage collector off: half a million rules hold no circles, and looking costs a quarter."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def open_dump(given: tuple[Tool, str]) -> Dump:
    """Read a dump."""
    from nodeportsim.kubeproxy.dump import read_dump
    from nodeportsim.scenario.read import open_source

    tool, file = given
    with _no_collector():
        return read_dump(tool, open_source(file).text, file)


def with_dump(given: tuple[Tool, str], read: Callable[[Sequence[str]], Scenario]) -> Scenario:
    """Read a scenario over a dump: what is declared by ``--set`` wins."""
    from nodeportsim.scenario.dumped import notes, sets

    dump = open_dump(given)
    plain = read(())
    scenario = read(sets(dump, plain))
    return scenario.model_copy(update={"assumptions": (*scenario.assumptions, *notes(dump, plain))})


def explain_dump(given: tuple[Tool, str], service: str | None, profile_name: str | None, kind: str) -> None:
    """Print the Services of a dump, or the trace of one."""
    from nodeportsim.scenario.profile import load_profile, mode_key
    from nodeportsim.scenario.spec import Cluster

    dump = open_dump(given)
    profile = load_profile(profile_name or Cluster().profile)
    key = mode_key(dump.mode, dump.backend or "nft")

    def cost_s(packet: Packet, way: Walk) -> float:
        return profile.walk_s(key, packet, way)

    if service is not None:
        _traces(dump, service, cost_s, kind)
    else:
        _services(dump, profile, cost_s, kind)


def _services(dump: Dump, profile: Profile, cost_s: Callable[[Packet, Walk], float], kind: str) -> None:
    from nodeportsim.kubeproxy.dump_rows import rows

    with _no_collector():
        found, unknown = rows(dump, cost_s)
    if kind == "json":
        head = {"mode": dump.mode, "backend": dump.backend, "profile": profile.name}
        rest = {"warnings": dump.warnings, "loopback_rules": dump.loopback_rules}
        print_json(head | rest | {"unknown": dict(unknown), "services": found})
        return
    shown = [row for each in found for row in _printed(each)][:MOST_ROWS]
    print_table(f"mode {dump.mode}: rules a first packet tests, by endpoint, and the mean's price", shown)
    _say(dump, len(shown) == MOST_ROWS, unknown, found)


def _printed(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a row per kind of packet: where it goes, and what it meets."""
    goals = {"nodeport": f"NodePort {row['node_port']}", "clusterip": f"{row['cluster_ip']}:{row['port']}"}
    for packet, goal in goals.items():
        if way := row.get(packet):
            yield {
                "service": row["service"],
                "to": goal,
                "place": way["position"],
                "pods": row["endpoints"],
                "first": way["first"],
                "mean": way["mean"],
                "last": way["last"],
                "price": format_duration(way["cost_s"]),
                "end": way["verdict"],
            }


def _say(dump: Dump, cut: bool, unknown: Counter[str], found: list[dict[str, Any]]) -> None:
    """Say what the table does not show."""
    lines = [f"the first {MOST_ROWS} rows of {len(found)} service ports: -o json has all"] if cut else []
    ways = [row[packet] for row in found for packet in ("nodeport", "clusterip") if packet in row]
    if foreign := max((way["foreign"] for way in ways), default=0):
        lines.append(f"up to {foreign} rules of other software are counted and have no price")
    lines += [
        f"not understood, taken as not matching: {name} ({n} service ports)" for name, n in unknown.items()
    ]
    lines += [f"the dump says: {warning}" for warning in dump.warnings]
    for line in lines:
        click.echo(line)


def _traces(dump: Dump, service: str, cost_s: Callable[[Packet, Walk], float], kind: str) -> None:
    from nodeportsim.kubeproxy.dump_rows import find, packets
    from nodeportsim.kubeproxy.explain import trace

    port = find(dump, service)
    ways = {packet: dump.follow(port, packet) for packet in packets(port)}
    if kind == "json":
        print_json(
            {
                packet: {
                    "rules": trace(way.walk),
                    "verdict": way.walk.verdict,
                    "masquerade": way.walk.masquerade,
                    "cost_s": cost_s(packet, way.walk),
                    "foreign": way.foreign,
                    "unknown": dict(way.unknown),
                }
                for packet, way in ways.items()
            }
        )
        return
    for packet, way in ways.items():
        price = format_duration(cost_s(packet, way.walk))
        found = f"{way.walk.total:g} rules, {price}, {way.walk.verdict}"
        title = f"{port.full_name}, {packet}, first endpoint: {found}"
        print_table(title, trace(way.walk))
        if way.unknown:
            click.echo(f"not understood, taken as not matching: {', '.join(way.unknown)}")
