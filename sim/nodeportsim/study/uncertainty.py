"""Prices as their errors leave them: in each replication another profile, drawn from what is known.

A price with a standard error is drawn from the normal distribution around its value, cut off at zero: a
normal below zero is drawn again. One with bounds alone is uniform between them; any other stays. Prices are
drawn independently of each other: a profile tells no correlations (docs/models/statistics.md says what that
does). A draw is addressed by a hash of the profile that a price was measured for and of its dotted name. An
index would do as long as nobody adds a parameter; a hash moves nobody else's draw when somebody does, and two
variants that share a price share its draw, whatever else their profiles hold.
"""

from __future__ import annotations

import hashlib
import re
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from nodeportsim.engine.draws import PRICE, normal, uniform2
from nodeportsim.scenario.prices import LONG_CLASSES, ModePrices, Parameter, Part
from nodeportsim.scenario.profile import mode_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.scenario.prices import ModeKey
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

P = TypeVar("P", bound=Part)


def is_uncertain(parameter: Parameter) -> bool:
    """Say whether a price has an error, or bounds, to be drawn from."""
    return bool(parameter.error) or _bounds(parameter) is not None


def _bounds(parameter: Parameter) -> tuple[float, float] | None:
    low, high = parameter.low, parameter.high
    return None if low is None or high is None or low >= high else (low, high)


def sampled_prices(scenario: Scenario, profile: Profile) -> list[str]:
    """Name the prices that are drawn for a scenario: of the host and of its mode."""
    used = ("host.", f"modes.{_key(scenario)}.")
    return [n for n, p in profile.parameters().items() if n.startswith(used) and is_uncertain(p)]


def sample(scenario: Scenario, profile: Profile, replication: int) -> Profile:
    """Draw the profile of one replication; both schedulers and every variant of a scenario get the same.

    Cold prices that come out below hot ones are taken as hot: they were measured to be no less.
    """

    def draw(name: str, parameter: Parameter) -> float:
        key = (scenario.run.seed, replication)
        return draw_price(parameter, place(f"{_origin(profile, parameter)} {name}"), key)

    key = _key(scenario)
    host = _drawn(profile.host, "host", draw)
    mode = _ordered(_drawn(profile.prices(key), f"modes.{key}", draw))
    return profile.model_copy(update={"host": host, "modes": profile.modes | {key: mode}})


def draw_price(parameter: Parameter, at: tuple[int, int], key: tuple[int, int]) -> float:
    """Draw one price.

    Parameters
    ----------
    at
        Its place, see `place`.
    key
        Seed and replication.
    """
    bounds = _bounds(parameter)
    for attempt in count():
        u, _ = uniform2(*key, PRICE, *at, attempt)
        if parameter.error:
            value = parameter.value + parameter.error * normal(u)
        elif bounds is not None:
            value = bounds[0] + (bounds[1] - bounds[0]) * u
        else:
            return parameter.value
        if value >= 0 or parameter.value < 0:
            return value
    raise AssertionError  # pragma: no cover - count() does not end.


def place(name: str) -> tuple[int, int]:
    """Turn a name into two words of a counter."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4]), int.from_bytes(digest[4:8])


def _origin(profile: Profile, parameter: Parameter) -> str:
    """Name the profile that measured it: what another took over errs alike in both."""
    taken = re.fullmatch(r"\.\./(.+)/profile\.yaml", parameter.source)
    return taken[1] if taken else profile.name


def _key(scenario: Scenario) -> ModeKey:
    return mode_key(scenario.cluster.proxy.mode, scenario.cluster.proxy.backend)


def _drawn(part: P, name: str, draw: Callable[[str, Parameter], float]) -> P:
    """Replace the values of all uncertain parameters below a part."""
    changed: dict[str, Part] = {}
    for field in type(part).model_fields:
        value, path = getattr(part, field), f"{name}.{field}"
        if not isinstance(value, Parameter):
            changed[field] = _drawn(value, path, draw)
        elif is_uncertain(value):
            changed[field] = value.model_copy(update={"value": draw(path, value)})
    return part.model_copy(update=changed)


def _ordered(prices: ModePrices) -> ModePrices:
    """Let no rule be cheaper out of the cache than in it."""
    changed: dict[str, Parameter] = {}
    for long in LONG_CLASSES:
        hot, cold = (getattr(prices, f"{long}_{end}_ns") for end in ("hot", "cold"))
        if cold.value < hot.value:
            changed[f"{long}_cold_ns"] = cold.model_copy(update={"value": hot.value})
    return prices.model_copy(update=changed)
