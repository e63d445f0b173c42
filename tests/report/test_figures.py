"""Figures: the same bytes, their words, their data, and nothing in each other's way."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from matplotlib.text import Text

from nodeportsim.errors import InputError
from nodeportsim.metrics import causes
from nodeportsim.report import canvas, figures, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

NAMES = list(figures.PLOTS)


@pytest.fixture(scope="module")
def frames(failure: Any, study: dict[str, pd.DataFrame]) -> dict[str, dict[str, pd.DataFrame]]:
    summary, tables = failure
    return figures.available(summary, tables | study)


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is really drawn (an axis makes more labels than it shows), and its place in pixels."""
    drawn: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def recorded(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            drawn.append((text.get_text(), Text.get_window_extent(text, renderer)))
        draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", recorded)
        figure.draw_without_rendering()
    return drawn


def test_a_run_and_a_study_together_carry_every_figure(frames: dict[str, Any]) -> None:
    assert list(frames) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_the_same_bytes_every_time(name: str, frames: dict[str, Any]) -> None:
    first, second = (canvas.encoded(figures.PLOTS[name].draw(**frames[name]), "svg") for _ in range(2))
    assert first == second
    assert re.search(rb"\d{4}-\d\d-\d\d|Matplotlib", first) is None


@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_a_figure_is_cut_off_or_stands_on_another(name: str, frames: dict[str, Any]) -> None:
    assert_apart(figures.PLOTS[name].draw(**frames[name]))


def test_every_cause_and_many_long_milestones_still_fit() -> None:
    shares = {cause: [10 - place] * 3 for place, cause in enumerate(causes.ORDER)}
    timeline = pd.DataFrame({"second": [0, 1, 2], "offered": 100, "succeeded": 46, **shares})
    names = [f"{'a-very-long-node-name' * 3} {number}" for number in range(12)]
    milestones = pd.DataFrame({"name": names, "first_s": [number / 4 for number in range(12)]})
    milestones["last_s"] = milestones["first_s"] + 0.2
    assert_apart(figures.PLOTS["failure_timeline"].draw(timeline=timeline, milestones=milestones))


def test_every_stage_still_fits() -> None:
    table = pd.DataFrame({"stage": [*words.STAGES], "mean_s": 1e-3, "p50_s": 1e-4, "p99_s": 1.0})
    assert_apart(figures.PLOTS["stages"].draw(stages=table))


def assert_apart(figure: Figure) -> None:
    """No text leaves the sheet, none stands on another."""
    drawn = boxes(figure)
    sheet = figure.bbox
    assert not [label for label, box in drawn if not sheet.contains(*box.min) or not sheet.contains(*box.max)]
    # A pixel of touching is antialiasing, not an overlap.
    pairs = itertools.combinations([(label, box.padded(-1)) for label, box in drawn], 2)
    assert not [(one, other) for (one, first), (other, second) in pairs if first.overlaps(second)]


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_says_its_numbers_and_units(name: str, frames: dict[str, Any]) -> None:
    plot, tables = figures.PLOTS[name], frames[name]
    text = plot.text(**tables)
    assert all(re.search(r"\d", part) for part in text)
    drawn = " ".join(label for label, _ in boxes(plot.draw(**tables)))
    assert text.title in drawn
    assert re.search(r"\(s\)|\(%\)|\(µs\)|\d s\b|per second|connections|requests", drawn)


@pytest.mark.parametrize("name", NAMES)
def test_the_dark_figure_says_the_same_on_another_ground(name: str, frames: dict[str, Any]) -> None:
    light, dark = (figures.PLOTS[name].draw(**frames[name], theme=theme) for theme in ("light", "dark"))
    assert [label for label, _ in boxes(light)] == [label for label, _ in boxes(dark)]
    assert sum(light.get_facecolor()[:3]) > 2.5
    assert sum(dark.get_facecolor()[:3]) < 0.5


def test_a_figure_is_drawn_from_the_csv_files_beside_it(tmp_path: Path, frames: dict[str, Any]) -> None:
    figures.write("shares", frames["shares"], tmp_path, formats=("png",))
    again = pd.read_csv(tmp_path / "shares.csv")
    assert (
        canvas.encoded(figures.PLOTS["shares"].draw(shares=again), "png")
        == (tmp_path / "shares.png").read_bytes()
    )


def test_the_files_of_a_figure_are_named_after_it(tmp_path: Path, frames: dict[str, Any]) -> None:
    paths = figures.write("failure_timeline", frames["failure_timeline"], tmp_path, theme="dark")
    assert [path.name for path in paths] == [
        "failure_timeline-dark.svg",
        "failure_timeline-dark.png",
        "failure_timeline.csv",
        "failure_timeline.milestones.csv",
    ]


def test_the_picture_is_1200_by_675_pixels(tmp_path: Path, frames: dict[str, Any]) -> None:
    path = figures.write("stages", frames["stages"], tmp_path, formats=("png",))[0]
    header = path.read_bytes()[16:24]
    assert b"Matplotlib" not in path.read_bytes()
    assert (int.from_bytes(header[:4]), int.from_bytes(header[4:])) == (1200, 675)


def test_drawing_changes_nothing_global(frames: dict[str, Any]) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    canvas.encoded(figures.PLOTS["stages"].draw(**frames["stages"], theme="dark"), "svg", "dark")
    assert dict(mpl.rcParams) == before


def test_an_unknown_figure_is_refused_with_the_nearest_name(failure: Any) -> None:
    with pytest.raises(InputError, match="did you mean stages"):
        figures.draw("stage", *failure)


def test_a_figure_of_studies_is_refused_for_a_run(failure: Any) -> None:
    with pytest.raises(InputError, match="conntrack table full"):
        figures.draw("conntrack_wall", *failure)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_table_gives_an_empty_figure(name: str, frames: dict[str, Any]) -> None:
    empty = {key: frame.head(0) for key, frame in frames[name].items()}
    if name == "latency_ccdf":
        empty["syn"] = frames[name]["syn"]
    assert canvas.encoded(figures.PLOTS[name].draw(**empty), "svg")


def test_what_says_nothing_is_not_drawn(make: Callable[..., Any]) -> None:
    """No failure and no event leave no timeline; a single node and a single pod leave no shares."""
    assert list(figures.available(*make(2, nodes=1, pods=1))) == ["latency_ccdf", "stages"]
    assert list(figures.available(*make(2, nodes=1, pods=2))) == ["latency_ccdf", "shares", "stages"]


def test_the_failure_timeline_names_share_window_and_causes(failure: Any) -> None:
    """One in five requests meets the dead node for 25 of 60 s, and four in five of those fail: 6.7 %."""
    summary, tables = failure
    text = figures.PLOTS["failure_timeline"].text(**figures.PLOTS["failure_timeline"].frames(summary, tables))
    share = 100 * summary["requests"]["failed"] / summary["requests"]["offered"]
    assert text.title == f"{share:.2f} % of requests failed, all between 20 s and 45 s"
    assert re.search(r"connect time-out 7\d[.\d]* %, request time-out 2\d[.\d]* %", text.alt)
    assert "fault: node-4 power-off at 20 s" in text.alt


def test_a_retransmitted_syn_shows_in_the_words_of_the_ccdf(failure: Any) -> None:
    summary, tables = failure
    plot = figures.PLOTS["latency_ccdf"]
    text = plot.text(**plot.frames(summary, tables))
    curve = tables["latency"]
    during = curve[(curve["phase"] == "during") & (curve["latency_s"] >= 1)]["ccdf_ratio"].max()
    assert text.title == f"{100 * during:.3g} % of requests took 1 s or more during the fault"
    assert "before any fault 0 %" in text.caption


def test_syn_marks_follow_the_kernel_of_the_client(failure: Any) -> None:
    summary, tables = failure
    old = {**summary, "provenance": summary["provenance"] | {"syn_schedule": "doubling"}}
    frames = figures.PLOTS["latency_ccdf"].frames
    assert list(frames(summary, tables)["syn"]["sent_s"]) == [1, 2, 3, 4, 5, 7, 11, 19, 35]
    assert list(frames(old, tables)["syn"]["sent_s"]) == [1, 3, 7, 15, 31]


def test_one_pod_with_everything_lies_above_what_chance_gives(make: Callable[..., Any]) -> None:
    summary, tables = make(10, connections=1000)
    for member in summary["pods"]:
        member["share"] = {"estimate": float(member["rank"] == 1), "low": None, "high": None}
    plot = figures.PLOTS["shares"]
    text = plot.text(**plot.frames(summary, tables))
    assert "The hottest of 10 pods gets 10\N{MULTIPLICATION SIGN} the mean, above the chance band" in text.alt
    assert "The hottest of 5 nodes" in text.alt
