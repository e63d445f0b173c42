"""The commands of docs/questions.md run, each with a part of its replications."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from nodeportsim.cli import main

ROOT = Path(__file__).parents[1]
ROWS = re.findall(
    r"^\| ([^|]+) \| `nodeportsim ([^`]+)` \|", (ROOT / "docs" / "questions.md").read_text(), re.MULTILINE
)
FEWER = {"run": ["--replications", "1", "-o", "json"], "experiment": ["--replications", "1", "--quiet"]}
FEWER |= {"sweep": ["--quiet"], "sensitivity": ["--replications", "10", "--quiet"]}


def test_every_question_has_a_command() -> None:
    rows = [
        line for line in (ROOT / "docs" / "questions.md").read_text().splitlines() if line.startswith("| ")
    ]
    assert len(ROWS) == len(rows) - 2 == 31


@pytest.mark.long
@pytest.mark.parametrize(
    ("question", "command"), ROWS, ids=[command.split()[0] + str(k) for k, (_, command) in enumerate(ROWS)]
)
def test_the_command_of_a_question_answers(
    question: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    words = [str(tmp_path / "out") if word == "results/mine" else word for word in words]
    ended = CliRunner().invoke(main, [*words, *FEWER.get(words[0], [])])
    assert ended.exit_code == 0, (question, ended.stderr)
    assert ended.stdout.strip()
