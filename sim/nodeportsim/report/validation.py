"""The page on validation, and its figures: from tables of predicted and measured numbers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas
from nodeportsim.report.words import count, significant

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    Row = dict[Hashable, Any]

TESTED = ("ok", "miss")
LEFT = ("no test", "not modelled")
FIGURES = ("scatter", "quantiles", "by_source")

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


def write(table: DataFrame, folder: Path) -> list[Path]:
    """Write the figures into a folder, as SVG and PNG."""
    drawn = {"scatter": scatter, "quantiles": quantiles, "by_source": strips}
    paths: list[Path] = []
    for name in FIGURES:
        paths += canvas.save(drawn[name](table), folder / name)
    return paths


def _tested(table: DataFrame) -> DataFrame:
    """Rows that can stand on a logarithmic axis."""
    rows = table[table["status"].isin(TESTED) & (table["unit"] != "%")]
    return rows[(rows["measured"] > 0) & (rows["predicted"] > 0)]


def _ends(rows: DataFrame) -> list[float]:
    both = rows[["measured", "predicted"]].to_numpy(float)
    return [float(both.min()), float(both.max())]


@canvas.drawing
def scatter(table: DataFrame) -> Figure:
    """Draw predicted over measured, hollow where it misses."""
    rows = _tested(table)
    missed = int((rows["status"] == "miss").sum())
    title = f"{len(rows) - missed} of {len(rows)} published numbers are met by the prediction"
    subtitle = "each in its own unit; hollow: beyond its tolerance; the line: predicted as measured"
    figure, panels = canvas.sheet(title, subtitle)
    axes = panels[0, 0]
    ends = [
        float(rows[["measured", "predicted"]].min().min()),
        float(rows[["measured", "predicted"]].max().max()),
    ]
    axes.plot(ends, ends, color=canvas.ink("text.color"), linewidth=1)
    for status, filled in (("ok", True), ("miss", False)):
        part, colour = rows[rows["status"] == status], canvas.colours()[0 if filled else 1]
        face = colour if filled else "none"
        axes.plot(part["measured"], part["predicted"], "o", color=colour, markerfacecolor=face, markersize=5)
    _log(axes, "x", ends, "measured")
    _log(axes, "y", ends, "predicted")
    return figure


@canvas.drawing
def quantiles(table: DataFrame) -> Figure:
    """Draw percentiles of latency, predicted over measured, a line a case."""
    rows = _tested(table)
    rows = rows[(rows["unit"] == "us") & rows["case"].str.contains(_PERCENTILE)]
    series = rows["source_id"] + " " + rows["case"].str.replace(_PERCENTILE, "", regex=True)
    title = "Percentiles of first packets and of a gateway, one case a line"
    subtitle = "µs; p01 to p99 from left to right; grey: 25 % or 8 µs; the line: predicted as measured"
    figure, panels = canvas.sheet(title, subtitle)
    axes = panels[0, 0]
    ends = [
        float(rows[["measured", "predicted"]].min().min()),
        float(rows[["measured", "predicted"]].max().max()),
    ]
    at = [ends[0] * (ends[1] / ends[0]) ** (step / 99) for step in range(100)]
    reach = [max(0.25 * x, 8.0) for x in at]
    low = [max(x - r, ends[0] / 2) for x, r in zip(at, reach, strict=True)]
    high = [x + r for x, r in zip(at, reach, strict=True)]
    axes.fill_between(at, low, high, color=canvas.ink("text.color"), alpha=0.12, linewidth=0)
    axes.plot(ends, ends, color=canvas.ink("text.color"), linewidth=1)
    palette = canvas.colours()
    families = [name for name in _FAMILIES if series.str.contains(name).any()]
    for place, (name, colour) in enumerate(zip(families, palette, strict=False)):
        for _, part in rows[series.str.contains(name)].groupby(series):
            line = part.sort_values("measured")
            axes.plot(line["measured"], line["predicted"], "o-", color=colour, markersize=4, linewidth=1)
        _name(axes, place, _FAMILIES[name], colour)
    _log(axes, "x", ends, "measured (µs)")
    _log(axes, "y", [ends[0] / 1.5, ends[1] * 1.5], "predicted (µs)")
    return figure


_PERCENTILE = r",? ?\bp\d\d\b"
_FAMILIES = {
    "K8SBLOG.*nftables": "first packets, nftables",
    "K8SBLOG.*ipvs": "first packets, ipvs",
    "K8SBLOG.*iptables": "first packets, iptables",
    "NGF": "requests by a gateway",
}


_TINY = 6.5  # Points: thirty sources fit on a sheet.


@canvas.drawing
def strips(table: DataFrame) -> Figure:
    """Draw predicted over measured as a ratio, a row a source."""
    rows = _tested(table)
    sources = list(dict.fromkeys(rows["source_id"]))
    ratio = rows["predicted"] / rows["measured"]
    near = float(((ratio > 0.9) & (ratio < 1.1)).mean())  # noqa: PLR2004  (the title says so)
    title = f"{100 * near:.0f} % of the predictions lie within 10 % of what was measured"
    figure, panels = canvas.sheet(title, "predicted / measured by source; hollow: beyond its tolerance")
    axes = panels[0, 0]
    axes.axvline(1, color=canvas.ink("text.color"), linewidth=1)
    for status, filled in (("ok", True), ("miss", False)):
        part = rows["status"] == status
        colour = canvas.colours()[0 if filled else 1]
        places = [sources.index(name) for name in rows.loc[part, "source_id"]]
        face = colour if filled else "none"
        axes.plot(ratio[part], places, "o", color=colour, markerfacecolor=face, markersize=5)
    axes.set_yticks(range(len(sources)), sources, fontsize=_TINY)
    axes.set_ylim(len(sources) - 0.4, -0.6)
    _log(axes, "x", [float(ratio.min()), float(ratio.max())], "predicted / measured")
    return figure


def _name(axes: Axes, place: int, name: str, colour: str) -> None:
    axes.annotate(
        name,
        (0, 1),
        xycoords="axes fraction",
        xytext=(8, -10 - 15 * place),
        textcoords="offset points",
        va="top",
        color=colour,
        weight="bold",
    )


def _log(axes: Axes, which: str, ends: Sequence[float], label: str) -> None:
    low, high = ends[0] / 1.2, ends[1] * 1.2
    getattr(axes, f"set_{which}scale")("log")
    canvas.ticks(getattr(axes, f"{which}axis"), _tick, canvas.log_ticks(low, high))
    getattr(axes, f"set_{which}lim")(low, high)
    getattr(axes, f"set_{which}label")(label)


def _tick(value: float) -> str:
    return count(value) if value >= 1 else f"{value:g}"
