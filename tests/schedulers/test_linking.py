"""A rare function is optimised once: in the function that Python calls (engine/compiled/linking.py)."""

from __future__ import annotations

import re
from typing import Any

from nodeportsim.engine.compiled.options import rare, step


@step
def double(x: int) -> int:
    return 2 * x


@rare
def leaf(x: int) -> int:
    return double(x) + 1


@rare
def middle(x: int) -> int:
    return leaf(x) + double(x)


@rare
def root(x: int) -> int:
    return middle(x) * leaf(x)


def functions(kind: str, compiled: Any) -> set[str]:
    """Names of ours that the module of a compiled function declares or defines."""
    (entry,) = compiled.overloads.values()
    lines = re.findall(rf"^{kind} .*@\"?(\S+?)\"?\(", entry.library.get_llvm_str(), re.MULTILINE)
    return {name for name in ("double", "leaf", "middle", "root") for line in lines if name in line}


def test_a_function_compiled_for_another_only_declares_the_rare_ones_it_calls() -> None:
    assert root(5) == (11 + 10) * 11
    assert functions("declare", middle) == {"leaf"}
    assert functions("define", middle) == {"middle"}, "a step is inlined, a rare function is elsewhere"


def test_the_function_that_python_calls_needs_nothing_else() -> None:
    assert root(5) == (11 + 10) * 11
    assert not functions("declare", root)
    assert "root" in functions("define", root)
