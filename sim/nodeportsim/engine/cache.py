"""Where the compiled steps are kept between runs.

The folder is named after the sources of the engine: an edited helper never leaves a stale caller behind
(Numba's own check looks at a function's own file alone). What older sources left is removed after a month.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from functools import cache
from pathlib import Path

SOURCES = sorted(Path(__file__).parent.rglob("*.py"))
KEPT_S = 30 * 86400.0


@cache
def folder() -> Path:
    """Return the folder of these sources: below NODEPORTSIM_CACHE, or ~/.cache/nodeportsim."""
    stamp = hashlib.sha256(b"".join(f.read_bytes() for f in SOURCES)).hexdigest()[:16]
    return _root() / stamp


def _root() -> Path:
    return Path(os.environ.get("NODEPORTSIM_CACHE") or Path.home() / ".cache" / "nodeportsim")


def is_warm() -> bool:
    """Tell whether the steps have been compiled before, so that a run can start at once."""
    return any(folder().rglob("kernel.advance*.nbi"))


def forget_old() -> None:
    """Remove what other versions of the sources left more than a month ago."""
    if not _root().is_dir():
        return
    for other in _root().iterdir():
        if other != folder() and other.is_dir() and time.time() - other.stat().st_mtime > KEPT_S:
            shutil.rmtree(other, ignore_errors=True)
