"""C types of a record's fields, and the struct they make."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, get_type_hints

import numpy as np

f8 = Annotated[float, "f8"]
i8 = Annotated[int, "i8"]
i4 = Annotated[int, "i4"]


@cache
def struct(cls: type) -> np.dtype[Any]:
    """Give the C struct of a record class."""
    hints = get_type_hints(cls, include_extras=True)
    return np.dtype([(name, hint.__metadata__[0]) for name, hint in hints.items()], align=True)
