"""Files appear complete or not at all."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from nodeportsim.errors import InputError
from nodeportsim.study.store import staged, text_of

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_files_and_folders_arrive_under_their_names(tmp_path: Path) -> None:
    with staged(tmp_path / "a" / "run") as folder:
        (folder / "figures").mkdir()
        (folder / "figures" / "x.svg").write_text("<svg/>")
        (folder / "summary.json").write_text("{}")
        assert not (tmp_path / "a" / "run").exists()
    assert names(tmp_path) == {"a", "a/run", "a/run/figures", "a/run/figures/x.svg", "a/run/summary.json"}


def write_half(folder: Path, interruption: type[BaseException]) -> None:
    with staged(folder) as staging:
        (staging / "summary.json").write_text("ne")
        raise interruption


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_interruption_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption):
        write_half(tmp_path / "deep" / "run", interruption)
    assert names(tmp_path) == set()


def test_an_interruption_leaves_older_files_whole(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path, KeyboardInterrupt)
    assert names(tmp_path) == {"summary.json"}
    assert (tmp_path / "summary.json").read_text() == "old"


def test_other_files_of_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with staged(tmp_path) as folder:
        (folder / "summary.json").write_text("{}")
    assert names(tmp_path) == {"notes.txt", "summary.json"}


def test_a_file_in_the_way_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match="must be a folder"), staged(tmp_path / "run"):
        raise AssertionError("nothing runs")
    with pytest.raises(InputError, match="File exists"), staged(tmp_path / "run" / "below"):
        raise AssertionError("nothing runs")


def test_what_the_system_refuses_is_bad_input_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No space left on device"), staged(tmp_path / "run"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == set()


@pytest.mark.parametrize(("content", "rule"), [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8")])
def test_an_unreadable_file_is_bad_input(tmp_path: Path, content: bytes | None, rule: str) -> None:
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rule):
        text_of(path)
