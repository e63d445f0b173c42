"""Laws of reading load tests, and of what may be said of them."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import loadtest_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loadtest_files import WRITERS
from scipy import stats

from nodeportsim.calibrate.loadtests import detect, estimates, lognormal, queueing, read_sample
from nodeportsim.calibrate.loadtests.sample import Sample, mean_bounds_s
from nodeportsim.engine.simulate import simulate
from nodeportsim.errors import InputError
from nodeportsim.metrics import histogram
from nodeportsim.scenario.clients import Clients, Connections
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.read import read
from nodeportsim.scenario.spec import Cluster, Pods, Run, Scenario, Service

DATA = Path(__file__).parent / "data"
MU, SIGMA = math.log(0.005), 0.6
OPEN = [name for name in WRITERS if name.startswith("vegeta") or name == "wrk2"]
TOLD = [name for name in WRITERS if name != "vegeta hdrplot"]  # It tells no rate.


def latencies_s(seed: int, n: int = 1000, mu: float = MU, sigma: float = SIGMA) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(mu, sigma, n)


def written(name: str, times_s: np.ndarray, rate_rps: float = 100.0, connections: int = 1) -> Sample:
    return read_sample(name, WRITERS[name](times_s, rate_rps, connections))


def fewest_covering(trials: int) -> int:
    """The fewest of so many 95 % intervals that cover, but for one case in a thousand."""
    return int(stats.binom.ppf(0.001, trials, 0.95))


# Reading.


@pytest.mark.parametrize("name", WRITERS)
def test_the_content_names_the_tool(name: str) -> None:
    text = WRITERS[name](latencies_s(1, 50), 100.0, 1)
    assert (
        (detect(text) or "").split(maxsplit=1)[0]
        == name.split(maxsplit=1)[0]
        == written(name, latencies_s(1, 50)).tool
    )


@pytest.mark.parametrize("name", WRITERS)
def test_count_and_mean_are_those_of_the_latencies(name: str) -> None:
    times_s = latencies_s(2)
    sample = written(name, times_s)
    assert (sample.requests, sample.count, sample.errors) == (1000, 1000, 0)
    resolution = 0.05 if name == "vegeta hdrplot" else 1e-4  # Its mean is that of its rows.
    assert sample.mean_s == pytest.approx(times_s.mean(), rel=resolution)


@pytest.mark.parametrize("name", TOLD)
def test_the_rate_is_the_tools(name: str) -> None:
    step = 0.1 if name == "k6 csv" else 1e-6  # Its clock ticks seconds: 10 s may look like 11.
    assert written(name, latencies_s(3), rate_rps=100.0).rate_rps == pytest.approx(100, rel=step)


@pytest.mark.parametrize("name", WRITERS)
def test_the_loop_is_open_where_the_tool_sends_by_its_own_clock(name: str) -> None:
    assert written(name, latencies_s(4)).loop == ("open" if name in OPEN else "closed")
    assert read_sample(name, WRITERS[name](latencies_s(4), 100.0, 1), loop="open").loop == "open"


@pytest.mark.parametrize("name", WRITERS)
def test_a_known_point_of_the_distribution_is_the_share_of_latencies_at_or_below_it(name: str) -> None:
    times_s = latencies_s(5)
    for share, value_s in written(name, times_s).points:
        near = [np.mean(times_s <= value_s * (1 + slack)) for slack in (-0.005, 0.005)]
        assert near[0] - 0.002 <= share <= near[1] + 0.002


@pytest.mark.parametrize("path", sorted(DATA.glob("*.*")), ids=lambda path: path.name)
def test_the_sample_files_are_read(path: Path) -> None:
    if path.suffix != ".md" and not path.name.startswith("kube-proxy"):
        sample = read_sample(path.name, path.read_text())
        assert path.name.startswith(sample.tool)
        assert sample.count >= 40


def test_failed_requests_are_counted_and_their_latencies_left_out_where_they_are_single() -> None:
    rows = loadtest_files.vegeta_json(latencies_s(6, 100), 10.0).splitlines()
    broken = [json.dumps(json.loads(row) | {"code": 503, "latency": 10**10}) for row in rows[:30]]
    sample = read_sample("f", "\n".join([*broken, *rows[30:]]))
    assert (sample.requests, sample.errors, sample.count) == (100, 30, 70)
    assert sample.mean_s < 1
    assert "30 of 100 requests failed" in " ".join(estimates([sample]).warnings)


# What cannot be read says where and what to do.


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_sample("result.json", text)
    assert caught.value.exit_code == 2
    assert caught.value.location is not None
    assert caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("<!DOCTYPE html><html>404</html>", "is a web page"),
        ('{"items": []}', "no load test tool"),
        ("[1, 2]", "no load test tool"),
        ("hello", "no load test's result"),
        ("Running 10s test @ http://x\n  2 threads and 4 connections\n  Latency Distribution\n", "wrk2"),
    ],
)
def test_what_is_no_result_is_refused_with_the_next_step(text: str, says: str) -> None:
    assert says in refusal(text)


@pytest.mark.parametrize("name", WRITERS)
def test_one_request_is_refused(name: str) -> None:
    text = WRITERS[name](np.full(1, 0.005), 100.0, 1)
    assert "at least 20 answered requests" in refusal(text)


@pytest.mark.parametrize("name", ["fortio", "k6 export", "k6 summary", "vegeta report", "oha", "wrk2"])
def test_a_summary_that_is_cut_is_refused(name: str) -> None:
    text = WRITERS[name](latencies_s(7), 100.0, 1)
    cut = text[: int(len(text) * 0.7)]
    assert re.search("the file is cut|whole percentile spectrum", refusal(cut))


@pytest.mark.parametrize("name", ["k6 points", "vegeta encode"])
def test_a_line_that_is_cut_is_named(name: str) -> None:
    text = WRITERS[name](latencies_s(8, 50), 100.0, 1).rstrip()
    assert f"result.json:{len(text.splitlines())}:1: must be one JSON object a line" in refusal(text[:-20])


def changed(name: str, *path: str | int, value: object) -> str:
    result = json.loads(WRITERS[name](latencies_s(9), 100.0, 1))
    inner = result
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return json.dumps(result)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (changed("oha", "latencyPercentiles", "p99", value=1e-3), "99th percentile lies below"),
        (changed("vegeta report", "latencies", "95th", value=10**6), "95th percentile lies below"),
        (changed("vegeta report", "latencies", "mean", value=5 * 10**8), "the mean lies from"),
        (changed("fortio", "DurationHistogram", "Count", value=1001), "buckets hold 1000 requests"),
        (changed("oha", "statusCodeDistribution", value={"200": 999}), "status codes are of 999"),
        (changed("oha", "summary", "requestsPerSec", value=500), "are other requests"),
        (changed("fortio", "RetCodes", value={"200": 2000}), "more return codes"),
        (changed("vegeta report", "success", value=1.5), "share from 0 to 1"),
        (changed("fortio", "DurationHistogram", "Avg", value="fast"), "must be a number"),
        (changed("fortio", "ActualQPS", value=-1), "finite number from 0"),
        (changed("k6 export", "metrics", "http_reqs", value={}), "is missing"),
    ],
)
def test_numbers_that_cannot_all_be_true_are_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        read_sample("result.json", text)


def test_a_fields_error_says_its_line() -> None:
    text = json.dumps(json.loads(changed("oha", "summary", "average", value="x")), indent=1)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if '"average": "x"' in row)
    with pytest.raises(InputError, match=f"result.json:{line}:"):
        read_sample("result.json", text)


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(WRITERS)),
    place=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 40),
    put=st.one_of(
        st.text(max_size=12),
        st.sampled_from(["1e999", "-1", "NaN", "null", "{}", "[]", '""', "9" * 400, "0", "\x00"]),
    ),
)
def test_a_changed_file_is_read_or_refused_and_nothing_else(
    name: str, place: float, length: int, put: str
) -> None:
    text = WRITERS[name](latencies_s(10, 60), 100.0, 1)
    at = int(place * len(text))
    try:
        estimates([read_sample("f", text[:at] + put + text[at + length :])])
    except InputError as error:
        assert str(error)  # noqa: PT017


@given(st.lists(st.floats(1e-4, 10), min_size=30, max_size=200), st.integers(1, 5))
def test_the_mean_lies_between_the_bounds_that_percentiles_set(times: list[float], step: int) -> None:
    ordered = np.sort(times)
    n = len(ordered)
    points = [(k / n, float(ordered[k - 1])) for k in range(step, n, step)]
    low_s, high_s = mean_bounds_s([(0.0, ordered[0]), *points, (1.0, ordered[-1])], n)
    assert low_s <= np.mean(times) * (1 + 1e-9)
    assert np.mean(times) <= high_s * (1 + 1e-9)


# Intervals.


@pytest.mark.parametrize("name", ["fortio", "k6 export", "vegeta report", "vegeta csv", "oha", "wrk2"])
def test_intervals_of_the_law_cover_the_truth_as_often_as_they_say(name: str) -> None:
    seeds = range(150)
    found = [lognormal.fit(written(name, latencies_s(seed, 2000))) for seed in seeds]
    fits = [fit for fit in found if fit]
    assert len(fits) == len(seeds)
    for value, truth, k in (("mu", MU, 0), ("sigma", SIGMA, 1)):
        halves = [1.96 * math.sqrt(fit.covariance[k][k]) for fit in fits]
        covering = sum(abs(getattr(f, value) - truth) <= half for f, half in zip(fits, halves, strict=True))
        assert covering >= fewest_covering(len(seeds))
    p99_s = math.exp(MU + lognormal.Z99 * SIGMA)
    errors = [1.96 * fit.error_of_log(1.0, lognormal.Z99) for fit in fits]
    near = [
        abs(math.log(f.quantile_s(lognormal.Z99) / p99_s)) <= e for f, e in zip(fits, errors, strict=True)
    ]
    assert sum(near) >= fewest_covering(len(seeds))


def test_the_error_of_the_law_is_that_of_all_latencies_where_all_are_known() -> None:
    n = 5000
    fit = lognormal.fit(written("vegeta csv", latencies_s(11, n)))
    assert fit is not None
    assert math.sqrt(fit.covariance[0][0]) == pytest.approx(SIGMA / math.sqrt(n), rel=0.05)
    assert math.sqrt(fit.covariance[1][1]) == pytest.approx(SIGMA / math.sqrt(2 * n), rel=0.05)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_intervals_from_ranks_cover_the_truth(q: float) -> None:
    truth_s = math.exp(MU + stats.norm.ppf(q) * SIGMA)
    bounds = [lognormal.quantile_bounds_s(written("wrk2", latencies_s(seed, 2000)), q) for seed in range(150)]
    assert sum(low <= truth_s <= (high or math.inf) for _, low, high in bounds) >= fewest_covering(150)


@given(st.integers(20, 3000))
@settings(max_examples=15)
def test_a_percentile_with_fewer_than_ten_requests_beyond_it_is_refused(n: int) -> None:
    found = estimates([written("vegeta csv", latencies_s(12, n))])
    for name, q in (("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
        assert found[f"latency.{name}"].identified == (n - math.ceil(q * n) >= histogram.BEYOND)


def test_a_percentile_beyond_those_the_tool_told_is_refused() -> None:
    found = estimates([written("k6 export", latencies_s(12, 5000))])
    assert found["latency.p90"].value is not None
    assert "told no percentile on either side" in found["latency.p99"].why


def test_a_percentile_between_those_the_tool_told_has_an_interval_and_no_value() -> None:
    result = json.loads(loadtest_files.vegeta_report(latencies_s(12, 2000), 100.0))
    del result["latencies"]["90th"]
    found = estimates([read_sample("f", json.dumps(result))])["latency.p90"]
    told_s = [result["latencies"][name] * 1e-9 for name in ("50th", "95th")]
    assert (found.value, found.low95, found.high95) == (None, *map(pytest.approx, told_s))


def test_latencies_of_another_law_are_said_to_be_of_another() -> None:
    rng = np.random.default_rng(13)
    two = np.where(rng.random(5000) < 0.5, rng.normal(0.002, 1e-4, 5000), rng.normal(0.02, 1e-3, 5000))
    found = estimates([written("fortio", np.abs(two), connections=4, rate_rps=100)])
    assert not found["latency.mu"].identified
    assert "not log-normal" in found["latency.mu"].why


# Service time against queueing.


def test_one_open_rate_bounds_the_service_time_and_no_more() -> None:
    sample = written("vegeta report", latencies_s(14))
    found = estimates([sample])["pods.serviceTime.mean"]
    error_s = lognormal.fit(sample).variance_s2 ** 0.5 / math.sqrt(sample.count)  # type: ignore[union-attr]
    assert not found.identified
    assert found.value is None
    assert found.high95 == pytest.approx(sample.mean_s + 1.96 * error_s, rel=1e-3)
    assert "cannot tell service time from queueing" in found.why
    assert estimates([sample]).fragment == ""


def test_no_service_time_is_above_what_the_workers_can_carry() -> None:
    sample = written("fortio", latencies_s(15) * 10, rate_rps=300.0, connections=30)
    found = estimates([sample], workers=2, pods=3)["pods.serviceTime.mean"]
    assert found.high95 == pytest.approx(min(2 * 3 / 300, sample.mean_s * 1.1))


@pytest.mark.parametrize("name", ["fortio", "k6 export", "k6 points"])
def test_one_connection_waits_for_nobody(name: str) -> None:
    times_s = latencies_s(16)
    found = estimates([written(name, times_s, connections=1)])
    mean, p99 = found["pods.serviceTime.mean"], found["pods.serviceTime.p99"]
    assert mean.identified
    assert mean.value == pytest.approx(times_s.mean())
    assert mean.error == pytest.approx(times_s.std() / math.sqrt(len(times_s)), rel=0.15)
    assert p99.value == pytest.approx(math.exp(MU + lognormal.Z99 * SIGMA), rel=0.15)


def test_as_many_connections_as_workers_wait_for_nobody_and_more_may() -> None:
    sample = written("fortio", latencies_s(17), rate_rps=600.0, connections=4)
    assert estimates([sample], workers=4)["pods.serviceTime.mean"].identified
    assert not estimates([sample], workers=3)["pods.serviceTime.mean"].identified


def in_a_queue(rate_rps: float, seed: int, duration_s: float = 100.0) -> np.ndarray:
    """Latencies of D/M/1 with a path before it, by the package's own simulation."""
    scenario = Scenario(
        cluster=Cluster(nodes=1),
        service=Service(replicas=1),
        pods=Pods(workers=1, service_time=Law(dist="exponential", mean_s=0.005), backlog=4096),
        clients=Clients(
            count=1,
            rate_rps=rate_rps,
            arrivals="fixed",
            connections=Connections(reuse="lifo", size=500),
        ),
        run=Run(duration_s=duration_s, replications=1, seed=seed, warmup_s=1.0),
    )
    counts = simulate(scenario, engine="simpy").latency.sum(axis=0)
    return np.random.default_rng(seed).permutation(np.repeat(histogram.midpoints_s(), counts))


@pytest.mark.parametrize("name", ["vegeta csv", "wrk2"])
def test_two_rates_tell_the_service_time_of_a_simulated_pod(name: str) -> None:
    samples = [written(name, in_a_queue(rate_rps, seed=2), rate_rps) for rate_rps in (60.0, 140.0)]
    found = estimates(samples, workers=1)
    mean, path = found["pods.serviceTime.mean"], found["path.roundTrip"]
    assert mean.identified
    assert mean.low95 < 0.005 < mean.high95  # type: ignore[operator]
    assert mean.high95 - mean.low95 < 0.5 * 0.005  # type: ignore[operator]
    assert path.low95 < 0.0006 < path.high95  # type: ignore[operator]
    bounds = found["latency.noLoad"]
    assert bounds.low95 < 0.0056 < bounds.high95  # type: ignore[operator]


def lindley_s(seed: int, rate_rps: float, path_s: float, n: int = 3000) -> np.ndarray:
    """Latencies of D/M/1: Lindley's recursion."""
    services_s = np.random.default_rng(seed).exponential(0.005, n)
    free_s, found = 0.0, np.empty(n)
    for k, service_s in enumerate(services_s):
        free_s = max(free_s, k / rate_rps) + service_s
        found[k] = free_s - k / rate_rps
    return found + path_s


def test_intervals_of_separated_service_times_cover_the_truth() -> None:
    seeds = range(60)
    covering = 0
    for seed in seeds:
        pair = [
            written("vegeta csv", lindley_s(2 * seed + k, rate, 0.001), rate)
            for k, rate in enumerate((60.0, 140.0))
        ]
        found = estimates(pair, workers=1)["pods.serviceTime.mean"]
        covering += found.identified and found.low95 <= 0.005 <= found.high95  # type: ignore[operator]
    assert covering >= fewest_covering(len(seeds))


def test_rates_too_alike_tell_nothing() -> None:
    pair = [written("vegeta csv", latencies_s(k), rate) for k, rate in ((18, 100.0), (19, 110.0))]
    assert "too alike" in estimates(pair)["latency.noLoad"].why
    assert not estimates(pair)["pods.serviceTime.mean"].identified


def test_a_latency_that_does_not_grow_is_service_and_path_alone() -> None:
    pair = [written("vegeta csv", latencies_s(k, 4000), rate) for k, rate in ((20, 10.0), (21, 100.0))]
    found = estimates(pair)
    assert found["latency.noLoad"].identified
    assert found["pods.serviceTime.mean"].identified
    assert found["pods.serviceTime.mean"].low95 <= math.exp(MU + SIGMA**2 / 2)  # type: ignore[operator]


@pytest.mark.parametrize("pods", [1, 2, 3, 10])
@pytest.mark.parametrize("load", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_the_wait_behind_a_constant_rate_split_over_pods_is_near_the_exact_one(
    load: float, pods: int
) -> None:
    """GI/M/1: wait = s sigma / (1 - sigma), sigma the root of sigma = E exp(-(1 - sigma) gap / s)."""
    gap = 1 / (load * pods)  # A geometric number of gaps, in service times.
    sigma = 0.0
    for _ in range(5000):
        passed = math.exp(-(1 - sigma) * gap)
        sigma = passed / pods / (1 - (1 - 1 / pods) * passed)
    found = queueing.wait_s(load, 1.0, 1, 1 - 1 / pods, 1.0)
    assert abs(found - sigma / (1 - sigma)) <= queueing.MODEL_ERROR_RATIO


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_the_variance_behind_poisson_arrivals_is_takacs(load: float) -> None:
    sigma = 0.7
    moments = [math.exp(k**2 * sigma**2 / 2) for k in range(4)]  # of a log-normal law with median 1
    rate_rps = load / moments[1]
    wait_s = rate_rps * moments[2] / (2 * (1 - load))
    second = 2 * wait_s**2 + rate_rps * moments[3] / (3 * (1 - load))
    expected = moments[2] - moments[1] ** 2 + second - wait_s**2
    cs2 = moments[2] / moments[1] ** 2 - 1
    assert queueing.latency_variance_s2(rate_rps, moments[1], 1, 1.0, cs2) == pytest.approx(expected)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_wait_behind_poisson_arrivals_is_erlangs(workers: int) -> None:
    load = 0.8
    terms = [(workers * load) ** k / math.factorial(k) for k in range(workers + 1)]
    waiting = terms[-1] / (1 - load) / (sum(terms[:-1]) + terms[-1] / (1 - load))
    expected = waiting / (workers * (1 - load))
    assert queueing.wait_s(load * workers, 1.0, workers, 1.0, 1.0) == pytest.approx(expected)


# Little's law, the path, warnings.


def test_a_closed_loop_obeys_littles_law() -> None:
    sample = written("fortio", latencies_s(22), rate_rps=100.0, connections=4)
    think = estimates([sample])["clients.thinkTime.mean"]
    assert think.value == pytest.approx(4 / 100 - sample.mean_s)
    with pytest.raises(InputError, match="breaks Little's law"):
        estimates([replace(sample, rate_rps=10_000.0)])


def test_the_path_is_the_difference_of_means_with_the_interval_of_a_difference() -> None:
    through, pod = (
        written("fortio", latencies_s(seed, 4000) + add) for seed, add in ((23, 0.002), (24, 0.0))
    )
    found = estimates([through], direct=pod)["path.added"]
    variance = sum(s.std_s**2 / s.count for s in (through, pod))  # type: ignore[operator]
    assert found.identified
    assert found.value == pytest.approx(through.mean_s - pod.mean_s)
    half_s = 1.96 * math.sqrt(variance)
    assert found.high95 == pytest.approx(through.mean_s - pod.mean_s + half_s, rel=1e-3)


def test_a_path_whose_interval_spans_0_is_not_resolved() -> None:
    through, pod = (written("fortio", latencies_s(seed, 4000)) for seed in (25, 26))
    found = estimates([through], direct=pod)
    assert found["path.added"].low95 < 0 < found["path.added"].high95  # type: ignore[operator]
    assert not found["path.added"].identified
    assert "not resolved" in found["path.added"].why
    assert "nodeNode" not in found.fragment


def test_tests_at_other_rates_tell_no_path() -> None:
    pair = [written("vegeta csv", latencies_s(27), rate) for rate in (100.0, 200.0)]
    assert "differ in rate" in estimates(pair[:1], direct=pair[1])["path.added"].why


def test_a_tool_that_fell_behind_its_rate_is_said() -> None:
    sample = read_sample("f.json", changed("fortio", "RequestedQPS", value="150"))
    assert "fell behind" in " ".join(estimates([sample]).warnings)


def test_a_closed_loop_is_warned_of_what_it_omits() -> None:
    assert "coordinated omission" in " ".join(estimates([written("oha", latencies_s(28))]).warnings)
    assert "coordinated omission" not in " ".join(estimates([written("wrk2", latencies_s(28))]).warnings)


# The fragment.


def test_the_fragment_is_a_scenario_and_says_what_was_measured(tmp_path: Path) -> None:
    through, pod = (
        written("fortio", latencies_s(seed, 4000) + add) for seed, add in ((29, 0.002), (30, 0.0))
    )
    found = estimates([through], direct=pod, workers=2)
    path = tmp_path / "measured.yaml"
    path.write_text("apiVersion: nodeportsim/v1\nkind: Scenario\n" + found.fragment)
    scenario = read(path)
    assert scenario.pods.workers == 2
    assert scenario.pods.service_time.dist == "lognormal"
    assert scenario.pods.service_time.mean_s == pytest.approx(found["pods.serviceTime.mean"].value, rel=1e-3)
    assert scenario.pods.service_time.p99_s == pytest.approx(found["pods.serviceTime.p99"].value, rel=1e-3)
    one_way_s = (through.mean_s - pod.mean_s) / 2
    assert scenario.cluster.network.node_node_s == pytest.approx(one_way_s, rel=1e-3)
    group = scenario.clients[0]
    assert (group.loop, group.count, group.connections.reuse) == ("closed", 1, "lifo")
    assert group.think_time.mean_s == pytest.approx(found["clients.thinkTime.mean"].value, rel=1e-3)


@pytest.mark.parametrize("name", WRITERS)
def test_every_tools_fragment_is_a_scenario(name: str, tmp_path: Path) -> None:
    pair = [written(name, latencies_s(k, 4000), rate) for k, rate in ((31, 10.0), (32, 100.0))]
    path = tmp_path / "measured.yaml"
    path.write_text("kind: Scenario\napiVersion: nodeportsim/v1\n" + estimates(pair, workers=1).fragment)
    assert read(path).name
