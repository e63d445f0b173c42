"""A diagnosis as text: for a terminal, as Markdown. Commands stand on a line of their own, never folded."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Row = Mapping[str, Any]

COLUMNS = 80
HEADS = {
    "proven": "Proven by the objects",
    "fits": "Fits the objects and the symptom",
    "possible": "Fits the symptom; the objects say nothing",
    "contradicted": "Ruled out by the objects",
}
NOTHING = "Nothing that the objects prove. Name a symptom: --symptom timeout"


def plain(diagnosis: Mapping[str, Any]) -> str:
    """Write for a terminal of 80 columns."""
    return "\n".join(_lines(diagnosis)) + "\n"


def _lines(diagnosis: Mapping[str, Any]) -> Iterator[str]:
    if "service" in diagnosis:
        yield f"{diagnosis['service']}  {', '.join(diagnosis['symptoms']) or 'no symptom given'}"
        if not diagnosis["causes"] and not diagnosis["luck"]:
            yield NOTHING
    if diagnosis.get("lookup"):
        yield from ("", "Look up first")
        yield from (f"  {line}" for line in diagnosis["lookup"])
    yield from _nodes(diagnosis.get("nodes", ()))
    number = 0
    for head, rows in _sections(diagnosis):
        yield ""
        yield head
        for row in rows:
            if row["likelihood"] == "contradicted":
                yield from _fold("  -", f"{row['title']}: {'; '.join(row['why'])}")
            else:
                number += 1
                yield from _cause(number, row)
    if diagnosis["luck"]:
        yield from _luck(diagnosis["luck"], spaced="service" in diagnosis)
    for sentence in diagnosis.get("assumptions", ()):
        yield from _fold("assumed:", sentence)


def _nodes(rows: Sequence[Row]) -> Iterator[str]:
    """List the nodes in groups of what a new connection should meet there."""
    if rows:
        yield from ("", "A new connection to the NodePort should meet")
    for met in dict.fromkeys(row["expected"] for row in rows):
        names = [row["node"] for row in rows if row["expected"] == met]
        yield from _fold(f"  {met}:", ", ".join(names))


def _sections(diagnosis: Mapping[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    """Group the rows by likelihood; what no symptom asked for comes before what is ruled out."""
    for likelihood, head in HEADS.items():
        if likelihood == "contradicted" and diagnosis["also"]:
            yield "Also proven, though no symptom asked for it", list(diagnosis["also"])
        rows = [row for row in diagnosis["causes"] if row["likelihood"] == likelihood]
        if rows:
            yield head, rows


def _cause(number: int, row: Row) -> Iterator[str]:
    yield f"{number:3}. {row['title']}{' (fault)' if row['fault'] else ''}"
    for sentence in row["why"]:
        yield from _fold("     why  ", sentence)
    yield from _fold("     check", f"on {row['where']}:" if row["where"] != "kubectl" else "anywhere:")
    yield f"           {row['check']}"
    yield from _fold("     shows", row["shows"])
    yield from _fold("     fix  ", row["fix"])


def _luck(luck: Mapping[str, Any], *, spaced: bool) -> Iterator[str]:
    if spaced:
        yield ""
    yield f"Is it luck? {_head(luck)}"
    for row in luck["rules"]:
        yield f"  {row['rule']}{' (in force)' if row['in_force'] else ''}: {row['verdict']}"
        yield from _fold("      ", f"{row['assumes']}; {row['how']}")
    yield from _fold("verdict:", luck["verdict"])
    if not luck["given"]:
        yield from _fold("assumed:", _TAKEN)


_TAKEN = "every count is a connection of its own; if they are requests or CPU, give --connections"


def _head(luck: Mapping[str, Any]) -> str:
    pods, hot, cold = len(luck["counts"]), luck["max_over_mean"], luck["min_over_mean"]
    return (
        f"{pods} pods, {luck['connections']} connections: hottest {hot:.2f}, coldest {cold:.2f} of the mean"
    )


def _fold(head: str, text: str) -> list[str]:
    """Fold a sentence under its head."""
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=f"{head} ",
        subsequent_indent=" " * (len(head) + 1),
        break_long_words=False,
        break_on_hyphens=False,
    )


def markdown(diagnosis: Mapping[str, Any]) -> str:
    """Write as Markdown."""
    return "\n".join(_markdown(diagnosis)) + "\n"


def _markdown(diagnosis: Mapping[str, Any]) -> Iterator[str]:
    if "service" in diagnosis:
        yield f"# {_safe(diagnosis['service'])}: {', '.join(diagnosis['symptoms']) or 'no symptom given'}"
        if not diagnosis["causes"] and not diagnosis["luck"]:
            yield from ("", NOTHING)
    if diagnosis.get("lookup"):
        yield from ("", "Look up first:", "", "```bash", *diagnosis["lookup"], "```")
    if diagnosis.get("nodes"):
        yield from ("", "| node | address | ready | endpoints | a new connection |", "|---|---|---|---|---|")
        for row in diagnosis["nodes"]:
            cells = (row["node"], row["address"] or "", row["ready"], row["endpoints"], row["expected"])
            yield f"| {' | '.join(str(cell) for cell in cells)} |"
    for head, rows in _sections(diagnosis):
        yield from ("", f"## {head}", "")
        for row in rows:
            if row["likelihood"] == "contradicted":
                yield f"- {row['title']}: {_safe('; '.join(row['why']))}"
            else:
                yield from _markdown_cause(row)
    if diagnosis["luck"]:
        yield from _markdown_luck(diagnosis["luck"])


def _markdown_cause(row: Row) -> Iterator[str]:
    yield f"### {row['title']}{' (fault)' if row['fault'] else ''}"
    yield from (f"- {_safe(sentence)}" for sentence in row["why"])
    yield f"- Check ({_safe(row['where'])}):"
    yield from ("", "  ```bash", f"  {row['check']}", "  ```", "")
    yield f"- Shows: {_safe(row['shows'])}"
    yield f"- Fix: {_safe(row['fix'])}"
    yield from (f"- Source: {_safe(row['source'])}", "")


def _markdown_luck(luck: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## Is it luck?", "", f"{_head(luck)}.", "")
    yield "| rule | assumes | hottest | coldest | how | verdict |"
    yield "|---|---|---|---|---|---|"
    for row in luck["rules"]:
        rule = f"**{row['rule']}**" if row["in_force"] else row["rule"]
        cells: Sequence[str] = (
            rule,
            row["assumes"],
            f"{row['hottest_p']:.2g}",
            f"{row['coldest_p']:.2g}",
            row["how"],
            row["verdict"],
        )
        yield f"| {' | '.join(cells)} |"
    yield from ("", luck["verdict"])


def _safe(text: str) -> str:
    """Keep a name of the user's from being markup."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
