"""The plain path of `benchmarks/peers`: the two peers that are always installed, against theory."""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scipy.special import stdtrit

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "peers"))

import on_nodeportsim
import on_simpy
import plain
from cases import plain_profile

from nodeportsim.engine.codes import STAGES
from nodeportsim.engine.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 10


def interval_s(means_s: list[float], confidence: float = 0.999) -> tuple[float, float]:
    half_s = float(stdtrit(len(means_s) - 1, (1 + confidence) / 2)) * statistics.stdev(means_s)
    middle_s = statistics.mean(means_s)
    return middle_s - half_s / math.sqrt(len(means_s)), middle_s + half_s / math.sqrt(len(means_s))


@pytest.mark.parametrize(
    ("run", "customers"),
    [(on_nodeportsim.run, 400_000), (on_simpy.run, 30_000)],
    ids=["nodeportsim", "simpy"],
)
def test_the_mean_response_of_the_plain_path_is_that_of_theory(
    run: Callable[[int, int], plain.Measured], customers: int
) -> None:
    runs = [run(customers, seed) for seed in range(1, RUNS + 1)]
    low_s, high_s = interval_s([found.mean_s for found in runs])
    assert low_s < plain.theory_s() < high_s
    # A Poisson number of customers, or exactly as many as were asked for.
    assert all(abs(found.customers - customers) < 5 * math.sqrt(customers) for found in runs)


def test_a_customer_of_nodeportsim_waits_for_its_node_as_in_theory_and_nothing_else_takes_time() -> None:
    """M/D/1 waits; 190,000 customers' mean wait has a standard error of some 1 %: 5 % is 5 of them."""
    done = simulate(on_nodeportsim.scenario(200_000, 1), profile=plain_profile())
    stage_ns = dict(zip(STAGES, done.stage_sum_ns.sum(axis=0).tolist(), strict=True))
    rho = plain.NODE_RPS * plain.WALK_S
    wait_s = rho / (1 - rho) * plain.WALK_S / 2
    assert 1e-9 * stage_ns["node_queue"] / done.succeeded == pytest.approx(wait_s, rel=0.05)
    # The 20 us of a packet that conntrack knows belong to the wire; all else is rounding to nanoseconds.
    assert 1e-9 * stage_ns["wire"] / done.succeeded == pytest.approx(plain.WALK_S, abs=2e-9)
    others = set(STAGES) - {"wire", "node_queue", "pod_queue", "service"}
    assert sum(stage_ns[name] for name in others) < done.succeeded


def test_both_schedulers_of_nodeportsim_walk_the_same_plain_path() -> None:
    assert on_nodeportsim.run(12_000, 1, "simpy") == on_nodeportsim.run(12_000, 1, "compiled")


def test_theory_of_the_plain_path_is_pollaczek_khinchine_and_erlang() -> None:
    rho = plain.NODE_RPS * plain.WALK_S
    node_s = plain.WALK_S + rho / (1 - rho) * plain.WALK_S / 2
    erlangs = plain.POD_RPS * plain.SERVICE_S
    states = [erlangs**k / math.factorial(k) for k in range(4)]
    waiting = erlangs**4 / math.factorial(4) / (1 - erlangs / 4)
    wait_s = waiting / (sum(states) + waiting) * plain.SERVICE_S / (4 - erlangs)
    assert plain.theory_s() == pytest.approx(node_s + wait_s + plain.SERVICE_S, rel=1e-12)


def test_who_arrives_in_the_warm_up_or_too_late_is_simulated_but_not_judged() -> None:
    early, first, late = plain.WARMUP_S / 2, plain.WARMUP_S, 2.0
    found = plain.measured([(early, 9.0), (first, 1.0), (1.0, 2.0), (late, 9.0)], until_s=late)
    assert found == plain.Measured(customers=4, mean_s=(1.0 + 2.0) / 2)
