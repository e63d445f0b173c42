"""The formulas of queueing theory against tables, generators solved as matrices, and sampled queues."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.theory import queues

Z = NormalDist().inv_cdf(1 - 5e-6)  # Two-sided error of each sampled check: 1e-5.
LOADS = st.floats(0.05, 0.95)


def stationary(births: list[float], deaths: list[float]) -> np.ndarray:
    """Solve the generator of a birth-death chain as a linear system."""
    size = len(births) + 1
    generator = np.zeros((size, size))
    for n, (birth, death) in enumerate(zip(births, deaths, strict=True)):
        generator[n, n + 1] = birth
        generator[n + 1, n] = death
    generator -= np.diag(generator.sum(axis=1))
    system = np.vstack((generator.T, np.ones(size)))
    return np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0]


def test_littles_law_gives_the_published_closed_loop_of_500_connections() -> None:
    # Published: 125,680 requests/s at 3.978 ms with 500 connections; the mean is rounded to the microsecond.
    assert queues.little_count(125_680, 0.0039775) <= 500 <= queues.little_count(125_680, 0.0039785)


@pytest.mark.parametrize(
    ("servers", "erlangs"), [(1, 0.0101), (5, 1.36), (10, 4.46), (20, 12.0), (100, 84.1)]
)
def test_erlang_b_loses_one_percent_at_the_offered_load_of_the_tables(servers: int, erlangs: float) -> None:
    # Erlang B table, column 0.01 (Kleinrock 1975, and any teletraffic handbook), three digits.
    half_digit = 10.0 ** (math.floor(math.log10(erlangs)) - 2) / 2
    assert (
        queues.erlang_b(erlangs - half_digit, servers)
        <= 0.01
        <= queues.erlang_b(erlangs + half_digit, servers)
    )


@pytest.mark.parametrize("servers", [0, 1, 7, 40])
def test_erlang_b_is_the_last_term_over_the_sum_of_the_truncated_poisson_law(servers: int) -> None:
    terms = [Fraction(17, 4) ** k / math.factorial(k) for k in range(servers + 1)]
    assert queues.erlang_b(4.25, servers) == pytest.approx(float(terms[-1] / sum(terms)), rel=1e-13)


@given(load=LOADS, servers=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_the_share_that_waits_and_the_mean_wait_are_those_of_the_chain_itself(
    load: float, servers: int
) -> None:
    # p_n of M/M/c summed term by term until the tail, p_n rho / (1 - rho), is below rounding.
    size = servers + math.ceil(40 / -math.log(load))
    ratios = [load * servers / min(n, servers) for n in range(1, size)]
    states = np.cumprod([1.0, *ratios])
    states /= states.sum()
    waiting = states @ np.maximum(np.arange(size) - servers, 0)
    assert queues.erlang_c(load * servers, servers) == pytest.approx(states[servers:].sum(), rel=1e-9)
    assert queues.mmc_wait_s(load * servers / 0.02, 0.02, servers) == pytest.approx(
        waiting / (load * servers) * 0.02, rel=1e-9
    )


@given(load=LOADS, time_s=st.floats(0, 50))
def test_one_exponential_server_has_an_exponential_response(load: float, time_s: float) -> None:
    expected = 1 - math.exp(-(1 - load) * time_s)
    assert queues.mmc_response_cdf(time_s, load, 1.0) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize(("servers", "load"), [(2, 0.5), (2, 0.9), (8, 0.3), (8, 0.95)])
def test_the_response_of_mmc_is_that_of_sampled_arrivals(servers: int, load: float) -> None:
    # An arrival finds n present with p_n; n - c + 1 departures, each exponential of rate c, free a server.
    # (2, 0.5) is the degenerate case: the queue drains at the rate at which one server serves.
    rng = np.random.default_rng(1)
    states = queues.mmck_states(load * servers, 1.0, servers, servers + 800)
    present = rng.choice(len(states), size=200_000, p=states)
    response_s = rng.gamma(np.maximum(present - servers + 1, 0)) / servers + rng.exponential(size=200_000)
    for time_s in (0.2, 1.0, 3.0):
        expected = queues.mmc_response_cdf(time_s, load * servers, 1.0, servers)
        half_width = Z * math.sqrt(expected * (1 - expected) / 200_000)
        assert abs(float(np.mean(response_s <= time_s)) - expected) <= half_width


@given(quantile=st.floats(0.01, 0.9999), load=LOADS, servers=st.integers(1, 16))
@settings(max_examples=50)
def test_a_quantile_inverts_the_distribution_function(quantile: float, load: float, servers: int) -> None:
    time_s = queues.mmc_response_quantile_s(quantile, load * servers, 1.0, servers)
    assert queues.mmc_response_cdf(time_s, load * servers, 1.0, servers) == pytest.approx(quantile, abs=1e-9)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (2, 0.8), (5, 0.9), (16, 0.7), (150, 0.97)])
def test_the_wait_of_mdc_is_that_of_its_embedded_chain(servers: int, load: float) -> None:
    # Every service time the c in service leave and Poisson arrivals come: p = p T, solved as it stands.
    size, mean = servers + 600, load * servers  # The tail falls by 1 + 2 (1 - load) a state, at the least.
    arrive = queues._poisson(mean, size)
    move = np.zeros((size, size))
    for present in range(size):
        left = max(present - servers, 0)
        move[present, left:] = arrive[: size - left]
    move[:, -1] += 1 - move.sum(axis=1)
    system = move.T - np.eye(size)
    system[0] = 1.0  # One balance follows from the others; the probabilities sum to 1 instead.
    states = np.linalg.solve(system, np.eye(size)[0])
    waiting = states @ np.maximum(np.arange(size) - servers, 0)
    assert queues.mdc_wait_s(mean, 1.0, servers) == pytest.approx(waiting / mean, rel=1e-7)


def erlang_1909(time: Decimal, load: Decimal) -> float:
    """P(wait <= time) in M/D/1 with service 1: Erlang's alternating series, in 80 digits."""
    with localcontext() as context:
        context.prec = 80
        total = Decimal(0)
        for j in range(int(time) + 1):
            x = load * (j - time)
            total += x**j / math.factorial(j) * (-x).exp() if j else (-x).exp()
        return float((1 - load) * total)


@pytest.mark.parametrize("load", ["0.1", "0.5", "0.95"])
@pytest.mark.parametrize("time", ["0", "0.3", "1", "2.5", "7.75", "40.125"])
def test_the_wait_of_md1_follows_erlangs_series(load: str, time: str) -> None:
    expected = erlang_1909(Decimal(time), Decimal(load))
    assert queues.md1_wait_cdf(float(time) * 0.01, float(load) / 0.01, 0.01) == pytest.approx(
        expected, abs=1e-12
    )


def test_the_mean_of_the_md1_law_is_pollaczek_and_khinchines() -> None:
    # E W = integral of P(W > t); the trapezium rule between the kinks at whole service times.
    grid = np.linspace(0, 60, 60 * 32 + 1)
    above = [1 - queues.md1_wait_cdf(t, 0.8, 1.0) for t in grid]
    expected = queues.mg1_wait_s(0.8, 1.0, scv=0.0)
    # The rule errs by h^2/12 times the total change of the slope, lambda at the most; a step is 1/32.
    assert float(np.trapezoid(above, grid)) == pytest.approx(expected, abs=0.8 / 12 / 32**2)


def test_quantiles_of_md1_start_at_the_service_time_and_invert_beyond() -> None:
    assert queues.md1_response_quantile_s(0.15, 0.8, 1.0) == 1.0
    p99_s = queues.md1_response_quantile_s(0.99, 0.8, 1.0)
    assert queues.md1_wait_cdf(p99_s - 1.0, 0.8, 1.0) == pytest.approx(0.99, abs=1e-9)


@given(load=LOADS)
def test_mg1_holds_both_mm1_and_md1(load: float) -> None:
    assert queues.mg1_wait_s(load, 1.0, queues.service_scv("exponential")) == pytest.approx(
        queues.mmc_wait_s(load, 1.0), rel=1e-12
    )
    assert queues.mg1_wait_s(load, 1.0, queues.service_scv("constant")) == pytest.approx(
        queues.mdc_wait_s(load, 1.0), rel=1e-12
    )


@pytest.mark.parametrize("dist", ["uniform", "lognormal"])
def test_mg1_waits_as_long_as_lindleys_recursion(dist: str) -> None:
    rng = np.random.default_rng(2)
    shape = (4000, 400)  # Customers, independent queues.
    if dist == "uniform":
        service_s = rng.uniform(0, 2, shape)
    else:
        sigma = queues.lognormal_sigma(1.0, 4.0)
        service_s = rng.lognormal(-(sigma**2) / 2, sigma, shape)
    gaps_s = rng.exponential(2.0, shape)
    wait_s, total = np.zeros(400), np.zeros(400)
    for n in range(4000):
        total += wait_s * (n >= 1000)
        wait_s = np.maximum(wait_s + service_s[n] - gaps_s[n], 0)
    means = total / 3000
    expected = queues.mg1_wait_s(0.5, 1.0, queues.service_scv(dist, 1.0, 4.0))
    assert abs(means.mean() - expected) <= Z * means.std(ddof=1) / math.sqrt(400)


@given(mean_s=st.floats(1e-4, 10), factor=st.floats(1.01, 14.9))
def test_the_log_normal_law_has_the_percentile_it_was_asked_for(mean_s: float, factor: float) -> None:
    sigma = queues.lognormal_sigma(mean_s, factor * mean_s)
    log_mean = math.log(mean_s) - sigma**2 / 2
    assert NormalDist(log_mean, sigma).cdf(math.log(factor * mean_s)) == pytest.approx(0.99, abs=1e-9)
    assert queues.service_scv("lognormal", mean_s, factor * mean_s) == pytest.approx(math.exp(sigma**2) - 1)


@given(load=st.floats(0.1, 5), servers=st.integers(1, 5), room=st.integers(0, 12))
@settings(max_examples=40)
def test_a_bounded_station_has_the_states_of_its_generator(load: float, servers: int, room: int) -> None:
    capacity = servers + room
    expected = stationary([load * servers] * capacity, [min(n, servers) for n in range(1, capacity + 1)])
    states = queues.mmck_states(load * servers, 1.0, servers, capacity)
    assert states == pytest.approx(expected, abs=1e-10)
    served = float(np.minimum(np.arange(capacity + 1), servers) @ expected)
    response_s = (
        float(np.arange(capacity + 1) @ expected) / served
    )  # Little, by what leaves instead of what enters.
    assert queues.mmck_response_s(load * servers, 1.0, servers, capacity) == pytest.approx(
        response_s, rel=1e-8
    )


def test_a_bounded_station_without_a_waiting_room_loses_by_erlang_b() -> None:
    assert queues.mmck_states(6.0, 1.0, 8, 8)[-1] == pytest.approx(queues.erlang_b(6.0, 8), rel=1e-12)


@given(clients=st.integers(1, 60), think_s=st.floats(0.01, 5))
@settings(max_examples=40)
def test_a_closed_group_follows_mean_value_analysis(clients: int, think_s: float) -> None:
    # Reiser & Lavenberg 1980 (doi:10.1145/322186.322195): an arrival sees the group without itself.
    present = response_s = throughput_rps = 0.0
    for n in range(1, clients + 1):
        response_s = 0.1 * (1 + present)
        throughput_rps = n / (think_s + response_s)
        present = throughput_rps * response_s
    answer = queues.closed(clients, think_s, 0.1)
    assert answer.response_s == pytest.approx(response_s, rel=1e-9)
    assert answer.throughput_rps == pytest.approx(throughput_rps, rel=1e-9)


@given(clients=st.integers(1, 40), servers=st.integers(1, 8), think_s=st.floats(0.0, 5))
@settings(max_examples=40)
def test_a_closed_group_obeys_the_interactive_law_and_its_asymptotes(
    clients: int, servers: int, think_s: float
) -> None:
    answer = queues.closed(clients, think_s, 0.1, servers)
    assert answer.response_s == pytest.approx(clients / answer.throughput_rps - think_s, rel=1e-9, abs=1e-9)
    ceiling_rps = min(servers / 0.1, clients / (think_s + 0.1))
    assert 0 < answer.throughput_rps <= ceiling_rps * (1 + 1e-9)
    if clients <= servers:  # Nobody waits.
        assert answer.throughput_rps == pytest.approx(ceiling_rps, rel=1e-9)


@given(unit_s=st.floats(1e-4, 100), load=LOADS, servers=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_every_answer_scales_with_the_unit_of_time(unit_s: float, load: float, servers: int) -> None:
    offered = load * servers

    def answers(service_s: float) -> list[float]:
        rate_rps = offered / service_s
        single_rps = load / service_s
        times_s = [
            queues.mmc_wait_s(rate_rps, service_s, servers),
            queues.mmc_response_quantile_s(0.9, rate_rps, service_s, servers),
            queues.mg1_wait_s(single_rps, service_s, 0.7),
            queues.md1_response_quantile_s(0.99, single_rps, service_s),
            queues.mmck_response_s(rate_rps, service_s, servers, servers + 3),
            queues.closed(9, 2 * service_s, service_s, servers).response_s,
        ]
        shares = [
            queues.mmc_response_cdf(1.5 * service_s, rate_rps, service_s, servers),
            queues.md1_wait_cdf(1.5 * service_s, single_rps, service_s),
            float(queues.mmck_states(rate_rps, service_s, servers, servers + 3)[-1]),
        ]
        return [time_s / service_s for time_s in times_s] + shares

    assert answers(unit_s) == pytest.approx(answers(1.0), rel=1e-8)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("arrival_rps", lambda: queues.mmc_wait_s(100.0, 0.01)),
        ("offered_erlangs", lambda: queues.erlang_c(4.0, 4)),
        ("servers", lambda: queues.mdc_wait_s(1.0, 0.5, 0)),
        ("capacity", lambda: queues.mmck_states(1.0, 1.0, 4, 3)),
        ("service_s", lambda: queues.closed(1, 1.0, math.inf)),
        ("p99_s", lambda: queues.lognormal_sigma(1.0, 15.0)),
        ("p99_s", lambda: queues.service_scv("lognormal", 1.0)),
        ("dist", lambda: queues.service_scv("pareto")),
        ("quantile", lambda: queues.mmc_response_quantile_s(1.0, 0.5, 1.0)),
        ("quantile", lambda: queues.md1_response_quantile_s(-0.1, 0.5, 1.0)),
        ("time_s", lambda: queues.md1_wait_cdf(-1.0, 0.5, 1.0)),
    ],
)
def test_an_argument_outside_its_domain_is_named(field: str, call: object) -> None:
    with pytest.raises(InputError) as refusal:
        call()  # type: ignore[operator]  # Lambdas of different result types.
    assert refusal.value.field == field
