"""Laws of reading kube-proxy's histograms."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nodeportsim.calibrate.kubeproxy_metrics import PROGRAMMING, RULES, SYNCS, Durations, read_metrics, since
from nodeportsim.calibrate.kubeproxy_sync import sync_estimates
from nodeportsim.errors import InputError
from nodeportsim.metrics import histogram
from nodeportsim.scenario.prices import Parameter, SyncPrice
from nodeportsim.scenario.profile import load_profile

DATA = Path(__file__).parent / "data" / "kube-proxy.txt"
SYNC_EDGES_S = [0.001 * 2**k for k in range(15)]
PROGRAMMING_EDGES_S = [0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30)]


def exposed(name: str, times_s: np.ndarray, family: str = "IPv4") -> str:
    """A histogram as kube-proxy shows it; an empty family stands for an older version without the label."""
    edges = PROGRAMMING_EDGES_S if name == PROGRAMMING else SYNC_EDGES_S
    label = f'ip_family="{family}",' if family else ""
    rows = [f"# HELP {name} [ALPHA] in seconds", f"# TYPE {name} histogram"]
    rows += [f'{name}_bucket{{{label}le="{edge:g}"}} {int(np.sum(times_s <= edge))}' for edge in edges]
    rows += [f'{name}_bucket{{{label}le="+Inf"}} {len(times_s)}']
    total = float(np.sum(times_s))
    bare = f"{{{label[:-1]}}}" if label else ""
    return "\n".join([*rows, f"{name}_sum{bare} {total!r}", f"{name}_count{bare} {len(times_s)}", ""])


def scrape(seed: int = 1, n: int = 500, family: str = "IPv4", started_s: float = 1.7e9) -> str:
    rng = np.random.default_rng(seed)
    times_s = {
        SYNCS["partial"]: rng.lognormal(-3.5, 0.4, n),
        SYNCS["full"]: rng.lognormal(-1.5, 0.4, n // 10),
    }
    times_s[SYNCS["all"]] = np.concatenate(list(times_s.values()))
    times_s[PROGRAMMING] = rng.lognormal(-0.5, 0.5, n)
    rest = "go_goroutines 70\nkubeproxy_sync_proxy_rules_endpoint_changes_total 812\n"
    label = f'ip_family="{family}"'
    rules = f'{RULES}{{{label},table="nat"}} 4523\n{RULES}{{{label},table="filter"}} 87\n'
    start = f"process_start_time_seconds {started_s!r}\n"
    return "".join(exposed(name, times, family) for name, times in times_s.items()) + rules + rest + start


def drawn(times_s: np.ndarray) -> Durations:
    found = read_metrics(exposed(SYNCS["all"], times_s)).durations(SYNCS["all"], "IPv4")
    assert found is not None
    return found


def test_the_sample_file_is_a_scrape() -> None:
    metrics = read_metrics(DATA.read_text(), "kube-proxy.txt")
    assert metrics.nat_rules == {"IPv4": 4523}
    assert {name for name, _ in metrics.histograms} == {*SYNCS.values(), PROGRAMMING}


@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=50))
def test_buckets_sum_and_count_are_those_of_the_durations(times: list[float]) -> None:
    found = drawn(np.array(times))
    assert found.count == len(times)
    assert found.sum_s == pytest.approx(sum(times))
    assert found.cumulative == tuple(sum(t <= edge for t in times) for edge in (*SYNC_EDGES_S, math.inf))


def test_a_quantile_lies_between_the_edges_of_its_buckets_and_is_never_finer() -> None:
    for seed in range(50):
        times_s = np.random.default_rng(seed).lognormal(-3, 0.8, 400)
        name = SYNCS["all"]
        found = sync_estimates(read_metrics(exposed(name, times_s)), service_ports=10, endpoints=30)
        for key, q in (("p50", 0.5), ("p90", 0.9)):
            bounds = found[f"sync.all.{key}"]
            assert bounds.low95 <= np.quantile(times_s, q) <= bounds.high95  # type: ignore[operator]
            assert {bounds.low95, bounds.high95} <= {0.0, *(float(f"{edge:g}") for edge in SYNC_EDGES_S)}


@pytest.mark.parametrize("beside", [0.99, 1.01])
def test_intervals_of_quantiles_cover_the_truth(beside: float) -> None:
    truth_s, trials = 0.064 * beside, 100  # Beside an edge, so that the sample's quantile is often beyond it.
    covering = 0
    for seed in range(trials):
        mu = math.log(truth_s) - stats.norm.ppf(0.9) * 0.8
        times_s = np.random.default_rng(seed).lognormal(mu, 0.8, 300)
        found = sync_estimates(read_metrics(exposed(SYNCS["all"], times_s)), service_ports=1, endpoints=1)
        bounds = found["sync.all.p90"]
        covering += bounds.low95 <= truth_s <= bounds.high95  # type: ignore[operator]
    assert covering >= stats.binom.ppf(0.001, trials, 0.95)


def test_the_mean_is_sum_over_count_and_its_error_at_least_the_samples() -> None:
    times_s = np.random.default_rng(3).lognormal(-3, 0.8, 400)
    found = sync_estimates(read_metrics(exposed(SYNCS["all"], times_s)), service_ports=1, endpoints=1)
    mean = found["sync.all.mean"]
    assert mean.value == pytest.approx(times_s.mean())
    assert times_s.std() / 20 <= mean.error <= 3 * times_s.std() / 20  # type: ignore[operator]


@pytest.mark.parametrize("n", [5, 20, 99, 100, 1000])
def test_a_quantile_with_fewer_than_ten_beyond_it_is_refused(n: int) -> None:
    times_s = np.random.default_rng(4).lognormal(-3, 0.3, n)
    found = sync_estimates(read_metrics(exposed(SYNCS["all"], times_s)), service_ports=1, endpoints=1)
    for key, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert found[f"sync.all.{key}"].identified == (n - math.ceil(q * n) >= histogram.BEYOND)
    assert (found["sync.all.mean"].low95 is None) == (n < 10)


def test_what_is_beyond_the_last_bucket_has_a_lower_bound_alone() -> None:
    found = sync_estimates(
        read_metrics(exposed(SYNCS["all"], np.full(50, 20.0))), service_ports=1, endpoints=1
    )
    p50 = found["sync.all.p50"]
    assert (p50.low95, p50.high95, p50.identified) == (16.384, None, False)
    assert found["sync.all.mean"].error is None


# Two scrapes.


def test_two_scrapes_tell_of_the_time_between_them() -> None:
    first, later = (np.random.default_rng(5).lognormal(-3, 0.5, n) for n in (100, 300))
    later[:100] = first
    name = SYNCS["all"]
    between = since(read_metrics(exposed(name, later)), read_metrics(exposed(name, first)))
    found = between.durations(name, "IPv4")
    assert found is not None
    assert (found.count, found.sum_s) == (200, pytest.approx(later[100:].sum()))
    assert found.cumulative == drawn(later[100:]).cumulative
    assert not between.notes


def test_a_counter_that_went_down_is_a_restart_and_is_said() -> None:
    before, after = read_metrics(scrape(n=500)), read_metrics(scrape(n=200))
    between = since(after, before)
    assert between.histograms == after.histograms
    assert "restarted" in between.notes[0]
    assert "restarted" in " ".join(sync_estimates(between, service_ports=1, endpoints=1).warnings)


def test_another_start_is_a_restart_even_where_no_counter_went_down() -> None:
    before, after = read_metrics(scrape(n=200)), read_metrics(scrape(n=200, started_s=1.8e9))
    assert "restarted" in since(after, before).notes[0]


# Prices.


def test_without_a_price_the_constant_is_the_whole_duration_at_this_size() -> None:
    found = sync_estimates(read_metrics(scrape()), service_ports=100, endpoints=300)
    for kind in ("partial", "full"):
        constant = found[f"sync_{kind}.constant_s"]
        assert constant.value == found[f"sync.{kind}.mean"].value
        assert "100 service ports and 300 endpoints alone" in constant.why


def test_with_a_price_the_constant_is_what_its_slopes_leave() -> None:
    slope = Parameter(value=1e-5, error=1e-6, identified=True, source="test")
    price = SyncPrice(constant_s=slope, per_service_port_s=slope, per_endpoint_s=slope)
    found = sync_estimates(read_metrics(scrape()), service_ports=100, endpoints=300, price={"full": price})
    constant, mean_s = found["sync_full.constant_s"], found["sync.full.mean"].value
    assert constant.value == pytest.approx(mean_s - 1e-5 * 400)  # type: ignore[operator]
    assert not constant.identified


def test_slopes_that_take_more_than_was_measured_are_refused() -> None:
    prices = load_profile("kernel-6.18").modes["ipvs"]
    found = sync_estimates(
        read_metrics(scrape()), service_ports=10_000, endpoints=0, price={"full": prices.sync_full}
    )
    assert found["sync_full.constant_s"].value is None
    assert "do not hold here" in found["sync_full.constant_s"].why


def test_a_price_by_rules_needs_the_number_of_rules() -> None:
    price = load_profile("kernel-6.18").modes["iptables-nft"].sync_full
    metrics = read_metrics(scrape())
    slopes_s = price.per_rule_squared_s.value * 4523**2
    with_rules = sync_estimates(metrics, service_ports=1, endpoints=1, price={"full": price})
    mean_s = with_rules["sync.full.mean"].value
    assert with_rules["sync_full.constant_s"].value == pytest.approx(mean_s - slopes_s)  # type: ignore[operator]
    bare = read_metrics(scrape().replace('table="nat"', 'table="raw"'))
    without = sync_estimates(bare, service_ports=1, endpoints=1, price={"full": price})
    assert "do not tell them" in without["sync_full.constant_s"].why


def test_the_fragment_is_the_sync_prices_of_a_profile() -> None:
    price = load_profile("kernel-6.18").modes["iptables-legacy"]
    given = {"partial": price.sync_partial, "full": price.sync_full}
    for prices in (None, given):
        found = sync_estimates(read_metrics(scrape()), service_ports=20, endpoints=60, price=prices)
        read = {name: SyncPrice.model_validate(part) for name, part in yaml.safe_load(found.fragment).items()}
        assert read.keys() == {"sync_partial", "sync_full"}
        for kind in ("partial", "full"):
            mean_s = found[f"sync.{kind}.mean"].value
            cost = read[f"sync_{kind}"].cost
            duration_s = cost.duration_s(service_ports=20, endpoints=60, rules=4523)
            assert duration_s == pytest.approx(mean_s, rel=1e-4)


def test_families_are_kept_apart_and_an_older_kube_proxy_has_none() -> None:
    both = read_metrics(scrape(1) + scrape(2, family="IPv6").replace("process_start", "other"))
    one = sync_estimates(both, service_ports=1, endpoints=1, family="IPv6")
    alone = sync_estimates(
        read_metrics(scrape(2, family="IPv6")), service_ports=1, endpoints=1, family="IPv6"
    )
    assert one.parameters == alone.parameters
    old = read_metrics(exposed(SYNCS["all"], np.full(20, 0.01), family=""))
    assert sync_estimates(old, service_ports=1, endpoints=1)["sync.all.mean"].value == pytest.approx(0.01)
    with pytest.raises(InputError, match="there are: IPv4, IPv6"):
        sync_estimates(both, service_ports=1, endpoints=1, family="IPv5")


# Refused.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("<html>401</html>", "is a web page"),
        ('{"status": "success"}', "is JSON"),
        ("go_goroutines 70\n", "holds no sync duration"),
        (scrape() + scrape().replace("process_start", "other"), "stands twice"),
        (scrape()[: scrape().index(SYNCS["partial"] + "_count")], "must have its sum and count"),
        (scrape()[: scrape().index(SYNCS["partial"] + "_sum") - 20], "was the scrape cut"),
        (re.sub(r'(partial.*le="0.064"}) \d+', r"\1 1", scrape()), "buckets must not fall"),
        (re.sub(r"(partial.*_count.*}) \d+", r"\1 9999", scrape()), "the last must equal the count"),
        (re.sub(r"(partial.*_sum.*}) \S+", r"\1 -4", scrape()), "finite sum from 0"),
        (re.sub(r'(partial.*le="0.064"}) \d+', r"\1 3.5", scrape()), "whole numbers"),
        (re.sub(r'(partial.*le="0.064"}) \d+', r"\1 many", scrape()), "a name and a number"),
    ],
)
def test_a_scrape_that_cannot_be_true_is_refused_and_located(text: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        read_metrics(text, "node-1.txt")
    assert str(caught.value).startswith("node-1.txt:")
    assert caught.value.exit_code == 2


def test_a_size_below_0_is_refused() -> None:
    with pytest.raises(InputError, match="endpoints must be at least 0"):
        sync_estimates(read_metrics(scrape()), service_ports=1, endpoints=-1)


@settings(max_examples=200)
@given(
    place=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 60),
    put=st.one_of(st.text(max_size=12), st.sampled_from(["1e999", "NaN", "-1", "+Inf", "9" * 400, "{", '"'])),
)
def test_a_changed_scrape_is_read_or_refused_and_nothing_else(place: float, length: int, put: str) -> None:
    text = scrape(n=60)
    at = int(place * len(text))
    try:
        metrics = read_metrics(text[:at] + put + text[at + length :])
        sync_estimates(since(metrics, read_metrics(text)), service_ports=1, endpoints=1)
    except InputError as error:
        assert str(error)  # noqa: PT017
