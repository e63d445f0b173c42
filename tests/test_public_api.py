"""The public names: about a dozen, documented, lazy, and nothing beside them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nodeportsim


@pytest.mark.parametrize("name", nodeportsim.__all__)
def test_every_public_name_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(nodeportsim, name)
    assert name.startswith("__") or value.__doc__


def test_the_promise_and_the_homes_are_one_list() -> None:
    assert set(nodeportsim.__all__) == {*nodeportsim._HOMES, "__version__"}
    assert dir(nodeportsim) == sorted(nodeportsim.__all__)
    assert nodeportsim.__all__ == sorted(nodeportsim.__all__)
    assert len(nodeportsim.__all__) <= 14


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        nodeportsim.simulat  # noqa: B018  # The access is the test.


def test_importing_the_package_imports_nothing_slow() -> None:
    code = "import sys, nodeportsim; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    third_party = {"numpy", "pandas", "scipy", "numba", "matplotlib", "pydantic", "yaml", "simpy", "networkx"}
    assert not third_party & set(loaded.split())
