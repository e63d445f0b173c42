"""What every test shares: the helpers beside this file, and how hypothesis searches."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis

# `import synthetic` and `import oracle` work in every test folder; pytest's importlib mode adds no paths.
sys.path.insert(0, str(Path(__file__).parent))

# No deadline: the machines are noisy. Fixed examples: a change fails for its own reasons, not by luck.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")
