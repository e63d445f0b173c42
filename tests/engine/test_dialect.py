"""The step files keep to what both loads understand: scalars and records, no allocation, no exceptions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nodeportsim.engine

FOLDER = Path(nodeportsim.engine.__file__).parent
STEP_FILES = (
    *("age", "arrivals", "attempts", "choice", "client", "connections", "dispatch", "draws", "entry"),
    *("liveness", "moving", "node", "pace", "pod", "pools", "ports", "race", "restraint", "tally", "wire"),
)
FORBIDDEN = (
    ast.Try, ast.Raise, ast.Assert, ast.With, ast.Lambda, ast.ListComp, ast.DictComp, ast.SetComp,
    ast.GeneratorExp, ast.JoinedStr, ast.List, ast.Dict, ast.Set, ast.Yield, ast.Global, ast.Nonlocal,
    ast.Starred, ast.FunctionDef, ast.ClassDef,
)  # fmt: skip
BUILTINS = {"abs", "int", "len", "max", "min", "range"}
EXACT = {"frexp", "ldexp", "sqrt"}  # Correctly rounded everywhere; log and exp of a C library are not.
LINES = 45


def steps(name: str) -> list[ast.FunctionDef]:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", STEP_FILES)
def test_every_function_of_a_step_file_is_a_step(name: str) -> None:
    decorated = {f.name: [ast.unparse(d) for d in f.decorator_list] for f in steps(name)}

    assert decorated
    assert all(marks in (["step"], ["rare"]) for marks in decorated.values()), decorated


@pytest.mark.parametrize("name", STEP_FILES)
def test_steps_allocate_nothing_and_raise_nothing(name: str) -> None:
    broken = [
        f"{f.name}:{node.lineno} {type(node).__name__}"
        for f in steps(name)
        for statement in f.body
        for node in ast.walk(statement)
        if isinstance(node, FORBIDDEN)
    ]

    assert broken == []


@pytest.mark.parametrize("name", STEP_FILES)
def test_steps_call_only_steps_and_a_few_builtins(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = {
        a.asname or a.name for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names
    }
    known = BUILTINS | imported | {f.name for f in steps(name)}
    called = {
        ast.unparse(node.func).split(".")[0]
        for f in steps(name)
        for node in ast.walk(f)
        if isinstance(node, ast.Call)
    }

    assert called - known == set()


@pytest.mark.parametrize("name", STEP_FILES)
def test_steps_use_no_library_but_exact_arithmetic(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    outside = [
        (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        and node.level == 0
        and node.module not in ("__future__", "typing")
        for alias in node.names
    ]

    assert not any(isinstance(node, ast.Import) for node in tree.body)
    assert all(module == "math" and name in EXACT for module, name in outside), outside


@pytest.mark.parametrize("name", STEP_FILES)
def test_steps_are_short(name: str) -> None:
    lengths = {f.name: (f.end_lineno or 0) - f.body[0].lineno + 1 for f in steps(name)}

    assert {n: lines for n, lines in lengths.items() if lines > LINES} == {}
