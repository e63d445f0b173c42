"""The sheet every figure is drawn on: size, type, colours, and files that are the same bytes each time.

Figures use Matplotlib's object interface: nothing of pyplot, nothing global stays changed. Matplotlib looks
up some of its settings when a figure is made and others when it is written, so both happen inside `themed`.
SVG text is drawn as outlines: it looks the same on every machine, whichever fonts are there.
"""

from __future__ import annotations

import io
import math
from functools import wraps
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

from nodeportsim.report.words import fitted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Theme = Literal["light", "dark"]
Format = Literal["svg", "png"]
P = ParamSpec("P")
_NAME_MAX = 28  # Characters of a series' name beside its line.
_TITLE_MAX = 80  # Characters of the headline that the sheet is wide enough for.
# Writers of these formats put a date and a version into the file unless told not to.
_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
}


def themed(theme: Theme) -> AbstractContextManager[None]:
    """Matplotlib's settings for a theme, put back on leaving."""
    import matplotlib as mpl

    with as_file(files("nodeportsim.report") / "style" / f"{theme}.mplstyle") as path:
        rules = mpl.rc_params_from_file(path, use_default_template=True)
    return mpl.rc_context(rules)


def drawing(draw: Callable[P, Figure]) -> Callable[..., Figure]:
    """Give a drawing function the keyword `theme`: ``light`` (default) or ``dark``."""

    @wraps(draw)
    def drawn(*args: Any, theme: Theme = "light", **frames: Any) -> Figure:
        with themed(theme):
            return draw(*args, **frames)

    return drawn


def sheet(
    title: str, subtitle: str, *, columns: int = 1, heights: Sequence[float] = (1.0,), **shared: Any
) -> tuple[Figure, np.ndarray[tuple[int, int], Any]]:
    """Make a figure with its headline.

    Parameters
    ----------
    title
        The finding, as a sentence with its numbers.
    subtitle
        What is drawn, with units.
    columns, heights
        Grid of panels; `heights` are ratios, one a row.
    shared
        Further arguments of ``Figure.subplots``.

    Returns
    -------
    tuple
        The figure, and its panels as an array of shape (rows, columns).
    """
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0.008, 0.008, 0.984, 0.855), w_pad=0.06, h_pad=0.04)  # type: ignore[call-arg]  # Constrained's.
    figure.text(0.016, 0.968, fitted(title, _TITLE_MAX), size=13, weight="bold", va="top")
    figure.text(0.016, 0.905, subtitle, size=9.5, va="top")
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=list(heights), **shared)
    return figure, axes


def close_rows(figure: Figure) -> None:
    """Let the rows of a sheet touch, for panels that share their horizontal axis."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(hspace=0, h_pad=0.01)  # type: ignore[call-arg]  # The constrained layout's own.


def colours() -> list[str]:
    """Series colours of the theme in force, in order."""
    import matplotlib as mpl

    return list(mpl.rcParams["axes.prop_cycle"].by_key()["color"])


def hatch(place: int) -> str:
    """Pattern that tells a series from an earlier one of the same colour."""
    return "" if place < len(colours()) else "///"


def ink(role: str) -> str:
    """Colour of a part of the sheet in the theme in force, by its Matplotlib setting: ``text.color``."""
    import matplotlib as mpl

    return str({str(name): value for name, value in mpl.rcParams.items()}[role])


def readable_on(colour: str) -> str:
    """Black or white, whichever has more contrast to a background (WCAG 2.2, relative luminance)."""
    channels = [int(colour.removeprefix("#")[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)  # noqa: PLR2004  (sRGB)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def ticks(axis: Any, label: Callable[[float], str], at: Sequence[float] | None = None) -> None:
    """Label an axis with `label(value)`; only at the places `at`, where given."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_locator(NullLocator())
    if at is not None:
        axis.set_major_locator(FixedLocator(at))


_SHORT_DECADES = 2.0  # So many have room for three labels each on a horizontal axis.


def log_ticks(low: float, high: float, short_decades: float = _SHORT_DECADES) -> list[float]:
    """Places to label on a logarithmic axis over [low, high]: powers of ten; 1, 2, 5 if there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if math.log10(high / low) < short_decades else (1,)
    return [step * 10.0**power for power in range(first, last + 1) for step in steps]


def end_labels(axes: Axes, ends: Sequence[tuple[float, float, str, str]], gap_points: float = 11.0) -> None:
    """Write each series' name beside its last point, pushed apart where they would overlap.

    Parameters
    ----------
    axes
        Panel; its limits and scales must be final.
    ends
        (x, y, text, colour) of each series.
    gap_points
        Least vertical distance of two labels, in points.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # Lays the panels out: vertical places are final from here.
    pixels = [float(axes.transData.transform((x, y))[1]) for x, y, _, _ in ends]
    gap = gap_points * figure.dpi / 72
    placed = -float("inf")
    for place in sorted(range(len(ends)), key=pixels.__getitem__):
        x, y, text, colour = ends[place]
        placed = max(pixels[place], placed + gap)
        offset = (placed - pixels[place]) * 72 / figure.dpi
        axes.annotate(
            fitted(text, _NAME_MAX),
            (x, y),
            xytext=(9, offset),
            textcoords="offset points",
            va="center",
            color=colour,
            weight="bold",
            annotation_clip=False,
        )


def nothing(title: str, subtitle: str) -> Figure:
    """Make the sheet that says there is nothing to draw."""
    figure, panels = sheet(title, subtitle)
    axes = panels[0, 0]
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)
    return figure


def encoded(figure: Figure, format: Format, theme: Theme = "light") -> bytes:  # noqa: A002  (Matplotlib's word)
    """Encode a figure; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with themed(theme):
        figure.savefig(buffer, format=format, metadata=_METADATA[format])
    return buffer.getvalue()


def save(
    figure: Figure, stem: Path, formats: Sequence[Format] = ("svg", "png"), theme: Theme = "light"
) -> list[Path]:
    """Write a figure as ``<stem>.<format>``, one file a format.

    Returns
    -------
    list of Path
        The files, in the order of `formats`.
    """
    paths = [stem.with_name(f"{stem.name}.{format}") for format in formats]  # noqa: A001
    for path, format in zip(paths, formats, strict=True):  # noqa: A001
        path.write_bytes(encoded(figure, format, theme))
    return paths
