"""How everything here is compiled, and where it is kept (`nodeportsim.engine.cache`).

Nothing is allocated in the kernel and arrays are addresses (`world`), so there are no references to count. An
earlier kernel, on Numba's arrays, switched the counts off by an undocumented option to be four times as fast.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import types

from nodeportsim.engine.cache import folder, forget_old, is_warm

from .linking import declared

if not is_warm():
    forget_old()  # About to compile: the one moment when other versions' leavings matter.

OPTIONS: Any = {"nogil": True, "error_model": "numpy", "boundscheck": False}


def jit(**options: Any) -> Any:
    """Compile with the house's options, and the cache in a folder named after the sources."""

    def wrap(f: Any) -> Any:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder())
        try:
            made = _once(numba.njit(**OPTIONS, **options)(f))
            return declared(made, is_rare="forceinline" not in options)
        finally:
            numba.config.CACHE_DIR = before

    return wrap


def _once(function: Any) -> Any:
    """Compile a function once, not anew for every constant that it is called with."""
    template = function.get_call_template

    def widened(args: Any, keywords: Any) -> Any:
        return template(tuple(types.unliteral(arg) for arg in args), keywords)

    function.get_call_template = widened
    return function


step = jit(forceinline=True)
rare = jit()
