"""Files to scenarios: located errors, `--set`, round trips, and that no input ends in a traceback."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.scenario.clients import Backoff, Clients, Retry
from nodeportsim.scenario.read import example_path, examples, read, write
from nodeportsim.scenario.spec import Cluster, Event, Network, Placement, Pods, Run, Scenario, Service

WEB = """\
apiVersion: nodeportsim/v1
kind: Scenario
cluster:
  nodes: 5
  proxy: {mode: ipvs}
service: {replicas: 10}
clients:
  rate: 3000/s
  timeouts: {connect: 2s}
events:
  - {at: 60s, node: node-3, fault: power-off}
run: {duration: 180s}
thresholds: {latency.p99: "<50ms"}
"""


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("web.yaml")
    path.write_text(WEB)
    return path


def refusal(path: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_file_is_a_scenario_named_after_it(web: Path) -> None:
    scenario = read(web)
    assert scenario.name == "web"
    assert scenario.cluster.nodes == 5
    assert scenario.clients[0].rate_rps == 3000.0
    assert scenario.clients[0].timeouts.connect_s == 2.0
    assert scenario.events == (Event(at_s=60.0, node="node-3", fault="power-off"),)
    assert scenario.thresholds == {"latency.p99": "<50ms"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "nodes: 5",
            "node: 5",
            "web.yaml:4:3: cluster.node is unknown\n    node: 5\n    ^\n  did you mean nodes?",
        ),
        (
            "mode: ipvs",
            "mode: ipv",
            "web.yaml:5:17: cluster.proxy.mode must be 'iptables', 'ipvs' or 'nftables' (got",
        ),
        (
            "3000/s",
            "3000",
            "web.yaml:8:9: clients.rate needs a unit, as in 200/s (got 3000)\n    rate: 3000\n          ^",
        ),
        (
            "connect: 2s",
            "connect: 2 lightyears",
            "web.yaml:9:23: clients.timeouts.connect must be a number with one of the units ns, us, µs, ms,",
        ),
        (
            "connect: 2s",
            "connect: -2s",
            "web.yaml:9:23: clients.timeouts.connect must be at least 0 (got '-2s')",
        ),
        ("180s", "1e12s", "web.yaml:12:17: run.duration must be at most 1e+09 (got '1e12s')"),
        (
            "replicas: 10",
            "replicas: 10.5",
            "web.yaml:6:21: service.replicas must be a whole number (got 10.5)",
        ),
        (
            "replicas: 10",
            "replicas: '10'",
            "web.yaml:6:21: service.replicas must be a whole number (got '10')",
        ),
        (
            "replicas: 10",
            "replicas: true",
            "web.yaml:6:21: service.replicas must be a whole number (got True)",
        ),
        (
            "replicas: 10",
            "replicas: null",
            "web.yaml:6:21: service.replicas must be a whole number (got 'null')",
        ),
        ("replicas: 10", "replicas: 9999999", "web.yaml:6:21: service.replicas must be at most 150000"),
        ("nodes: 5", "zones: 1:30", "web.yaml:4:10: 1:30 is a number to the base of 60 in YAML 1.1"),
        (
            "node: node-3",
            "node: node-9",
            "web.yaml:11:21: events.0.node names no node of this scenario; there are node-1, node-2, node-3,",
        ),
        ("fault: power", "fail: power", "web.yaml:11:29: events.0.fail is unknown"),
        (
            "node: node-3, ",
            "",
            "web.yaml:11:22: events.0.fault happens to a node: give node or zone",
        ),
        ("at: 60s, ", "", "web.yaml:11:5: events.0.at is missing"),
        ("kind: Scenario", "kind: Scenaro", "web.yaml:2:7: kind must be 'Scenario' (got 'Scenaro')"),
        ("sim/v1", "sim/v2", "web.yaml:1:13: apiVersion must be 'nodeportsim/v1' (got 'nodeportsim/v2')"),
        ("kind: Scenario", "kind: Experiment", "web.yaml:2:7: is an experiment, not a scenario"),
        (
            "<50ms",
            "50ms",
            'web.yaml:13:27: thresholds.latency.p99 must be a limit such as "<50ms" or "<=0.5%"',
        ),
        (
            "kind: Scenario",
            "name: ../../etc",
            "web.yaml:2:7: name must be a name: letters, digits, and . _ -",
        ),
        (
            "  nodes: 5",
            "  kubernetesVersion: 1.30",
            "web.yaml:4:22: cluster.kubernetesVersion must be text (got 1.3)",
        ),
        ("  nodes: 5", "  objects: nope.json", "nope.json cannot be read: no such file or directory"),
        ("  nodes: 5", "  objects: 5", "web.yaml:4:12: cluster.objects must be text (got 5)"),
        ("run:", "---\nkind: Scenario\nrun:", "web.yaml:13:1: holds a second scenario"),
        ("cluster:", "cluster: 5\nclusters:", "web.yaml:3:10: cluster must be a mapping (got 5)"),
    ],
)
def test_an_error_says_where_which_field_and_what_to_do(web: Path, old: str, new: str, expected: str) -> None:
    web.write_text(WEB.replace(old, new, 1))
    assert refusal(web).startswith(expected)


def test_all_errors_are_told_the_first_in_full_the_others_briefly(web: Path) -> None:
    web.write_text(WEB.replace("nodes: 5", "nodes: 0").replace("3000/s", "3000").replace("180s", "-1s"))
    assert refusal(web) == (
        "web.yaml:4:10: cluster.nodes must be at least 1 (got 0)\n    nodes: 0\n           ^\n"
        "  also: clients.rate needs a unit, as in 200/s; run.duration must be more than 0"
    )
    web.write_text("cluster: {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1}")
    assert refusal(web).endswith("cluster.f is unknown; 2 more")


def test_python_names_are_no_file_names(web: Path) -> None:
    web.write_text(WEB.replace("duration: 180s", "duration_s: 180s"))
    assert "run.duration_s is unknown" in refusal(web)


def test_a_change_by_set_is_told_as_such(web: Path) -> None:
    assert read(web, sets=["nodes=7", "clients.retry.attempts=3"]).clients[0].retry.attempts == 3
    expected = "cluster.nodes must be at least 1 (got 0)\n  given by --set nodes=0"
    assert refusal(web, sets=["nodes=0"]) == expected


def test_null_bytes_folders_and_missing_files_are_refused(web: Path, tmp_path: Path) -> None:
    assert refusal("nope.yaml") == "nope.yaml cannot be read: no such file or directory"
    assert refusal(tmp_path).endswith("cannot be read: is a directory")
    assert refusal("a\0b").endswith("cannot be read: embedded null byte")
    web.write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert refusal(web) == "web.yaml:1:1: is binary or UTF-16, not UTF-8 text"
    web.write_bytes(b"a: 1\nb: \xff\n")
    assert refusal(web) == "web.yaml:2:4: is not UTF-8 text (got b'\\xff')"
    web.write_text("- 1")
    assert refusal(web).startswith("web.yaml:1:1: must be a mapping (got [1])")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(web: Path) -> None:
    web.chmod(0)
    assert refusal(web) == "web.yaml cannot be read: permission denied"


def test_a_byte_order_mark_is_left_out(web: Path) -> None:
    plain = read(web)
    web.write_bytes(b"\xef\xbb\xbf" + WEB.encode())
    assert read(web) == plain
    web.write_bytes(b"\xef\xbb\xbfcluster: 5")
    assert refusal(web) == "web.yaml:1:10: cluster must be a mapping (got 5)\n  cluster: 5\n           ^"


def test_a_huge_file_is_refused_quickly(web: Path) -> None:
    web.write_bytes(b"a: [1, 2, 3]\n" * (50 * 2**20 // 13))
    start = time.process_time()
    assert "is too large to read as YAML" in refusal(web)
    assert time.process_time() - start < 2.0


# -- users' own entry policies ---------------------------------------------------------------------

CUSTOM = """\
clients:
  entry: {policy: custom, function: "policies.py:p"}
"""
CODE = "from nodeportsim import policy\n\n\n@policy\ndef p(*_):\n    return 0\n"


@pytest.mark.parametrize("name", ["policies.py", "../x.py", "deeper/p q.py"])
def test_the_text_of_a_policy_beside_the_scenario_travels_with_it(tmp_path: Path, name: str) -> None:
    """A path from the scenario's folder, wherever it leads: the file is the user's, as the scenario is."""
    folder = tmp_path / "study"
    (folder / "deeper").mkdir(parents=True)
    (folder / name).write_text(CODE)
    (folder / "web.yaml").write_text(CUSTOM.replace("policies.py", name))
    entry = read(folder / "web.yaml").clients[0].entry
    assert (entry.function, entry.code) == (f"{name}:p", CODE)


def test_a_policy_set_on_the_command_line_is_found_beside_the_scenario(web: Path) -> None:
    Path("policies.py").write_text(CODE)
    sets = ("clients.entry.policy=custom", "entry.function=policies.py:p")
    assert read(web, sets=sets).clients[0].entry.code == CODE


@pytest.mark.parametrize(
    "code",
    [CODE, "", "# ä\tß \n\n  \n# end", "x = 1\r\ny = 2\r\n", "\x0cx = 'a: b'\n#\x7f\n", "#" * 5000],
    ids=["plain", "empty", "blanks", "crlf", "control", "long"],
)
def test_any_text_of_a_policy_is_written_and_read_back_equal(tmp_path: Path, code: str) -> None:
    (tmp_path / "policies.py").write_bytes(code.encode())
    (tmp_path / "web.yaml").write_text(CUSTOM)
    scenario = read(tmp_path / "web.yaml")
    assert scenario.clients[0].entry.code == code
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "scenario.yaml").write_text(write(scenario))
    assert read(elsewhere / "scenario.yaml") == scenario


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("policies.py:p", "none.py:p", "none.py cannot be read: no such file or directory"),
        ("policies.py:p", "folder.py:p", "folder.py cannot be read: is a directory"),
        ("policies.py:p", "huge.py:p", "huge.py:1:1: is larger than 1 MiB"),
        ("policies.py:p", "latin.py:p", "latin.py:2:3: is not UTF-8 text"),
        ("policies.py:p", "policies.txt:p", "clients.entry.function must be a file and a name in it, such"),
        ("policies.py:p", "policies.py", "clients.entry.function must be a file and a name in it, such"),
        (
            ', function: "policies.py:p"',
            "",
            "clients.entry.function belongs to policy: custom, and custom needs",
        ),
        ("custom", "random", "clients.entry.function belongs to policy: custom, and custom needs"),
        ('policy: custom, function: "policies.py:p"', "code: x", "clients.entry.code must be the text"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused(web: Path, old: str, new: str, rule: str) -> None:
    Path("policies.py").write_text(CODE)
    Path("huge.py").write_text("#" * 2**20 + "\n")
    Path("latin.py").write_bytes(b"\n# \xe9\n")
    Path("folder.py").mkdir()
    web.write_text(CUSTOM.replace(old, new))
    assert rule in refusal(web)


def test_reading_a_scenario_runs_no_policy(web: Path) -> None:
    Path("policies.py").write_text("open('ran', 'w')\n")
    web.write_text(CUSTOM)
    read(web)
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", examples())
def test_every_example_asks_its_question_in_ten_to_twenty_lines(name: str) -> None:
    text = example_path(name).read_text()
    assert read(example_path(name)).name == name
    assert text.startswith("# ")
    assert text.splitlines()[0].endswith("?")
    assert 10 <= len(text.splitlines()) <= 20


def test_an_unknown_example_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match="node-fail is not an example\n  did you mean node-failure"):
        example_path("node-fail")


TIMES = st.floats(min_value=0, max_value=1e9, allow_subnormal=False)
SCENARIOS = st.builds(
    lambda nodes, rate, loss, at, back, seed, placed: Scenario(
        cluster=Cluster(nodes=nodes, network=Network(loss_ratio=loss, jitter_s=at)),
        service=Service(replicas=2),
        pods=Pods(
            placement=(Placement(name="a", node="node-1"), Placement(name="b", ready=False)) if placed else ()
        ),
        clients=(
            Clients(rate_rps=rate, retry=Retry(attempts=2, backoff=Backoff(initial_s=back))),
            Clients(name="b"),
        ),
        events=(Event(at_s=at, node="node-1", fault="cut", for_s=1.0),),
        run=Run(seed=seed, warmup_s=None if placed else min(at, 60.0) / 2),
        thresholds={"errors": "<0.1%"},
        assumptions=("no", "1:30", "a: b"),
    ),
    nodes=st.integers(1, 5000),
    rate=st.floats(min_value=1e-9, max_value=1e8),
    loss=st.floats(min_value=0, max_value=0.999, allow_subnormal=False),
    at=TIMES,
    back=TIMES,
    seed=st.integers(0, 2**32 - 1),
    placed=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(SCENARIOS)
def test_a_scenario_that_is_written_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, scenario: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(write(scenario), encoding="utf-8")
    assert read(path) == scenario


PARTS = st.sampled_from(
    [
        *(
            "no",
            "1:30",
            "null",
            "[]",
            "{}",
            "-1",
            "1e999",
            "5",
            "5s",
            "''",
            "[[[",
            "*a",
            "&a b",
            "!!x y",
            "2026-01-01",
        ),
        *(
            "cluster",
            "nodes",
            "clients",
            "rate",
            "events",
            "service",
            "kind: Service",
            "apiVersion: v1",
            "items",
        ),
    ]
)


def mutated(draw: st.DrawFn) -> str:
    """Change a valid file somewhere: a token, a line, a slice."""
    text = WEB
    for _ in range(draw(st.integers(1, 4))):
        tokens = text.replace("\n", " \n ").split(" ")
        at = draw(st.integers(0, len(tokens) - 1))
        how = draw(st.sampled_from(["replace", "delete", "double", "cut"]))
        token = draw(PARTS | st.text(max_size=5))
        tokens[at : at + 1] = {"replace": [token], "delete": [], "double": [tokens[at]] * 2, "cut": []}[how]
        text = " ".join(tokens[:at] if how == "cut" else tokens).replace(" \n ", "\n")
    return text


@settings(max_examples=1000, deadline=10_000)
@given(
    st.composite(mutated)().map(str.encode)
    | st.binary(max_size=80)
    | st.text(max_size=80).map(lambda t: t.encode())
)
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        assert isinstance(read(path), Scenario)


@settings(max_examples=500, deadline=10_000)
@given(st.text(max_size=30) | st.tuples(PARTS, PARTS | st.text(max_size=8)).map("=".join))
def test_any_set_is_applied_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "set.yaml"
    path.write_text(WEB)
    with contextlib.suppress(InputError):
        assert isinstance(read(path, sets=[text]), Scenario)


def test_the_page_about_scenarios_shows_scenarios(web: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scenario.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    assert len(blocks) == 2
    for block in blocks:
        web.write_text(block)
        read(web)
    web.write_text(WEB.replace("nodes: 5", "node: 5"))
    assert refusal(web) in page
