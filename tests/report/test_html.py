"""The page: offline, well formed, safe, the same bytes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from nodeportsim.report.figures import PLOTS
from nodeportsim.report.html import inline, render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Every start tag with its attributes; complains where tags do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> repeats an attribute"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, attribute: str) -> list[str]:
        return [str(attrs[attribute]) for _, attrs in self.tags if attribute in attrs]


@pytest.fixture(scope="module")
def source(failure: Any, study: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    summary, tables = failure
    render(summary, tables | study, folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_tags_nest_and_all_are_closed(source: str) -> None:
    assert Page(source).open == []


def test_the_page_loads_and_runs_nothing(source: str) -> None:
    page = Page(source)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "object", "embed", "base"}
    assert not page.values("src")
    assert all(value.startswith("#") for value in page.values("href"))
    assert not page.values("xlink:href")
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert re.search(r"https?:|@import|url\((?!#)", source) is None


def test_ids_are_unique_and_every_reference_is_met(source: str) -> None:
    page = Page(source)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    references = {value.removeprefix("#") for value in page.values("href")}
    references |= set(re.findall(r"url\(#([^)]+)\)", source))
    assert references
    assert references <= set(ids)


def test_every_figure_has_a_label_with_numbers_and_a_caption(source: str) -> None:
    labels = [
        attrs["aria-label"] for tag, attrs in Page(source).tags if tag == "figure" and attrs["role"] == "img"
    ]
    assert len(labels) == len(PLOTS) == source.count("<figcaption>")
    assert all(re.search(r"\d", str(label)) for label in labels)


def test_figures_take_their_colours_from_the_theme(source: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL))
    fixed = set(re.findall(r"(?:fill|stroke): (#\w+)", drawings)) - {"#000000"}
    assert not fixed
    used = set(re.findall(r"var\((--[\w-]+)\)", source))
    light, dark = (dict(re.findall(r"(--[\w-]+): (#\w+);", part)) for part in source.split("@media", 2)[:2])
    assert used <= set(light)
    assert set(light) == set(dark)
    assert all(light[name] != dark[name] for name in used)


def test_the_page_knows_no_clock_and_no_path(source: str, tmp_path: Path) -> None:
    assert str(tmp_path.parent) not in source
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", source) is None


def test_the_same_run_gives_the_same_bytes(failure: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        render(*failure, tmp_path / name)
    first, second = (sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in "ab")
    assert [path.relative_to(tmp_path / "a") for path in first] == [
        path.relative_to(tmp_path / "b") for path in second
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_hostile_names_stay_text(make: Callable[..., Any], tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\" onload='x' {{ 7 * 7 }}"
    summary, tables = make(1, name=name, duration_s=2, thresholds=((name, "<1", 2.0, False),))
    summary["milestones"] = {
        name: {"first_s": {"estimate": 1.0}, "last_s": {"estimate": 1.0}, "subjects": [name]},
    }
    render(summary, tables, tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not page.values("onload")
    assert name in "".join(page.words)


@pytest.mark.parametrize(
    "what",
    [{"rate_rps": 1e-9}, {"pods": 1, "nodes": 1}, {"duration_s": 1}, {"pods": 200, "connections": 3}],
    ids=["no requests", "one pod", "one second", "mostly idle pods"],
)
def test_a_degenerate_run_has_a_page(what: dict[str, Any], make: Callable[..., Any], tmp_path: Path) -> None:
    render(*make(2, **{"rate_rps": 20.0, "duration_s": 3, **what}), tmp_path)
    assert Page((tmp_path / "report.html").read_text(encoding="utf-8")).open == []


def test_inlining_prefixes_ids_with_all_their_references() -> None:
    svg = '<?xml?><svg width="576pt" height="324pt"><style>*{}</style><g id="a" clip-path="url(#a)"/>'
    svg += '<use xlink:href="#a" style="fill: #332288"/></svg>'
    assert inline(svg, "x") == (
        '<svg><g id="x-a" clip-path="url(#x-a)"/><use href="#x-a" style="fill: var(--series-0)"/></svg>'
    )
