"""The page on validation: from tables of predicted and measured numbers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report.words import significant

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from pandas import DataFrame

    Row = dict[Hashable, Any]

TESTED = ("ok", "miss")
LEFT = ("no test", "not modelled")

HEAD = """# Validation: predicted against measured

Everything here is written by a command, none of it by hand:

```bash
make validation
```

It predicts every published number that was kept out of all fits (`use: val` in
[published.csv](../experiments/validation/published.csv)), and sums up the errors on our own held out cells.
Nothing is fitted to either. All rows: [table.csv](../results/validation/table.csv). How each kind is
predicted, and which scenario simulates it: [experiments/validation](../experiments/validation/README.md).

{summary}

| tolerance | for |
|---|---|
| 10 % | slopes, ratios, rates from a stated base |
| 25 % or 8 µs | percentiles of latency; 25 %: other times |
| 5 s | outages and their detection |
| 5 points | shares |
| order only | what was published before 2021 on unknown machines |
| 0.1 %, 0.02 s | Little's law and counts; a replayed queue |

![Predicted against measured](../results/validation/scatter.svg)

![Percentiles, predicted against measured](../results/validation/quantiles.svg)

![Error by source](../results/validation/by_source.svg)
"""


def page(table: DataFrame, own: DataFrame, by_source: DataFrame) -> str:
    """Write the page as Markdown.

    Parameters
    ----------
    table
        A row a published number: ``source_id, metric, case, unit, measured, predicted, error_ratio,
        tolerance, status, how, reason``.
    own
        A row a profile, mode, experiment and target: ``cells``, ``median_error``, ``p90_error``,
        ``status``, ``reason``.
    by_source
        Rows of `table` counted by source.
    """
    misses = table[table["status"] == "miss"].to_dict("records")
    parts = [
        HEAD.format(summary=_summary(table, own)),
        "## Where the model misses\n\n" + _misses(misses),
        "## Our own held out cells\n\n" + _own(own),
        "## By source\n\n" + _sources(by_source),
        "## Not modelled\n\n" + _unmodelled(table),
    ]
    return "\n".join(parts)


def _summary(table: DataFrame, own: DataFrame) -> str:
    counts = table["status"].value_counts()
    ok, miss, base, left = (int(counts.get(name, 0)) for name in (*TESTED, "base", "not modelled"))
    fine = int((own["status"] == "ok").sum())
    return (
        f"Of {len(table)} numbers {ok + miss} are predicted: **{ok} lie within their tolerance, {miss} miss\n"
        f"it**. {left} are not modelled, {base} are no test. Of our own {len(own)} groups of held out cells\n"
        f"{fine} keep a median error of 5 % and a 90th percentile of 15 %."
    )


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table."""
    rules = ["---:" if name in _NUMBERS else "---" for name in head]
    lines = [" | ".join(row) for row in rows]
    return f"| {' | '.join(head)} |\n|{'|'.join(rules)}|\n" + "".join(f"| {line} |\n" for line in lines)


_NUMBERS = {*TESTED, "measured", "predicted", "error", "cells", "median", "p90", "rows", "missed", *LEFT}
"""Columns to the right."""


def _misses(rows: list[Row]) -> str:
    if not rows:
        return "Nowhere.\n"
    head = ("source", "what", "measured", "predicted", "error", "tolerance", "why")
    return _grid(
        head,
        (
            (
                row["source_id"],
                f"{_plain(row['metric'])}: {_plain(row['case'])}",
                f"{significant(row['measured'])} {_unit(row)}",
                f"{significant(row['predicted'])} {_unit(row)}",
                error(row),
                row["tolerance"],
                row["reason"] or "not known",
            )
            for row in rows
        ),
    )


def _own(own: DataFrame) -> str:
    head = ("profile", "mode", "of", "target", "cells", "median", "p90", "why beyond 5 % and 15 %")
    return _grid(
        head,
        (
            (
                row["profile"],
                row["mode"],
                row["experiment"],
                _plain(row["target"]),
                str(row["cells"]),
                f"{row['median_error']:.1%}",
                f"{row['p90_error']:.1%}",
                row["reason"] or ("" if row["status"] == "ok" else "not known"),
            )
            for row in own.to_dict("records")
        ),
    )


def _sources(by_source: DataFrame) -> str:
    head = ("source", "rows", "ok", "missed", "no test", "not modelled", "median error")
    return _grid(
        head,
        (
            (
                row["source_id"],
                *(str(row[name]) for name in ("rows", "ok", "missed", "no_test", "not_modelled")),
                "" if row["median_error"] != row["median_error"] else f"{row['median_error']:.1%}",
            )
            for row in by_source.to_dict("records")
        ),
    )


def _unmodelled(table: DataFrame) -> str:
    """List reasons, each with its sources and how many rows."""
    left = table[~table["status"].isin(TESTED)]
    lines = []
    for reason, rows in left.groupby("reason", sort=False):
        sources = ", ".join(dict.fromkeys(rows["source_id"]))
        noun = "row" if len(rows) == 1 else "rows"
        lines.append(f"- {reason}: {len(rows)} {noun} of {sources}\n")
    return "".join(lines)


def error(row: Row) -> str:
    """Write how far a prediction is off, in the measure its tolerance has."""
    off = row["predicted"] - row["measured"]
    if row["tolerance"] == "5 points":
        return f"{off if row['unit'] == '%' else 100 * off:+.1f} points"
    if row["tolerance"] in ("5 s", "0.02 s"):
        return f"{off:+.2g} s"
    return f"{row['error_ratio']:+.0%}"


def _unit(row: Row) -> str:
    return {"us": "µs", "ratio": ""}.get(str(row["unit"]), str(row["unit"]))


def _plain(text: object) -> str:
    """Take underscores and bars out: they mean something in Markdown."""
    return str(text).replace("_", " ").replace("|", "/")
