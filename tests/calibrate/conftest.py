"""A testbed for tests that need a kernel, and the reason where there can be none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nodeportsim.calibrate import system
from nodeportsim.calibrate.testbed import Bed, build
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def machine() -> None:
    """Skip where no network namespaces can be made, by trying."""
    lacking = system.missing()
    if lacking:
        pytest.skip(f"needs {lacking}")
    try:
        with build():
            pass
    except InputError as error:
        pytest.skip(f"needs network namespaces: {error}")


@pytest.fixture
def bed(machine: None) -> Iterator[Bed]:  # noqa: ARG001  (it skips)
    with build() as made:
        yield made
