"""The model card of a fitted profile: what it is, how good it is, and what not to use it for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.calibrate.fitting.fit import Fit

REACH = (0.05, 0.15)
"""Median and 90th percentile of the held out errors that a good profile keeps."""

RULE = """The rule, fixed before the fit: of the sweep over Services all cells at 2,000 of them, and of 1,000,
5,000 and 10,000 every position but the first and the last; of the sweeps over endpoints and of requests
every second size; of the paths, each mode's is predicted from what the other modes say of a second node,
masquerading and an overlay. Stated for a fit that did not see them; the prices come from one more fit,
with them.
"""

LIMITS = """## Where not to use it
- On another machine or kernel as more than a first guess: prices differ by a factor of two between machines,
  more between kernels.
- For absolute latency: it prices CPU. Set your own network delays and wake-ups.
- For nodes whose caches other work keeps emptying: take the `cold` prices as the upper end.
- IPv6, UDP, clients on the node itself, firewall ranges, eBPF data paths: not measured.
"""


def card(head: dict[str, Any], fit: Fit, host: dict[str, Any], modes: dict[str, dict[str, Any]]) -> str:
    """Write the card as Markdown.

    Parameters
    ----------
    head
        ``name``, ``description``, ``environment``, perhaps ``extends``.
    fit, host, modes
        The fit, and the parameters as the profile holds them.
    """
    parts = [
        _title(head),
        "| | |\n|---|---|\n" + "".join(f"| {k} | {v} |\n" for k, v in head["environment"].items()),
        _meaning(head),
        "## Quality: held out cells\n" + RULE + "\n" + "".join(_quality(fit)),
        "## What the data cannot tell\n" + "".join(_unknown(head, fit, host, modes)),
        LIMITS,
    ]
    return "\n".join(parts)


def _title(head: dict[str, Any]) -> str:
    return f"""# Profile {head["name"]}

{head["description"]}. Written by `nodeportsim calibrate`; the raw rows are in `data/`, every number and its
interval in `fit.csv`, every cell, measured and predicted, in `cells.csv`.
"""


def _meaning(head: dict[str, Any]) -> str:
    base = head.get("extends")
    taken = f"\nWhat was not measured here is taken over from `{base}`; `nodeportsim run` lists what it used."
    return f"""## What a figure is
CPU time of connect(), or of a request and its answer, over veth between network namespaces: the client's
stack, the node and the pod's stack in one go on one core. *Quiet*: the 25th percentile of the quietest
repetition. Wire, NIC, interrupts and wake-ups are not in it.{taken if base else ""}
"""


def _quality(fit: Fit) -> Iterator[str]:
    table = fit.held_out() if any(cells["held"].any() for cells in fit.cells) else None
    if table is None or table.empty:
        yield "No cell could be held out: too few were measured. Nothing is known of its errors.\n"
        return
    yield from (f"**{warning}.**\n\n" for warning in fit.warnings)
    yield "| mode | of | target | cells | median | p90 | largest |\n|---|---|---|---:|---:|---:|---:|\n"
    for row in table.to_dict("records"):
        errors = [row[f"{which}_error"] for which in ("median", "p90", "max")]
        over = errors[0] > REACH[0] or errors[1] > REACH[1]
        mark = " (beyond the reach of 5 % and 15 %)" if over else ""
        told = " | ".join(f"{error:.1%}" for error in errors)
        yield f"| {row['mode']} | {row['experiment']} | {row['target']} | {row['cells']} | {told}{mark} |\n"


def _unknown(
    head: dict[str, Any], fit: Fit, host: dict[str, Any], modes: dict[str, dict[str, Any]]
) -> Iterator[str]:
    for place, part in (("host", host), *modes.items()):
        for name, value in _leaves(part):
            if not value["identified"]:
                yield f"- `{place}.{name}` = {value['value']:g}: {value.get('note') or value['source']}\n"
    for mode, pairs in fit.tied.items():
        for a, b, correlation in pairs:
            yield f"- {mode}: `{a}` and `{b}` cannot be told apart (correlation {correlation:.2f})\n"
    if "extends" in head:
        yield f"- whatever is not in `profile.yaml`: taken over from `{head['extends']}`\n"


def _leaves(part: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in part.items():
        if "value" in value:
            yield name, value
        else:
            yield from ((f"{name}.{inner}", leaf) for inner, leaf in _leaves(value))
