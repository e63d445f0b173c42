"""Random numbers and their functions: the published answers, to the last bit where that is the promise."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal, localcontext
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import special, stats
from strategies import scenarios, uneven

from nodeportsim.engine import draws
from nodeportsim.engine.build import LAWS, sigma_of
from nodeportsim.engine.simulate import simulate
from nodeportsim.scenario.declared import Law
from nodeportsim.theory.queues import service_scv

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.scenario.spec import Scenario

# Salmon et al. 2011, doi:10.1145/2063384.2063405; file kat_vectors of Random123: counter, key, answer.
KNOWN = (
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)
# What this code gave when it was written: the same bits on every machine, in every Python, for ever.
LOGS = (
    ("0x1.0000000000000p-1000", "-0x1.5a92d6d005c94p+9"),
    ("0x1.b7cdfd9d7bdbbp-34", "-0x1.7069e2aa2aa5bp+4"),
    ("0x1.999999999999ap-4", "-0x1.26bb1bbb55515p+1"),
    ("0x1.0000000000000p-1", "-0x1.62e42fefa39efp-1"),
    ("0x1.6a09e667f3bccp-1", "-0x1.62e42fefa39f1p-2"),
    ("0x1.fffffffffffffp-1", "-0x1.0000000000000p-53"),
    ("0x1.0000000000001p+0", "0x1.fffffffffffffp-53"),
    ("0x1.0000000000000p+1", "0x1.62e42fefa39efp-1"),
    ("0x1.4000000000000p+3", "0x1.26bb1bbb55516p+1"),
    ("0x1.81cd6c8b43958p+13", "0x1.2d79559791e31p+3"),
    ("0x1.7e43c8800759cp+996", "0x1.5963447f87fb5p+9"),
)
EXPS = (
    ("-0x1.5d80000000000p+9", "0x1.78694fe9f73ccp-1009"),
    ("-0x1.4800000000000p+4", "0x1.57a3afeed00abp-30"),
    ("-0x1.0000000000000p+0", "0x1.78b56362cef38p-2"),
    ("-0x1.12e0be826d695p-30", "0x1.fffffff768fa1p-1"),
    ("0x0.0p+0", "0x1.0000000000000p+0"),
    ("0x1.12e0be826d695p-30", "0x1.000000044b830p+0"),
    ("0x1.62e42fead449cp-2", "0x1.6a09e66640654p+0"),
    ("0x1.0000000000000p+0", "0x1.5bf0a8b14576ap+1"),
    ("0x1.29c5c4630ff0ep+1", "0x1.47b1f5cf2d1ffp+3"),
    ("0x1.4800000000000p+4", "0x1.7d6c4f0bcdd5cp+29"),
    ("0x1.5d80000000000p+9", "0x1.5c36fb1036d55p+1008"),
)
NORMALS = (
    ("0x1.0000000000000p-53", "-0x1.06b48528cea51p+3"),
    ("0x1.12e0be826d695p-30", "-0x1.7fdc11f44b5a7p+2"),
    ("0x1.47ae147ae147bp-7", "-0x1.29c5c4630ff0ep+1"),
    ("0x1.2f1a9fbe76c8bp-4", "-0x1.72567aa9caedap+0"),
    ("0x1.3333333333333p-4", "-0x1.7085226d3e523p+0"),
    ("0x1.3333333333333p-2", "-0x1.0c7e39582c5fap-1"),
    ("0x1.0000000000000p-1", "0x0.0p+0"),
    ("0x1.6666666666666p-1", "0x1.0c7e39582c5fap-1"),
    ("0x1.d99999999999ap-1", "0x1.7085226d3e524p+0"),
    ("0x1.fae147ae147aep-1", "0x1.29c5c4630ff0cp+1"),
    ("0x1.fffffffffffffp-1", "0x1.06b48528cea51p+3"),
)
FAMILY = 0.01  # Error level of all statistical tests of this file together; there are ten.
LEVEL = FAMILY / 10


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    assert list(draws.philox(*words(key), *words(counter))) == words(answer)


def test_uniforms_are_the_leading_bits_of_the_words() -> None:
    a, b, c, d = draws.philox(1, 2, 3, 4, 5, 6)
    first, second = draws.uniform2(1, 2, 3, 4, 5, 6)
    assert first == (((a >> 6) << 26 | (b >> 6)) + 0.5) / 2**52
    assert second == (((c >> 6) << 26 | (d >> 6)) + 0.5) / 2**52
    assert draws.uniform4(1, 2, 3, 4, 5, 6) == tuple((word + 0.5) / 2**32 for word in (a, b, c, d))


@pytest.mark.parametrize("word", [0, 0xFFFFFFFF])
def test_a_uniform_is_never_0_and_never_1(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "philox", lambda *_: (word,) * 4)
    for u in (*draws.uniform2(0, 0, 0, 0, 0, 0), *draws.uniform4(0, 0, 0, 0, 0, 0)):
        assert 0.0 < u < 1.0
        assert math.isfinite(draws.log(u))
        assert math.isfinite(draws.normal(u))


def ulps(got: float, exact: Decimal) -> float:
    return float(abs(Decimal(got) - exact) / Decimal(math.ulp(float(exact))))


@given(st.floats(2.0**-60, 1.0, exclude_max=True) | st.floats(1e-300, 1e300))
@settings(max_examples=1000)
def test_log_is_within_one_unit_in_the_last_place(x: float) -> None:
    with localcontext(prec=50):
        assert ulps(draws.log(x), Decimal(x).ln()) <= 1.0


@given(st.floats(-20.0, 20.0) | st.floats(-699.0, 699.0))
@settings(max_examples=1000)
def test_exp_is_within_one_unit_in_the_last_place(x: float) -> None:
    with localcontext(prec=50):
        assert ulps(draws.exp(x), Decimal(x).exp()) <= 1.0


@pytest.mark.parametrize(
    ("function", "answers"), [(draws.log, LOGS), (draws.exp, EXPS), (draws.normal, NORMALS)]
)
def test_functions_give_the_frozen_bits(
    function: Callable[[float], float], answers: tuple[tuple[str, str], ...]
) -> None:
    for x, y in answers:
        assert function(float.fromhex(x)).hex() == y


def test_inverse_normal_is_scipys_to_sixteen_digits() -> None:
    tails = 2.0 ** -np.arange(2.0, 53.0)
    u = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 4001), tails, 1 - tails])
    own = np.array([draws.normal(float(x)) for x in u])
    assert own == pytest.approx(special.ndtri(u), rel=2e-15, abs=2e-16)


@pytest.mark.parametrize("entity", [0, 1, 999_999])
def test_uniforms_fill_the_unit_interval_evenly(entity: int) -> None:
    u = [x for k in range(5000) for x in draws.uniform2(1, 0, draws.ARRIVAL, entity, k, 0)]
    assert stats.chisquare(np.histogram(u, 64, (0, 1))[0]).pvalue > LEVEL


@pytest.mark.parametrize(
    "neighbour",
    [(1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 0, 1)],
    ids=["next replication", "next purpose", "next entity", "next attempt"],
)
def test_neighbouring_counters_are_independent(neighbour: tuple[int, ...]) -> None:
    """Pairs (draw, draw of the neighbour) fill the unit square evenly."""
    replication, purpose, entity, number, attempt = neighbour
    pairs = [
        (
            draws.uniform2(7, 0, draws.ARRIVAL, 3, k, 0)[0],
            draws.uniform2(7, replication, draws.ARRIVAL + purpose, 3 + entity, k + number, attempt)[0],
        )
        for k in range(6400)
    ]
    counts, *_ = np.histogram2d(*np.transpose(pairs), bins=8, range=((0, 1), (0, 1)))
    assert stats.chisquare(counts.ravel()).pvalue > LEVEL


@pytest.mark.parametrize(
    "law",
    [
        Law(dist="constant", mean_s=0.25),
        Law(dist="exponential", mean_s=0.25),
        Law(dist="uniform", mean_s=0.25),
        Law(dist="lognormal", mean_s=0.25, p99_s=1.25),
    ],
    ids=lambda law: law.dist,
)
def test_laws_have_their_mean_variance_and_p99(law: Law) -> None:
    """By integration over the uniform, so without chance: the midpoint rule on 200,000 places."""
    places = 200_000
    u = (np.arange(places) + 0.5) / places
    x = np.array([draws.draw_law(LAWS[law.dist], law.mean_s, sigma_of(law), float(v)) for v in u])
    assert x.mean() == pytest.approx(law.mean_s, rel=1e-3)
    variance = service_scv(law.dist, law.mean_s, law.p99_s) * law.mean_s**2
    assert x.var() == pytest.approx(variance, rel=1e-2, abs=1e-12)
    if law.p99_s is not None:
        at_99 = draws.draw_law(LAWS[law.dist], law.mean_s, sigma_of(law), 0.99)
        assert at_99 == pytest.approx(law.p99_s, rel=1e-12)


def test_every_purpose_has_a_number_of_its_own() -> None:
    clients = ("ARRIVAL", "ATTEMPT", "BACKOFF", "THINK", "JITTER", "POOL", "CHOICE", "SPREAD")
    control = ("LEASE", "MONITOR", "POSITION", "RELIST", "CHECK", "TURN", "WATCH", "PRICE")
    names = (*clients, *control)
    numbers = [getattr(draws, name) for name in names]
    assert len(set(numbers)) == len(numbers)


def test_a_counter_says_who_and_why() -> None:
    """No two of the small counters meet the same words."""
    counters = list(product((1, 2), (0, 1), range(1, 6), range(4), range(8), (0, 1, 256)))
    assert len({draws.philox(*counter) for counter in counters}) == len(counters)


@given(scenarios())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_drawn_twice_in_a_run(scenario: Scenario) -> None:
    """Each draw is used for one thing: a packet that is sent again has its own chance of being lost.

    Only a request that found no idle connection may ask again with the draw it did not use.
    """
    drawn: Counter[tuple[int, ...]] = Counter()
    philox = draws.philox

    def noted(*counter: int) -> tuple[int, int, int, int]:
        drawn[counter[2:]] += 1
        return philox(*counter)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draws, "philox", noted)
        simulate(scenario, engine="simpy", profile=uneven(0.5))
    again = [counter for counter, times in drawn.items() if times > 1 and counter[0] != draws.POOL]
    assert again == []
