"""Command `import`: from a pipe, within its memory, whatever it is fed; and as a plugin of kubectl."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from large_dump import CORES, NODE_PORT_EVERY, pieces
from objects import healthy, written

from nodeportsim.cli import main
from nodeportsim.scenario.read import gather_files, read

if TYPE_CHECKING:
    from click.testing import Result

ROOT = Path(__file__).parents[1]
FIVE = ROOT / "tests" / "golden" / "clusters" / "five-nodes.json"
METRICS = ROOT / "tests" / "calibrate" / "data"
MIB = 2**20
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
from nodeportsim.cli import main
try:
    main(sys.argv[2:])
finally:
    print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], file=sys.stderr)  # kB
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["import", *arguments], input=given, prog_name="nodeportsim")


def within(most_bytes: int, nodes: int, services: int, pods: int, *arguments: str) -> tuple[str, int, float]:
    """Pipe a dump of so many objects into the command: its answer, its largest memory and CPU time."""
    command = [sys.executable, "-c", CHILD, str(most_bytes), "import", *arguments]
    before = os.times()
    with (
        Path("answer").open("w") as answer,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.PIPE, text=True
        ) as child,
    ):
        assert child.stdin
        assert child.stderr
        for piece in pieces(nodes, services, pods):
            child.stdin.write(piece)
        child.stdin.close()
        said = child.stderr.read()
    after = os.times()
    assert child.returncode == 0, said
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    return Path("answer").read_text(), int(said.split()[-1]) * 1024, cpu_s


# What comes out.


def test_the_written_scenario_runs_as_it_is() -> None:
    answer = call(str(FIVE), "--service", "default/my-nodeport-service", "--out", "web.yaml")
    assert (answer.exit_code, answer.output) == (0, "web.yaml\n")
    tiny = ["--set", "duration=0.5s", "--replications", "1", "--engine", "simpy", "-o", "json"]
    ended = CliRunner().invoke(main, ["run", "web.yaml", *tiny])
    assert json.loads(ended.stdout)["requests"]["succeeded"] > 0


def test_standard_input_a_file_and_several_files_give_the_same() -> None:
    objects = healthy()
    file = written(objects, Path())
    for n, each in enumerate(objects.values()):
        Path(f"{n}.json").write_text(json.dumps(each))
    parts = [f"{n}.json" for n in range(len(objects))]
    answers = [call(str(file)), call("-", given=file.read_text()), call(given=file.read_text()), call(*parts)]
    assert {answer.exit_code for answer in answers} == {0}
    assert len({answer.stdout for answer in answers}) == 1


def test_the_services_are_listed_for_people_and_for_machines() -> None:
    rows = json.loads(call(str(FIVE), "--list", "-o", "json").stdout)
    names = {f"{i['metadata']['namespace']}/{i['metadata']['name']}" for i in items(FIVE, "Service")}
    assert {row["service"] for row in rows} == names
    shown = call(str(FIVE), "--list").stdout
    assert "shop/headless is not simulated: a headless Service has no virtual address" in shown


def items(file: Path, kind: str) -> list[dict[str, dict[str, str]]]:
    return [item for item in json.loads(file.read_text())["items"] if item["kind"] == kind]


def test_metrics_become_remarks_and_a_profile_with_their_sync_prices() -> None:
    scrape = METRICS / "kube-proxy.txt"
    file = written(healthy(), Path())
    told = call(str(file), "--metrics", str(scrape), "--profile-out", "mine", "--out", "web.yaml")
    assert told.exit_code == 0, told.stderr
    text = Path("web.yaml").read_text()
    assert "# kube-proxy's metrics, since it started:" in text
    scenario = read("web.yaml")
    assert scenario.cluster.profile == "mine"
    tiny = ["--set", "duration=0.2s", "--replications", "1", "--engine", "simpy", "-o", "json"]
    assert CliRunner().invoke(main, ["run", "web.yaml", *tiny]).exit_code == 0


def test_a_dump_that_is_too_large_to_run_names_the_import() -> None:
    with Path("large.json").open("wb") as stream:
        stream.truncate(257 * MIB)  # Sparse: it takes no room.
    answer = CliRunner().invoke(main, ["run", "large.json"])
    assert answer.exit_code == 2
    assert "is larger than 256 MiB" in answer.stderr
    assert "nodeportsim import makes a small scenario of a dump of any size" in answer.stderr


def test_an_error_leaves_nothing_behind(folder: Path) -> None:
    answer = call("nothere.json", "--out", "web.yaml")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr == "error: nothere.json cannot be read: no such file or directory\n"
    assert call("--profile-out", "mine", given="").exit_code == 2
    assert not list(folder.iterdir())


def test_the_page_shows_what_the_command_prints_and_what_was_measured() -> None:
    page = (ROOT / "docs" / "import.md").read_text()
    shown = re.search(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert shown
    assert shown[1] == call(str(FIVE), "--service", "shop/login").stdout
    largest = json.loads((ROOT / "results" / "benchmarks" / "imports.json").read_text())[-1]
    assert (largest["nodes"], largest["services"], largest["pods"]) == (5_000, 50_000, 150_000)
    assert f"is {largest['dump_mib']:,} MiB of text" in page
    read_with = f"with {largest['cpu_s']:.0f} s of CPU and {largest['peak_mib']} MiB of memory"
    assert read_with in " ".join(page.split())


# As a plugin of kubectl.


def test_it_is_installed_under_the_name_that_kubectl_looks_for() -> None:
    commands = {each.name: each.value for each in entry_points(group="console_scripts")}
    assert commands["kubectl-nodeportsim"] == commands["nodeportsim"] == "nodeportsim.cli:main"


def test_as_a_plugin_it_calls_itself_what_people_type(folder: Path) -> None:
    plugin = folder / "kubectl-nodeportsim"
    plugin.write_text(f"#!{sys.executable}\nfrom nodeportsim.cli import main\nmain()\n")
    plugin.chmod(0o755)
    usage = subprocess.run([plugin, "import", "--help"], capture_output=True, text=True, check=True).stdout
    assert "Usage: kubectl nodeportsim import" in usage
    piped = subprocess.run(
        [plugin, "import", "-"],
        input=json.dumps(healthy()["service"]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "name: web\n" in piped.stdout


# Size.


def test_memory_does_not_grow_with_the_text() -> None:
    size = sum(map(len, pieces(100, 500, 10_000)))
    answer, peak_bytes, _ = within(2**30, 100, 500, 10_000, "--service", "space-0/service-0")
    assert size > 90 * MIB
    assert peak_bytes < 150 * MIB  # Twice what the command takes for a cluster of one node.
    assert "replicas: 20 " in answer


def test_time_grows_in_proportion(folder: Path) -> None:
    def cpu_s(n: int) -> float:
        file = folder / f"{n}.json"
        file.write_text("".join(pieces(10, n, 3 * n)))
        taken = []
        for _ in range(3):
            start = time.process_time()
            gather_files([str(file)])
            taken.append(time.process_time() - start)
        return min(taken)

    small, large = cpu_s(150), cpu_s(600)
    assert large / small < 2.6**2


@pytest.mark.long
def test_five_thousand_nodes_fifty_thousand_services_fit_into_two_gibibytes() -> None:
    answer, peak_bytes, cpu_s = within(2 * 2**30, 5_000, 50_000, 150_000, "--service", "space-0/service-0")
    assert peak_bytes < 2**30
    Path("large.yaml").write_text(answer)
    scenario = read("large.yaml")
    assert (scenario.cluster.nodes, scenario.cluster.cores, scenario.service.replicas) == (5000, CORES, 3)
    background = scenario.cluster.background
    assert (background.services, background.node_ports) == (49_999, 50_000 // NODE_PORT_EVERY - 1)
    print(f"{cpu_s:.1f} s of CPU, {peak_bytes / MIB:.0f} MiB")  # noqa: T201


# Whatever it is fed.

WORDS = [
    *'{}[]:,"\\\n 0',
    "null",
    "NaN",
    "-1",
    "1e999",
    "9" * 30,
    '"x"',
    '"\\ud800"',
    "{}",
    "[]",
    "true",
    "é",
]


@pytest.mark.long
@settings(max_examples=1000)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.integers(1, 4))
def test_no_dump_however_broken_ends_in_a_traceback(seed: int, cuts: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    text = json.dumps({"kind": "List", "items": list(healthy().values())}, indent=1)
    for _ in range(cuts):
        start = chance.randrange(len(text))
        end = min(len(text), start + chance.choice([0, 1, 1, 5, 40, 4000]))
        text = text[:start] + chance.choice(WORDS) + text[end:]
    answer = call(given=text)
    assert answer.exit_code in {0, 2}, (text, answer.stderr)
    if answer.exit_code == 2:
        assert re.match(r"(error: .+|standard input:\d+:\d+: .+)\n", answer.stderr), answer.stderr
        assert answer.stdout == ""
