"""How everything here is compiled, and where it is kept.

Nothing is allocated in the kernel, so reference counts are switched off by the target option `_nrt`
(undocumented; what it gains is in results/benchmarks/start.json). It stands here only.
The compiled code is kept by `nodeportsim.engine.cache`.
"""

from __future__ import annotations

from typing import Any

import numba

from nodeportsim.engine.cache import folder, forget_old, is_warm

if not is_warm():
    forget_old()  # About to compile: the one moment when other versions' leavings matter.

OPTIONS: Any = {"nogil": True, "error_model": "numpy", "_nrt": False, "boundscheck": False}


def jit(**options: Any) -> Any:
    """Compile with the house's options, and the cache in a folder named after the sources."""

    def wrap(f: Any) -> Any:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder())
        try:
            return numba.njit(**OPTIONS, **options)(f)
        finally:
            numba.config.CACHE_DIR = before

    return wrap


step = jit(forceinline=True)
rare = jit()
