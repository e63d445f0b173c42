"""`nodeportsim diagnose` as people type it: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from objects import healthy, written

from nodeportsim.cli import main

FIVE_NODES = str(Path(__file__).parents[1] / "golden" / "clusters" / "five-nodes.json")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["diagnose", *arguments])


def asked(*arguments: str) -> dict[str, Any]:
    answer = call(*arguments, "-o", "json")
    assert answer.exit_code in {0, 1}, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_a_proven_fault_ends_with_one_and_is_named_on_stderr() -> None:
    answer = call(FIVE_NODES, "--service", "shop/orphan")
    assert answer.exit_code == 1
    assert answer.stderr == "error: a fault is proven: no-endpoints, selector-matches-nothing\n"
    assert "kubectl get pods -n shop -l app=nothing --show-labels" in answer.stdout


def test_a_healthy_cluster_and_a_mere_risk_end_with_zero(tmp_path: Path) -> None:
    answer = call(str(written(healthy(), tmp_path)))
    assert answer.exit_code == 0
    assert "Nothing that the objects prove" in answer.stdout
    risky = call("--example", "local-policy")
    assert risky.exit_code == 0
    assert "hottest pod has 1.7 times the mean" in risky.stdout


def test_json_holds_what_the_text_tells() -> None:
    told = asked(
        FIVE_NODES, "--service", "shop/checkout", "--symptom", "some-nodes", "--counts", "9,9,9,9,9,9"
    )
    assert set(told) == {
        "scenario", "service", "symptoms", "lookup", "nodes", "causes", "also", "assumptions", "luck",
    }  # fmt: skip
    first = told["causes"][0]
    assert (first["cause"], first["likelihood"], first["fault"]) == (
        "local-without-endpoints",
        "proven",
        True,
    )
    assert first["numbers"] == {"dropped_ratio": pytest.approx(2 / 5)}
    text = call(FIVE_NODES, "--service", "shop/checkout", "--symptom", "some-nodes").stdout
    assert all(row["check"] in text for row in told["causes"] if row["likelihood"] != "contradicted")


def test_markdown_has_a_heading_a_cause_and_its_command_in_a_block() -> None:
    text = call(
        "--example", "keep-alive", "--symptom", "one-hot-pod", "-o", "markdown", "--counts", "9,1"
    ).stdout
    assert "### Few connections are kept, and each stays with its pod" in text
    assert "| **iptables, nftables** | each of 10 connections" in text
    assert text.count("```") % 2 == 0


def test_a_symptom_twice_is_one_and_several_join_their_causes() -> None:
    once = asked("--example", "guide", "--symptom", "1s")
    twice = asked("--example", "guide", "--symptom", "1s", "--symptom", "1s")
    assert once == twice
    both = asked("--example", "guide", "--symptom", "1s", "--symptom", "hang")
    names = {row["cause"] for row in both["causes"]}
    assert {row["cause"] for row in once["causes"]} | {"retransmissions"} <= names


def test_counts_alone_need_no_file_and_name_no_rule_in_force() -> None:
    told = asked("--counts", "977,995,585,993", "--connections", "40", "--nodes", "3", "--addresses", "9")
    assert [row["in_force"] for row in told["luck"]["rules"]] == [False] * 4
    assert told["luck"]["verdict"].startswith("luck explains this: 37 % of the time")
    assert "give --connections" not in call("--counts", "9,9", "--connections", "4").stdout
    assert "give --connections" in call("--counts", "9,9").stdout


def test_counts_come_from_files_too(tmp_path: Path) -> None:
    expected = asked("--counts", "5,6,7")["luck"]
    (tmp_path / "list.json").write_text("[5, 6, 7]")
    (tmp_path / "pods.yaml").write_text("web-a: 5\nweb-b: 6\nweb-c: 7\n")
    run = tmp_path / "run"
    run.mkdir()
    (run / "pods.csv").write_text("replication,rank,connections\n0,1,5\n0,2,6\n0,3,7\n1,1,9\n1,2,9\n1,3,9\n")
    for name in ("list.json", "pods.yaml", "run", "run/pods.csv"):
        assert asked("--counts", str(tmp_path / name))["luck"] == expected


def test_a_run_s_own_folder_can_be_asked(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    short = ("--replications", "2", "--set", "duration=2s", "--set", "clients.rate=50/s")
    simply = ("--engine", "simpy", "-o", "json", "--out", str(folder))
    done = CliRunner().invoke(main, ["run", "--example", "keep-alive", *short, *simply])
    assert done.exit_code == 0, done.output
    told = asked("--example", "keep-alive", "--counts", str(folder))
    assert len(told["luck"]["counts"]) == 10
    assert told["luck"]["rules"][0]["in_force"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--symptom", "tiemout", "--example", "guide"), "did you mean timeout?"),
        (("--symptom", "zzz", "--example", "guide"), "there are timeout, refused"),
        (("--symptom", "x" * 10**6, "--example", "guide"), "is not a symptom"),
        ((), "give a FILE or --example NAME"),
        (("--connections", "3"), "belong to --counts"),
        (("--counts", "1,2", "--symptom", "timeout"), "need a FILE"),
        (("--counts", "1,-2"), "at least 0"),
        (("--counts", "5"), "must be of 2 to 5000 pods"),
        (("--counts", ""), "numbers with commas between"),
        (("--counts", "1,,2"), "numbers with commas between"),
        (("--counts", "1e400,1"), "numbers with commas between"),
        (("--counts", "9" * 5000 + ",1"), "numbers with commas between"),
        (("--counts", "9999999,1"), "--connections must be from 1 to 1000000"),
        (("--counts", "0,0"), "must not all be 0"),
        (("--counts", "0.5,0.7"), "whole numbers of connections"),
        (("--counts", "missing.json"), "cannot be read"),
        (("--counts", "1,2", "--connections", "0"), "not in the range"),
        (("missing.yaml",), "cannot be read"),
        (("--counts", "x" * 5000), "cannot be read"),
        (("--counts", "a\0b"), "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused_with_two(arguments: tuple[str, ...], message: str) -> None:
    answer = call(*arguments)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert "Traceback" not in answer.output


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("counts.json", "[1, true]", ":1:5: must be a number"),
        ("counts.json", '{"a": 1, "b": "x"}', ":1:15: must be a number"),
        ("counts.json", "[]", ":1:1: must hold a list of counts"),
        ("counts.json", "7", ":1:1: must hold a list of counts"),
        ("counts.json", "", ":1:1: is empty"),
        ("counts.json", "[1, 2", ":1:"),
        ("counts.json", "[1, 1" + "0" * 400 + "]", "counts.json"),
        ("pods.csv", "a,b\n1,2\n", ":1:1: must have the columns"),
        ("pods.csv", "replication,connections\n0,x\n", "numbers with commas"),
        ("pods.csv", "replication,connections\n0\n", "numbers with commas"),
    ],
)
def test_a_bad_file_of_counts_is_refused_with_its_place(
    name: str, text: str, place: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    answer = call("--counts", str(tmp_path / name))
    assert answer.exit_code == 2, answer.output
    assert place in answer.stderr


def test_a_bad_object_is_refused_with_its_place(tmp_path: Path) -> None:
    given = healthy()
    given["web-2"]["spec"]["containers"][0]["ports"] = [{"containerPort": "8080"}]
    answer = call(str(written(given, tmp_path)))
    assert answer.exit_code == 2
    assert "spec.containers[0].ports[0].containerPort must be a whole number" in answer.stderr
    assert "dump.json:1:" in answer.stderr
