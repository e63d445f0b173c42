"""The smallest number of pods that does, and the cheapest families of designs, with few trials.

A trial is a simulation, so it is tried where the answer is expected first. `smallest` needs that what does
with some pods does with more: under common random numbers that is so but for pods that come in unequal
shares; it always ends at a number that does while one less does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def smallest(low: int, high: int, guess: int, does: Callable[[int], bool]) -> int | None:
    """Find the smallest number from `low` to `high` that does; None where `high` does not.

    Parameters
    ----------
    guess
        Where to try first; from there in steps that double, then by halves.
    does
        Whether a number does. What does once is taken to do from there on.
    """
    if low > high:
        return None
    below, at, step = low - 1, min(max(guess, low), high), 1
    above: int | None = None
    while above is None or above - below > 1:
        if does(at):
            above = at
            at = max(above - step, below + 1) if below == low - 1 else (below + above) // 2
        elif at == high:
            return None
        else:
            below = at
            at = min(below + step, high) if above is None else (below + above) // 2
        step *= 2
    return above
