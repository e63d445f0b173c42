"""The engine against the laws of `tests/exact_laws.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from exact_laws import LAWS

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_engine_obeys_exactly(law: Callable[[], None]) -> None:
    law()
