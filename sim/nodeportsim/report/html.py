"""One run as one offline page: `report.html`, and its figures beside it.

The page loads nothing, runs nothing, and knows no clock. Figures are inlined as SVG; each colour of the light
style becomes a CSS variable, so that one drawing serves light and dark (`prefers-color-scheme`). Every id is
prefixed with its figure's name, since ids are shared by the whole page. Jinja2 escapes all text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nodeportsim.report import canvas, figures, grids
from nodeportsim.report.summary import why
from nodeportsim.report.words import duration, percent, plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pandas import DataFrame

_ROLES = ("figure.facecolor", "text.color", "axes.edgecolor", "grid.color")
"""Settings of the style, besides the series' colours, that differ between light and dark."""


def render(
    summary: Mapping[str, Any], tables: Mapping[str, DataFrame], out: Path, *, command: str | None = None
) -> None:
    """Write ``report.html`` and ``figures/``.

    Parameters
    ----------
    summary
        As in ``summary.json``.
    tables
        Tidy tables of the run; those of a study add its figures.
    out
        An existing folder.
    command
        What makes this page again; by default the run of the scenario written beside it.
    """
    from markupsafe import Markup

    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    drawn = []
    for name, frames in figures.available(summary, tables).items():
        svg = figures.write(name, frames, folder)[0].read_text(encoding="utf-8")
        words = figures.PLOTS[name].text(**frames)
        drawn.append({"name": name, "text": words, "svg": Markup(inline(svg, name))})  # noqa: S704  (our drawing)
    page = _page(summary, drawn, command or "nodeportsim run scenario.yaml --out .")
    (out / "report.html").write_text(page, encoding="utf-8")


def _page(summary: Mapping[str, Any], drawn: list[dict[str, Any]], command: str) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("nodeportsim.report", "style"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    thresholds = grids.thresholds(summary)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        headline=grids.headline(summary),
        why=why(summary),
        facts=_facts(summary),
        figures=drawn,
        thresholds=thresholds.rows,
        grids=[grid for grid in grids.everything(summary) if grid.title != thresholds.title],
        limits=list(grids.limits(summary)),
        command=command,
        provenance=_provenance(summary["provenance"]),
        colours={theme: _variables(theme) for theme in ("light", "dark")},
    )


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Flatten to (name, value); what is assumed has its own list."""
    rows = []
    for name, value in provenance.items():
        if not name.startswith("assum"):
            parts = value.items() if isinstance(value, dict) else [("", value)]
            text = ", ".join(f"{key} {part}".strip() for key, part in parts)
            rows.append((name.replace("_", " ").replace("sha256", "SHA-256"), text))
    return rows


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pick the four numbers most people came for."""
    requests, latency = summary["requests"], summary["latency_s"]
    failed = percent(requests["failed"] / requests["offered"]) if requests["offered"] else "no requests"
    return [
        ("requests failed", failed),
        ("median latency", duration(latency["p50"])),
        ("p99 latency", duration(latency["p99"])),
        ("hottest pod / mean", plain(summary["balance"]["pods"].get("max_over_mean"))),
    ]


def _variables(theme: canvas.Theme) -> dict[str, str]:
    """CSS variables of a theme: name -> colour."""
    with canvas.themed(theme):
        series = {f"--series-{place}": colour for place, colour in enumerate(canvas.colours())}
        roles = {f"--{role.replace('.', '-')}": canvas.ink(role) for role in _ROLES}
    return {name: f"#{colour.removeprefix('#').lower()}" for name, colour in (series | roles).items()}


def inline(svg: str, prefix: str) -> str:
    """Make a figure's SVG fit to stand in a page among others.

    The XML header goes, ids get the prefix, colours become variables, and its size is the page's business.
    The style rule that Matplotlib puts into every file would apply to the whole page; it stands in our CSS.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<style\b.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r"url\(#", f"url(#{prefix}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{prefix}-', body)
    body = re.sub(r' (?:width|height)="[\d.]+pt"', "", body, count=2)
    body = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", body)
    for name, colour in _variables("light").items():
        body = body.replace(f": {colour}", f": var({name})")
    return body
