"""What the documents say is so: commands run, outputs and figures are fresh, links and defaults hold.

``python tests/test_docs.py`` writes the outputs and the figure of README.md anew.
"""

from __future__ import annotations

import contextlib
import csv
import doctest
import importlib
import json
import re
import shlex
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import click
import pytest
import yaml
from click.testing import CliRunner

import nodeportsim
from nodeportsim.cli import main
from nodeportsim.engine import draws
from nodeportsim.engine.build import SYN_AT_S
from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.read import example_path, read
from nodeportsim.scenario.spec import Event, Scenario
from nodeportsim.study.experiment import find
from nodeportsim.units import duration_s

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
TOP = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES = [ROOT / name for name in TOP] + sorted(
    path for folder in ("docs", "experiments", "models") for path in (ROOT / folder).rglob("*.md")
)
MODELS = sorted((ROOT / "docs" / "models").glob("*.md"))
FIGURE = ROOT / "docs" / "img" / "node-failure.svg"
READABLE = {"yaml", "python", "console", "bash", "text", "json", ""}
PROGRAMS = {"make", "nodeportsim", "kubectl", "git", "python", ".ci/run"}

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    return [
        Block(*found)
        for found in re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    ]


def prose(path: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def rows(path: Path, *head: str) -> list[list[str]]:
    """Return the rows of all tables of a page whose header begins with these cells."""
    found, inside = [], False
    for line in prose(path).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[: len(head)] == list(head):
            inside = True
        elif inside and not set(cells[0]) <= {"-", ":"}:
            found.append(cells)
    return found


# -- commands ------------------------------------------------------------------------------------


def parsed(command: str) -> None:
    """Let click read a command without doing it; make's targets must exist."""
    words = shlex.split(command, comments=True)
    assert words[0] in PROGRAMS, f"{command}: is {words[0]} a program of ours?"
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= {*targets}, command
    if words[0] == "nodeportsim":
        node: click.Command = main
        rest = words[1:]
        while isinstance(node, click.Group) and rest:
            # Some groups take a file for their first command.
            name = getattr(node, "default", rest[0]) if rest[0] not in node.commands else rest.pop(0)
            assert name in node.commands, f"{command}: no command {name}"
            node = node.commands[name]
        if rest:
            answerable(node.make_context(node.name, rest, parent=click.Context(main)).params)


def answerable(given: dict[str, Any]) -> None:
    """Experiments and examples named must exist, and what is set must be a field of theirs."""
    if given.get("name"):
        find(given["name"])
    if given.get("example"):
        read(str(example_path(given["example"])), sets=given["sets"])
    elif given.get("file") == "web.yaml":
        with tempfile.TemporaryDirectory() as name:
            read(str(web(Path(name))), sets=given.get("sets", ()))


def web(folder: Path) -> Path:
    """Write the README's scenario into a folder."""
    file = folder / "web.yaml"
    file.write_text(next(block.text for block in blocks(ROOT / "README.md") if block.language == "yaml"))
    return file


@page
def test_every_command_named_is_one(path: Path) -> None:
    inline = re.findall(r"`((?:nodeportsim|make) [^`]+)`", prose(path))
    typed = [line for b in blocks(path) if b.language == "bash" for line in b.text.splitlines()]
    for command in [*inline, *typed]:
        if command.strip() and not command.startswith("#"):
            parsed(command)


@page
def test_every_block_says_what_it_is(path: Path) -> None:
    languages = {block.language for block in blocks(path)}
    assert languages <= READABLE
    # What is shown as typed is typed again by a test, and that is done for README.md.
    assert path == ROOT / "README.md" or "console" not in languages


def lay(path: Path, folder: Path) -> None:
    """Write the files that a page's Python blocks say they are: those that begin with ``# NAME.py``."""
    for block in blocks(path):
        if block.language == "python" and (name := re.match(r"# (\w+\.py)\n", block.text)):
            with (folder / name[1]).open("a") as file:
                file.write(block.text)


@page
def test_every_yaml_block_is_a_scenario(path: Path, tmp_path: Path) -> None:
    lay(path, tmp_path)
    for block in blocks(path):
        if block.language == "yaml":
            file = tmp_path / "block.yaml"
            file.write_text(block.text)
            read(str(file))


def readme_session(folder: Path) -> Iterator[tuple[str, str]]:
    """Type what README.md says, in a fresh folder; yield each console block's command and output."""
    web(folder)
    for block in blocks(ROOT / "README.md"):
        if block.language == "console":
            command = block.text.splitlines()[0].removeprefix("$ ")
            answer = CliRunner().invoke(main, shlex.split(command)[1:], env={"COLUMNS": "80"})
            assert answer.exit_code == 0, answer.output
            yield command, re.sub(r" +$", "", answer.stdout, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Give a folder in which everything of README.md has been typed, and what came out."""
    folder = tmp_path_factory.mktemp("readme")
    with contextlib.chdir(folder):
        return folder, dict(readme_session(folder))


def test_the_output_in_the_readme_is_what_the_commands_print(session: tuple[Path, dict[str, str]]) -> None:
    shown = [block.text for block in blocks(ROOT / "README.md") if block.language == "console"]
    assert shown == [f"$ {command}\n{output}" for command, output in session[1].items()]


def test_the_figure_in_the_readme_is_that_of_its_run(session: tuple[Path, dict[str, str]]) -> None:
    assert FIGURE.read_bytes() == (session[0] / "runs/web/figures/failure_timeline.svg").read_bytes()


@page
def test_every_python_block_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = [block.text for block in blocks(path) if block.language == "python"]
    if not code:
        return
    web(tmp_path)
    lay(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    result = nodeportsim.simulate(nodeportsim.load("web.yaml", sets=["replications=1", "duration=15s"]))
    names: dict[str, Any] = {"summary": result.summary, "tables": result.tables, "folder": tmp_path}
    for text in code:
        exec(compile(text, str(path), "exec"), names)  # noqa: S102  (our own documents)


MODULES = sorted((ROOT / "sim/nodeportsim").rglob("*.py"))


@pytest.mark.parametrize(
    "path", [path for path in MODULES if ">>> " in path.read_text()], ids=lambda path: path.stem
)
def test_every_example_in_a_docstring_gives_what_it_says(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT / "sim").with_suffix("").parts).removesuffix(".__init__")
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed


# -- policies ------------------------------------------------------------------------------------

POLICIES = ROOT / "docs" / "policies.md"


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with the files of the page on policies, and be in it."""
    lay(POLICIES, tmp_path)
    (tmp_path / "choice.yaml").write_text(next(b.text for b in blocks(POLICIES) if b.language == "yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_on_policies_run_and_both_engines_give_the_same_numbers(typed: Path) -> None:
    numbers = []
    for command in next(b.text for b in blocks(POLICIES) if b.language == "bash").splitlines():
        answer = CliRunner().invoke(main, [*shlex.split(command)[1:], "-o", "json"])
        assert answer.exit_code == 0, answer.output
        numbers.append({k: v for k, v in yaml.safe_load(answer.stdout).items() if k != "provenance"})
    assert numbers[0] == numbers[1] != numbers[2]
    assert numbers[2]["requests"]["offered"] == numbers[0]["requests"]["offered"]
    assert {path.name for path in typed.iterdir()} == {"choice.yaml", "policies.py"}


def test_the_examples_on_policies_are_those_of_the_experiment() -> None:
    experiment = (ROOT / "experiments/client_choice/policies.py").read_text()
    shown = [b.text.partition("\n\n\n") for b in blocks(POLICIES) if b.text.startswith("# policies.py\n")]
    assert len(shown) == 2
    assert all(head.endswith("from nodeportsim import policy") for head, _, _ in shown)
    assert all(functions in experiment for _, _, functions in shown)


@pytest.mark.parametrize(("text", "engine", "message"), [*map(tuple, rows(POLICIES, "body", "engine"))])
def test_the_errors_on_policies_are_those_that_come(
    typed: Path, text: str, engine: str, message: str
) -> None:
    head = "from nodeportsim import policy\n\n\n@policy(cells=1)\n"
    signature = "def power_of_two(memory, nodes, last, u1, u2, now_s):"
    (typed / "policies.py").write_text(f"{head}{signature}\n    {text.strip('`')}\n")
    answer = CliRunner().invoke(main, ["run", "choice.yaml", "--engine", engine, "-o", "json"])
    assert answer.exit_code == 2, answer.output
    assert message.strip("`") in answer.stderr


# -- links ---------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@page
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+://", target):
            continue
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


ROOTED = ("sim/", "tests/", "docs/", "models/", "experiments/", "results/", "benchmarks/", "notebooks/")
PACKAGES = {p.name for p in (ROOT / "sim/nodeportsim").iterdir() if p.is_dir()}


@page
def test_every_path_named_exists(path: Path) -> None:
    """Paths from the root, and modules as ``engine/client.py``."""
    for name in re.findall(r"`([\w.*<>/-]+)`", prose(path)):
        first = name.split("/")[0]
        if re.search(r"[<>*]", name) or name.endswith("/") or "/" not in name:
            continue
        if name.startswith(ROOTED) and not name.startswith("results/"):
            # A data file of a model page may be named from its own folder.
            assert (ROOT / name).exists() or (path.parent / name).exists(), name
        elif first in PACKAGES and name.endswith(".py"):
            assert (ROOT / "sim/nodeportsim" / name).exists(), name


def test_every_page_and_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text()
    listed = {(ROOT / "docs" / name).resolve() for name in re.findall(r"\]\(([^)#]+)\)", index)}
    assert {p for p in (ROOT / "docs").rglob("*.md") if p.name != "index.md"} <= listed


# -- the code map --------------------------------------------------------------------------------


def test_the_code_map_names_every_module_and_no_other() -> None:
    """A folder stands for all its modules, whose docstrings say the rest."""
    package = ROOT / "sim" / "nodeportsim"
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    firsts = [row[0] for row in rows(ROOT / "ARCHITECTURE.md", "module")]
    named = [name for first in firsts for name in re.findall(r"`([\w/]+\.py)`", first)]
    for folder in [name for first in firsts for name in re.findall(r"`([\w/]+/)`", first)]:
        inside = [name for name in modules if name.startswith(folder) and said(package / name)]
        assert inside, folder
        named += inside
    silent = {name for name in modules if not said(package / name) and name not in named}
    assert len(named) == len(set(named))
    assert set(named) == modules - silent


def said(path: Path) -> bool:
    """Whether a file holds more than its docstring."""
    return len(path.read_text().splitlines()) > 10


def test_the_architecture_stays_readable() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 200


def test_the_table_of_purposes_is_that_of_the_draws() -> None:
    code = Path(draws.__file__).read_text()
    purposes = dict(re.findall(r"^([A-Z]+) = (\d+)  # \(", code, re.MULTILINE))
    assert {
        row[0].strip("`"): row[1] for row in rows(ROOT / "ARCHITECTURE.md", "purpose", "number")
    } == purposes


# -- defaults ------------------------------------------------------------------------------------

BASE = Scenario()


def left_out(annotation: Any) -> type[Spec] | None:
    """The section that a field holds which is none by default."""
    kinds = [arg for arg in get_args(annotation) if isinstance(arg, type) and issubclass(arg, Spec)]
    return kinds[0] if kinds else None


@cache
def leaves() -> dict[str, tuple[Any, str]]:
    """Every field that is not a section, by its path in a file: where it stands, and its Python name."""
    found: dict[str, tuple[Any, str]] = {}

    def visit(spec: Spec | type[Spec], prefix: str) -> None:
        kind = spec if isinstance(spec, type) else type(spec)
        for name, field in kind.model_fields.items():
            path = f"{prefix}{field.alias}"
            value = None if isinstance(spec, type) else getattr(spec, name)
            if isinstance(value, Spec):
                visit(value, f"{path}.")
            elif value is None and (section := left_out(field.annotation)):
                found[path] = (spec, name)
                visit(section(), f"{path}.")
            elif name == "clients":
                visit(value[0], f"{path}.")
            elif name == "events":
                visit(Event, f"{path}.")
            else:
                found[path] = (spec, name)

    visit(BASE, "")
    return found


def spec_holds(path: str, text: str) -> bool:
    """Whether a field's default is what a page says."""
    spec, name = leaves()[path]
    field = (spec if isinstance(spec, type) else type(spec)).model_fields[name]
    if text == "required" or field.is_required():
        return text == "required" and field.is_required()
    value = field.get_default(call_default_factory=True) if isinstance(spec, type) else getattr(spec, name)
    if text == "-":
        return not value and value != 0
    said = yaml.safe_load(text) if not isinstance(value, str) else text
    if isinstance(spec, type):  # It has required fields, so there is none of it to change.
        return bool(value == (duration_s(said) if isinstance(value, float) else said))
    fields = {f.alias: v for f, v in zip(type(spec).model_fields.values(), vars(spec).values(), strict=True)}
    try:
        return bool(getattr(type(spec).model_validate(fields | {field.alias: said}), name) == value)
    except ValueError:
        return False


def constant_holds(path: str, text: str) -> bool:
    """Whether ``package.module:NAME`` is what a page says."""
    module, _, name = path.partition(":")
    value = getattr(importlib.import_module(f"nodeportsim.{module}"), name)
    try:
        return bool(value == float(text))
    except ValueError:
        return bool(value == duration_s(text))


def defaults() -> list[tuple[str, str]]:
    return [
        (row[0].strip("`"), row[1]) for path in MODELS for row in rows(path, "parameter", "default", "source")
    ]


@pytest.mark.parametrize(("path", "text"), defaults(), ids=lambda value: value)
def test_every_default_in_a_table_is_the_default(path: str, text: str) -> None:
    assert constant_holds(path, text) if ":" in path else spec_holds(path, text)


def test_every_field_of_a_scenario_stands_in_one_table() -> None:
    documented = sorted(path for path, _ in defaults() if ":" not in path)
    assert documented == sorted(set(leaves()) - {"apiVersion", "kind"})


def test_the_syn_schedules_in_the_page_are_the_engines() -> None:
    table = {
        row[0].strip("`"): tuple(map(float, row[1].split(",")))
        for row in rows(ROOT / "docs/models/network.md", "schedule", "instants")
    }
    assert table == SYN_AT_S


@pytest.mark.parametrize("path", [p for p in MODELS if p.name != "theory.md"], ids=lambda path: path.stem)
def test_a_page_says_its_limits_first_and_what_holds_it(path: Path) -> None:
    heads = re.findall(r"^## (.*)$", path.read_text(), re.MULTILINE)
    assert heads[0] == "Scope and limits"
    assert heads[-1] == "Held by"
    assert re.findall(r"`(tests/\S+)`", path.read_text().partition("## Held by")[2])


# -- speeds --------------------------------------------------------------------------------------

MEASURED = ROOT / "results" / "benchmarks"


def short(number: float) -> str:
    """Write two significant digits: 2.7, 250."""
    return f"{float(f'{number:.2g}'):g}"


def test_the_speeds_in_the_readme_are_those_measured() -> None:
    ratios = {row["case"]: row for row in json.loads((MEASURED / "ratios.json").read_text())}
    with (MEASURED / "growth.csv").open() as file:
        costs = [float(row["cpu_ns_per_request"]) for row in csv.DictReader(file) if row["what"] == "pods"]
    start = json.loads((MEASURED / "start.json").read_text())
    new, largest, plain = (ratios[n] for n in ("new connection", "5,000 x 150,000", "plain path, plain.c"))
    section = (ROOT / "README.md").read_text().partition("## Speed\n")[2].partition("\n## ")[0]
    engine, began = start["schedulers"], start["start"]
    for said in (
        f"**{short(new['compiled_over_floor'])} times** as many requests per CPU second as",
        f"{short(largest['compiled_over_floor'])} times with 5,000 nodes and 150,000 pods",
        f"makes {short(1 / plain['compiled_over_floor'])} times as many as the engine",
        f"**{short(new['compiled_over_oracle'])} times** as many as",
        f"{short(engine['compiled_over_simpy'])} times as many as its own steps",
        f"a request costs {short(costs[-1] / costs[0])} times as much",
        f"in {short(began['cold_cpu_s'])} s of CPU, and starts in {short(began['warm_s'])} s after that",
    ):
        assert said in " ".join(section.split()), said


# -- writing README.md anew ----------------------------------------------------------------------


def refresh() -> None:
    """Put the fresh outputs and the fresh figure where README.md shows them."""
    file = ROOT / "README.md"
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        outputs = iter(
            [f"```console\n$ {command}\n{output}```" for command, output in readme_session(Path(name))]
        )
        text = re.sub(
            r"^```console\n.*?^```$",
            lambda _: next(outputs),
            file.read_text(),
            flags=re.MULTILINE | re.DOTALL,
        )
        FIGURE.parent.mkdir(exist_ok=True)
        shutil.copy("runs/web/figures/failure_timeline.svg", FIGURE)
    file.write_text(text)


if __name__ == "__main__":
    refresh()
