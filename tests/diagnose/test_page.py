"""docs/diagnose.md shows what the code says. ``python tests/diagnose/test_page.py`` writes it anew."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from nodeportsim.cli import main
from nodeportsim.diagnose.cause import UNASKED
from nodeportsim.diagnose.diagnosis import CAUSES
from nodeportsim.diagnose.symptoms import SYMPTOMS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "diagnose.md"
FIRST = re.compile(r"\A.*?^  1\..*?(?=^  2\.|^\S|\Z)", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```text\n\$ (nodeportsim diagnose [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def printed(command: str) -> str:
    """Type a command; of causes the first alone is shown."""
    words = [str(ROOT / word) if word.startswith("tests/") else word for word in shlex.split(command)[1:]]
    text = CliRunner().invoke(main, words).stdout
    first = FIRST.match(text)
    return (first[0] if first else text).rstrip() + "\n"


def table_of_symptoms() -> str:
    return "".join(f"| `{name}` | {words} |\n" for name, words in SYMPTOMS.items())


def table_of_causes() -> str:
    rows = sorted(CAUSES, key=lambda cause: cause.rank)
    ranks = ["-" if cause.rank == UNASKED else str(cause.rank) for cause in rows]
    return "".join(
        f"| `{cause.name}` | {cause.title} | {rank} | {cause.source} |\n"
        for cause, rank in zip(rows, ranks, strict=True)
    )


def written(text: str) -> str:
    """Put what the code says into a page."""
    for head, rows in (
        ("| symptom | is |\n| --- | --- |\n", table_of_symptoms()),
        ("| cause | title | rank | source |\n| --- | --- | --- | --- |\n", table_of_causes()),
    ):
        before, _, after = text.partition(head)
        text = before + head + rows + after[re.match(r"([|@].*\n)*", after).end() :]  # type: ignore[union-attr]  # It matches nothing too.
    return SHOWN.sub(lambda found: f"```text\n$ {found[1]}\n{printed(found[1])}```", text)


def test_the_page_shows_the_symptoms_the_causes_and_the_outputs_of_today() -> None:
    text = PAGE.read_text()
    assert len(SHOWN.findall(text)) == 2
    assert text == written(text)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
