"""The command that compares, and the page on it: what is printed, written and refused.

``python tests/test_compare.py`` writes the table of docs/compare.md anew.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from nodeportsim import cli

if TYPE_CHECKING:
    from click.testing import Result

PAGE = Path(__file__).parents[1] / "docs" / "compare.md"
MARKED = re.compile(r"<!-- (compare .*?) -->\n(.*?)<!-- end -->", re.DOTALL)
TINY = """\
apiVersion: nodeportsim/v1
kind: Scenario
name: tiny
clients: {rate: 20/s, count: 5}
run: {duration: 3s, replications: 10, warmup: 0s}
"""
SLOWER = ("--to", "serviceTime.mean=10ms", "--engine", "simpy")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, list(arguments), prog_name="nodeportsim")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, with two good files."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    Path("other.yaml").write_text(TINY.replace("tiny", "other").replace("20/s", "40/s"))
    return tmp_path


def test_two_files_are_compared_by_their_names() -> None:
    answer = call("compare", "tiny.yaml", "other.yaml", "--engine", "simpy", "-o", "json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["baseline"] == "tiny"
    rate = next(row for row in found["differences"] if row["metric"] == "throughput_rps")
    assert (rate["variant"], rate["sure"]) == ("other", "very sure")
    assert rate["low"] < 20 < rate["high"]
    assert found["best"][0].keys() == {"metric", "best", "survivors", "confidence"}


def test_a_comparison_is_the_same_bytes_for_any_number_of_processes() -> None:
    one, two = (call("compare", "tiny.yaml", *SLOWER, "-j", jobs, "-o", "json") for jobs in ("1", "2"))
    assert one.stdout == two.stdout
    assert one.exit_code == 0


def test_the_table_names_variants_metrics_and_words() -> None:
    answer = call("compare", "tiny.yaml", *SLOWER)
    assert answer.exit_code == 0, answer.output
    assert "serviceTime.mean=10ms against as given" in answer.stdout
    assert re.search(r"median latency .*very sure", answer.stdout)
    assert re.search(r"share of failed requests +0 % +0 % +0 % +- +none seen", answer.stdout)
    assert "Common random numbers" in answer.stdout
    assert "Which is best" not in answer.stdout  # Of two, the difference says it.


def test_every_form_says_the_same_numbers() -> None:
    form = {
        kind: call("compare", "tiny.yaml", *SLOWER, "-o", kind).stdout for kind in ("json", "csv", "markdown")
    }
    rows = json.loads(form["json"])["differences"]
    read = list(csv.DictReader(io.StringIO(form["csv"])))
    assert [row["metric"] for row in read] == [row["metric"] for row in rows]
    for text, row in zip(read, rows, strict=True):
        assert text == {name: "" if value is None else str(value) for name, value in row.items()}
    assert form["markdown"].count("\n| ") == len(rows) + 2


def test_the_folder_holds_tables_and_the_figure(folder: Path) -> None:
    printed = call("compare", "tiny.yaml", *SLOWER, "--out", "out", "-o", "json").stdout
    assert {path.name for path in (folder / "out").iterdir()} == {
        "comparison.json",
        "differences.csv",
        "best.csv",
        "paired.csv",
        "paired.png",
        "paired.svg",
    }
    assert (folder / "out" / "comparison.json").read_text() == printed


def test_variants_of_several_fields_are_crossed_and_ranked() -> None:
    vary = ("--vary", "serviceTime.mean=5ms,10ms", "--vary", "replicas=2,3", "--engine", "simpy")
    answer = call("compare", "tiny.yaml", *vary, "--metrics", "latency_s.mean", "-o", "json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["baseline"] == "serviceTime.mean=5ms, replicas=2"
    assert len(found["differences"]) == 3
    assert all("5ms" in name for name in found["best"][0]["survivors"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny.yaml"], "give two scenarios"),
        (["tiny.yaml", "other.yaml", "tiny.yaml"], "give two scenarios"),
        (["tiny.yaml", "tiny.yaml"], "ask the same question"),
        (["tiny.yaml", "other.yaml", "--to", "replicas=2"], "give one scenario"),
        (["tiny.yaml", "--to", "replicas=2", "--vary", "replicas=2,3"], "two ways to say what changes"),
        (["tiny.yaml", "--vary", "replicas=2"], "nothing to compare it with"),
        (["tiny.yaml", "--vary", "replicas=2,2"], "--vary replicas"),
        (["tiny.yaml", "--vary", "replcas=2,3"], "did you mean"),
        (["tiny.yaml", "--vary", "replicas=2,3", "--baseline", "4"], "is not one of the variants"),
        (["tiny.yaml", "--vary", "replicas=2,3", "--metrics", "latency"], "did you mean latency_s"),
        (["tiny.yaml", "other.yaml", "--set", "run.precision.errors=1%"], "must be empty to be compared"),
        (["tiny.yaml", "--to", "run.seed=2"], "run.seed must be the same"),
    ],
)
def test_what_cannot_be_compared_ends_with_2_and_a_sentence(arguments: list[str], words: str) -> None:
    answer = call("compare", *arguments)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert words in re.sub(r"\s*│\s*", " ", answer.stderr)


def test_a_precision_that_is_reached_ends_with_0_and_one_that_is_not_with_1() -> None:
    asked = ("run", "tiny.yaml", "--engine", "simpy", "-o", "json", "--max-replications", "15")
    good, bad = (call(*asked, "--precision", f"latency.mean={width}") for width in ("50%", "0.1%"))
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert json.loads(bad.stdout)["precision"]["ok"] is False
    assert "after 15 replications, the most allowed: latency.mean within 0.1%" in bad.stderr


def test_precision_in_the_file_and_as_an_option_are_one() -> None:
    Path("asked.yaml").write_text(TINY.replace("warmup: 0s", "warmup: 0s, precision: {latency.mean: 20%}"))
    by_file = call("run", "asked.yaml", "--engine", "simpy", "-o", "json").stdout
    by_option = call("run", "tiny.yaml", "--engine", "simpy", "-o", "json", "--precision", "latency.mean=20%")
    assert by_file == by_option.stdout


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("latency.p98=2%", "did you mean latency.p99"),
        ("latency.p99", "must be METRIC=WIDTH"),
        ("latency.p99=2", "one of the units"),
        ("requests.failed=2", "is a total"),
    ],
)
def test_a_precision_that_cannot_be_asked_ends_with_2(word: str, message: str) -> None:
    answer = call("run", "tiny.yaml", "--precision", word)
    assert answer.exit_code == 2
    assert message in answer.stderr


def printed(command: str) -> str:
    """Give what a command of the page prints, its headings one level down."""
    answer = call(*shlex.split(command), "--quiet")
    assert answer.exit_code == 0, answer.output
    return "\n" + answer.stdout.replace("## ", "### ") + "\n"


@pytest.mark.long
def test_the_table_on_the_page_is_what_the_command_prints() -> None:
    found = MARKED.findall(PAGE.read_text())
    assert found
    for command, text in found:
        assert text == printed(command)


if __name__ == "__main__":
    PAGE.write_text(MARKED.sub(lambda m: f"<!-- {m[1]} -->\n{printed(m[1])}<!-- end -->", PAGE.read_text()))
