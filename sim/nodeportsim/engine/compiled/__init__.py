"""The same step files a second time, under Numba.

This package's path goes on into its parent's folder: ``nodeportsim.engine.compiled.client`` is
``engine/client.py``, but its ``from .machine import step, at, ...`` finds ``compiled/machine.py``
first. Nothing is copied, generated or executed from strings, so there is one meaning.
"""

import pathlib
import sys

from nodeportsim.engine import records

__path__.append(str(pathlib.Path(__file__).parents[1]))
sys.modules[__name__ + ".records"] = records  # One World type, not two.
