"""Inputs whose expectation is known: where they are exact, that they are, and what they take off."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from nodeportsim.scenario.clients import Clients, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, Event, Network, Pods, Run, Scenario, Service
from nodeportsim.study.compare import compare_scenarios
from nodeportsim.study.control import controls
from nodeportsim.study.run import Outcome, run
from nodeportsim.theory.queues import mmc_wait_s

STILL = Network(client_node_s=0.0, node_node_s=0.0, wake_up_s=0.0)
SERVICE_S, RATE_RPS = 0.05, 10.0


def one_server(**run_for: Any) -> Scenario:
    """M/M/1 at a load of one half, but for some 0.2 ms of rules and packets."""
    return Scenario(
        cluster=Cluster(nodes=1, network=STILL),
        service=Service(replicas=1),
        pods=Pods(workers=1, service_time=Law(mean_s=SERVICE_S)),
        clients=(Clients(rate_rps=RATE_RPS, count=10),),
        run=Run(**{"duration_s": 120.0, "replications": 30, "warmup_s": 20.0} | run_for),
    )


@cache
def outcome() -> Outcome:
    return run(one_server(), engine="simpy")


def test_arrivals_and_work_have_the_expectation_that_is_taken_off() -> None:
    """Poisson arrivals and exponential demands: each control is zero within four of its standard errors."""
    x = controls(outcome().scenario, outcome().replications, 20.0)
    assert x is not None
    errors = x.std(axis=0, ddof=1) / np.sqrt(len(x))
    assert (abs(x.mean(axis=0)) < 4 * errors).all()
    counted = RATE_RPS * 100
    assert x[:, 0].var(ddof=1) == pytest.approx(counted, rel=4 * np.sqrt(2 / len(x)))  # As Poisson counts.
    work = RATE_RPS * 120 * 2 * SERVICE_S**2  # A compound Poisson sum: rate times the second moment.
    assert x[:, 1].var(ddof=1) == pytest.approx(work, rel=4 * np.sqrt(2 / len(x)))


def test_the_controlled_mean_of_one_server_is_narrower_and_holds_the_closed_form() -> None:
    found = outcome().summary["control_variates"]["latency_s.mean"]
    plain = outcome().summary["latency_s"]["mean"]
    expected = SERVICE_S + mmc_wait_s(RATE_RPS, SERVICE_S)
    assert found["low"] <= expected * 1.005  # Rules and packets take some 0.2 % of it.
    assert found["high"] >= expected
    width = (found["high"] - found["low"]) / (plain["high"] - plain["low"])
    assert found["width_ratio"] == pytest.approx(width, rel=1e-6)
    assert width == pytest.approx(0.82, abs=0.03)  # As docs/compare.md says.
    assert found["controls"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"clients": (Clients(rate_rps=RATE_RPS, arrivals="fixed"),)},
        {"clients": (Clients(loop="closed", count=2),)},
        {"events": (Event(at_s=3.0, fault="slow-node", node="node-1", factor=2.0),)},
        {"clients": (Clients(rate_rps=RATE_RPS, timeouts=Timeouts(request_s=0.05)),)},  # Some fail.
        {"run": Run(duration_s=5.0, replications=12, warmup_s=0.0, uncertainty=True)},
    ],
)
def test_where_the_expectation_is_not_exact_there_are_no_controls(change: dict[str, Any]) -> None:
    short = one_server(duration_s=5.0, replications=12, warmup_s=0.0)
    for case, exact in ((short, True), (short.model_copy(update=change), False)):
        made = run(case, engine="simpy")
        assert (controls(case, made.replications, 0.0) is not None) == exact
        assert ("control_variates" in made.summary) == exact


def test_a_comparison_takes_off_what_the_inputs_of_both_sides_explain() -> None:
    fast = one_server(duration_s=60.0, replications=20, warmup_s=5.0)
    slow = fast.model_copy(update={"pods": Pods(workers=1, service_time=Law(mean_s=1.2 * SERVICE_S))})
    (row,) = compare_scenarios({"fast": fast, "slow": slow}, engine="simpy").controlled
    assert (row["variant"], row["metric"]) == ("slow", "latency_s.mean")
    assert row["width_ratio"] < 1
    assert row["low"] < row["estimate"] < row["high"]
