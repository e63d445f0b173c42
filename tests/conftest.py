"""What every test shares: the helpers beside this file, and how hypothesis searches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis

if TYPE_CHECKING:
    import pytest

# `import synthetic` and `import oracle` work in every test folder; pytest's importlib mode adds no paths.
sys.path.insert(0, str(Path(__file__).parent))

# No deadline: the machines are noisy. Fixed examples: a change fails for its own reasons, not by luck.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first, or one processor waits at the end for the other."""
    items.sort(key=lambda item: "node_failure_retry" not in item.name)
