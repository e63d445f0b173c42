"""Prices drawn from their errors: by the stated law, by name, the same in every variant and scheduler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import synthetic
from scipy import stats

from nodeportsim.engine import simulate as engine
from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.walk import ServicePort, Shape
from nodeportsim.metrics.intervals import t_factor
from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.prices import LONG_CLASSES, Parameter
from nodeportsim.scenario.profile import Profile, load_profile
from nodeportsim.scenario.spec import Cluster, Proxy, Run, Scenario, Service
from nodeportsim.study.run import compare, run
from nodeportsim.study.uncertainty import draw_price, is_uncertain, place, sample, sampled_prices

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVEL = 0.001
SHIPPED = load_profile("kernel-6.18")
SMALL = Scenario(
    clients=(Clients(rate_rps=50.0, count=10),),
    run=Run(duration_s=3.0, replications=12, uncertainty=True),
)


def price(value: float, **what: float) -> Parameter:
    return Parameter(value=value, identified=True, source="here", **what)


def values(profile: Profile) -> dict[str, float]:
    return {name: parameter.value for name, parameter in profile.parameters().items()}


def drawn(parameter: Parameter) -> list[float]:
    return [draw_price(parameter, place("some price"), (7, k)) for k in range(3000)]


@pytest.mark.parametrize(("value", "error"), [(10.0, 1.0), (10.0, 8.0), (0.0, 2.0)])
def test_a_price_with_an_error_is_normal_and_cut_off_at_zero(value: float, error: float) -> None:
    law = stats.truncnorm(-value / error, np.inf, value, error)
    found = drawn(price(value, error=error))
    assert min(found) >= 0
    assert stats.kstest(found, law.cdf).pvalue > LEVEL


def test_a_price_with_bounds_alone_is_uniform_between_them() -> None:
    found = drawn(price(0.5, low=0.3, high=0.7))
    assert stats.kstest(found, stats.uniform(0.3, 0.4).cdf).pvalue > LEVEL


@pytest.mark.parametrize("known", [price(3.0), price(3.0, error=0.0), price(3.0, low=1.0)])
def test_a_price_without_an_error_stays(known: Parameter) -> None:
    assert not is_uncertain(known)
    assert set(drawn(known)) == {3.0}


def test_a_profile_draws_the_prices_that_count_and_no_others() -> None:
    """Host and mode of the scenario; each of them moves, the others stay to the bit."""
    for proxy in (Proxy(), Proxy(mode="ipvs")):
        scenario = SMALL.model_copy(update={"cluster": Cluster(proxy=proxy)})
        before, after = values(SHIPPED), values(sample(scenario, SHIPPED, 3))
        assert {name for name in before if before[name] != after[name]} == set(
            sampled_prices(scenario, SHIPPED)
        )


def test_prices_of_other_names_or_replications_are_drawn_independently() -> None:
    first, second = (
        [draw_price(price(0.0, low=-1.0, high=1.0), place(name), (7, k)) for k in range(2000)]
        for name in ("one price", "another price")
    )
    # The correlation of n independent pairs has the standard error 1 / sqrt(n).
    for a, b in ((first, second), (first[1:], first[:-1])):
        assert abs(np.corrcoef(a, b)[0, 1]) < stats.norm.isf(LEVEL / 2) / np.sqrt(len(a))


def with_price(profile: Profile, name: str, parameter: Parameter) -> Profile:
    return profile.model_copy(update={"host": profile.host.model_copy(update={name: parameter})})


def test_one_more_price_moves_no_other_draw() -> None:
    more = with_price(SHIPPED, "connect_spread_ratio", price(0.3, error=0.1))
    before, after = values(sample(SMALL, SHIPPED, 0)), values(sample(SMALL, more, 0))
    assert "host.connect_spread_ratio" not in sampled_prices(SMALL, SHIPPED)
    assert "host.connect_spread_ratio" in sampled_prices(SMALL, more)
    assert {n for n in after if after[n] != before.get(n)} == {"host.connect_spread_ratio"}


def test_what_a_profile_took_over_errs_alike_in_both_and_what_it_measured_does_not() -> None:
    taken = SHIPPED.host.connect_ns.model_copy(update={"source": f"../{SHIPPED.name}/profile.yaml"})
    other = with_price(SHIPPED.model_copy(update={"name": "other"}), "connect_ns", taken)
    ours, theirs = (values(sample(SMALL, profile, 0)) for profile in (SHIPPED, other))
    assert ours["host.connect_ns"] == theirs["host.connect_ns"]
    assert ours["host.request_ns"] != theirs["host.request_ns"]


def test_no_rule_is_cheaper_out_of_the_cache_than_in_it() -> None:
    key = "iptables-nft"
    prices = SHIPPED.prices(key)
    vague = {f"{long}_{end}_ns": price(10.0, error=3.0) for long in LONG_CLASSES for end in ("hot", "cold")}
    profile = SHIPPED.model_copy(update={"modes": SHIPPED.modes | {key: prices.model_copy(update=vague)}})
    found = [sample(SMALL, profile, k).prices(key) for k in range(50)]
    pairs = [
        (getattr(p, f"{long}_hot_ns").value, getattr(p, f"{long}_cold_ns").value)
        for p in found
        for long in LONG_CLASSES
    ]
    assert all(hot <= cold for hot, cold in pairs)
    assert 0 < sum(hot == cold for hot, cold in pairs) < len(pairs)


def test_no_draw_makes_a_node_or_a_pod_pay_less_than_nothing() -> None:
    """With errors larger than the prices some differences of paths would come out negative."""
    vague = {n: price(5000.0, error=20_000.0) for n in type(SHIPPED.host).model_fields if n.endswith("_ns")}
    profile = SHIPPED.model_copy(update={"host": SHIPPED.host.model_copy(update=vague)})
    port = ServicePort(endpoints=3)
    shape = Shape(((1, port),))
    found = [sample(SMALL, profile, k) for k in range(50)]
    paid = {
        "walk": [sum(p.walk_price("iptables-nft", shape, port, "nodeport", position=1)) for p in found],
        "request": [p.request_s("iptables-nft", "nodeport") for p in found],
        "accept": [p.pod_connect_s for p in found],
        "answer": [p.pod_request_s for p in found],
    }
    assert {name: min(costs) for name, costs in paid.items()} == dict.fromkeys(paid, 0.0)


# -- runs ----------------------------------------------------------------------------------------

GIVEN: list[tuple[int, Profile]] = []


@pytest.fixture
def priced_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine whose every latency is a thousand times the price of a connection, for each pod."""

    def simulate(scenario: Scenario, replication: int = 0, *, profile: Profile, **__: Any) -> Any:
        GIVEN.append((replication, profile))
        every_ns = int(profile.host.connect_ns.value * 1000) * scenario.service.replicas
        return synthetic.replication(replication, duration_s=3, every_ns=every_ns)

    GIVEN.clear()
    monkeypatch.setattr(engine, "simulate", simulate)
    yield
    GIVEN.clear()


@pytest.mark.usefixtures("priced_engine")
@pytest.mark.parametrize("replications", [20, 80])
def test_the_interval_is_as_wide_as_the_error_of_the_price_however_many_replications(
    replications: int,
) -> None:
    scenario = SMALL.model_copy(update={"run": SMALL.run.model_copy(update={"replications": replications})})
    mean = run(scenario).summary["latency_s"]["mean"]
    pods_s = scenario.service.replicas * 1e-6
    prices_s = [sample(scenario, SHIPPED, k).host.connect_ns.value * pods_s for k in range(replications)]
    half_s = t_factor(replications) * np.std(prices_s, ddof=1) * np.sqrt(1 + 1 / replications)
    assert mean["high"] - mean["estimate"] == pytest.approx(half_s, rel=0.02)
    assert mean["estimate"] == pytest.approx(np.mean(prices_s), rel=1e-3)


@pytest.mark.usefixtures("priced_engine")
def test_each_replication_runs_with_its_own_prices_the_pilot_too_and_once_at_the_profiles_values() -> None:
    outcome = run(SMALL)
    own = [(k, values(sample(SMALL, SHIPPED, k))) for k in range(12)]
    plain = [(k, values(SHIPPED)) for k in range(12)]
    assert [(k, values(profile)) for k, profile in GIVEN] == own + plain
    assert len(outcome.replications) == len(outcome.nominal) == 12


@pytest.mark.usefixtures("priced_engine")
def test_both_sides_of_a_comparison_draw_the_same_prices() -> None:
    """Where a price moves both sides alike, the difference is known as if it were certain."""
    ipvs = SMALL.model_copy(update={"cluster": Cluster(proxy=Proxy(mode="ipvs"))})
    sides = run(SMALL), run(ipvs)
    hosts = [profile.host for _, profile in GIVEN]
    assert hosts[:24] == hosts[24:]
    row = compare(*sides).set_index("metric").loc["latency_mean_s"]
    assert (row["difference"], row["low"], row["high"]) == (0.0, 0.0, 0.0)


@pytest.mark.usefixtures("priced_engine")
def test_a_difference_that_depends_on_the_price_is_as_uncertain_as_the_price() -> None:
    """One pod more costs one price more; of the 3 pods that both have the price cancels."""
    more = SMALL.model_copy(update={"service": Service(replicas=SMALL.service.replicas + 1)})
    row = compare(run(SMALL), run(more)).set_index("metric").loc["latency_mean_s"]
    prices_s = [sample(SMALL, SHIPPED, k).host.connect_ns.value * 1e-6 for k in range(12)]
    half_s = t_factor(12) * np.std(prices_s, ddof=1) * np.sqrt(1 + 1 / 12)
    assert row["high"] - row["difference"] == pytest.approx(half_s, rel=1e-3)
    assert row["difference"] == pytest.approx(np.mean(prices_s), rel=1e-3)


def test_a_run_with_drawn_prices_is_not_compared_with_one_without() -> None:
    certain = SMALL.model_copy(update={"run": SMALL.run.model_copy(update={"uncertainty": False})})
    with pytest.raises(InputError, match="uncertainty"):
        compare(run(SMALL, engine="simpy"), run(certain, engine="simpy"))


def test_the_summary_says_how_many_prices_were_drawn_and_only_then() -> None:
    certain = SMALL.model_copy(update={"run": SMALL.run.model_copy(update={"uncertainty": False})})
    wide, narrow = (run(scenario, engine="simpy").summary for scenario in (SMALL, certain))
    number = len(sampled_prices(SMALL, SHIPPED))
    assert wide["provenance"]["sampled_prices"] == number > 20
    assert any(f"the errors of {number} prices" in text for text in wide["provenance"]["assumptions"])
    assert "sampled_prices" not in narrow["provenance"]
    widths = [
        s["first_packet_s"]["mean"]["high"] - s["first_packet_s"]["mean"]["low"] for s in (wide, narrow)
    ]
    assert widths[0] > widths[1]


def test_drawn_prices_are_the_same_bytes_for_any_number_of_processes_and_in_both_schedulers() -> None:
    ways: tuple[dict[str, Any], ...] = ({"jobs": 1}, {"jobs": 2}, {"engine": "compiled", "jobs": 2})
    texts = []
    for way in ways:
        summary = run(SMALL, **{"engine": "simpy", **way}).summary
        del summary["provenance"]["engine"]
        texts.append(json.dumps(summary))
    assert len(set(texts)) == 1
