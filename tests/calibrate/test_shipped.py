"""Every constant of a shipped profile leads to data, and the profiles are what their data give."""

from __future__ import annotations

import re
import shutil
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from nodeportsim.calibrate.shipped import build as shipped
from nodeportsim.calibrate.shipped import published
from nodeportsim.calibrate.shipped.published import pick, read_rows
from nodeportsim.scenario.profile import data_folder, load_profile, profiles

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.scenario.prices import Parameter

MODELS = data_folder("models")
PUBLISHED = ("legacy-2019", "published-2025", "published-2026")
NUMBER = re.compile(rb"\d+(?:\.\d+)?(?:e[-+]?\d+)?")
LAST_DIGIT = 1e-5  # Least squares differ in the last bits between processors, and so may a sixth digit.


@cache
def rows(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def found(folder: Path, part: str) -> int:
    """Count the rows that one part of a source names: a file, then columns and what they hold."""
    name, *keys = part.split()
    path = (folder / name).resolve()
    if path.suffix == ".yaml":
        return int(path.is_file())
    table = rows(path)
    if "mode" not in part and path.name == "fit.csv":
        keys = [*keys, "mode="]
    for key in keys:
        column, _, text = key.partition("=")
        begins = text.endswith("*")
        table = table[table[column].str.startswith(text[:-1]) if begins else table[column] == text]
    return len(table)


def given() -> list[tuple[str, str, Parameter]]:
    return [
        (name, where, parameter)
        for name in profiles()
        for where, parameter in load_profile(name).parameters().items()
    ]


@pytest.mark.parametrize("name", profiles())
def test_every_source_of_a_number_leads_to_at_least_one_row_or_is_an_argued_assumption(name: str) -> None:
    for profile, where, parameter in given():
        if profile != name or parameter.source == "none":
            continue
        if parameter.source == "assumed":
            assert parameter.note, where
            assert not parameter.identified, where
            continue
        for part in parameter.source.split("; "):
            assert found(MODELS / name, part) >= 1, (where, part)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_profile_of_published_rows_rests_on_rows_that_may_be_fitted(name: str) -> None:
    own = read_rows(MODELS / name / "data" / published.FILE)
    assert len(own)
    assert set(own["use"]) == {"cal"}
    every = read_rows()
    for row in own.to_dict("records"):
        assert len(pick(every, **{k: str(v) for k, v in row.items() if k != "value"})) >= 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_said_to_be_identified_names_published_rows_alone(name: str) -> None:
    for profile, where, parameter in given():
        if profile == name and parameter.identified and parameter.source != "none":
            assert parameter.source.startswith("data/published.csv"), where


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_profiles_are_the_same_bytes_when_made_again(name: str, tmp_path: Path) -> None:
    shutil.copytree(MODELS / name, tmp_path / name)
    shipped.write_published(tmp_path, name)
    assert files(tmp_path / name) == files(MODELS / name)


@pytest.mark.long
def test_all_profiles_are_the_same_when_made_again_but_for_a_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(MODELS, tmp_path / "models")
    monkeypatch.setattr(shipped, "data_folder", lambda _: tmp_path / "models")
    shipped.main()
    again, shipped_files = files(tmp_path / "models"), files(MODELS)
    assert again.keys() == shipped_files.keys()
    for name, data in shipped_files.items():
        assert NUMBER.sub(b"#", again[name]) == NUMBER.sub(b"#", data), name
        made, there = ([float(x) for x in NUMBER.findall(each)] for each in (again[name], data))
        assert made == pytest.approx(there, rel=LAST_DIGIT), name
