"""A testbed for tests that need a kernel, and the reason where there can be none."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from nodeportsim.calibrate.measuring import system
from nodeportsim.calibrate.measuring.testbed import Bed, build

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def machine() -> None:
    """Skip where no network namespaces can be made, by trying."""
    lacking = system.missing()
    if lacking:
        pytest.skip(f"needs {lacking}")
    name = f"nps-test-{os.getpid()}-veth"
    try:
        system.run("ip", "netns", "add", name)
        system.run("ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "other")
    except system.CommandError as error:
        pytest.skip(f"needs network namespaces and veth: {error}")
    finally:
        with contextlib.suppress(system.CommandError):
            system.run("ip", "netns", "del", name)


@pytest.fixture
def bed(machine: None) -> Iterator[Bed]:  # noqa: ARG001  (it skips)
    with build() as made:
        yield made
