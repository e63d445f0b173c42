"""A design is its axes: what is written is what is run, every point once; what makes no sense is refused."""

from __future__ import annotations

import itertools
import json
import math
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.scenario.read import example_path, read
from nodeportsim.study.design import METHODS, Axis, Value, coordinate, parse_vary, points, size


def texts(word: str) -> tuple[str, ...]:
    return parse_vary([word])[0].texts


def numbers(word: str) -> list[float]:
    return [float(str(coordinate(text))) for text in texts(word)]


def test_values_stand_as_they_were_written() -> None:
    assert texts("proxy.mode=iptables, ipvs,nftables") == ("iptables", "ipvs", "nftables")


def test_commas_within_brackets_and_quotes_do_not_separate() -> None:
    word = "events=[{at: 30s, fault: power-off, node: node-3}],[]"
    assert texts(word) == ("[{at: 30s, fault: power-off, node: node-3}]", "[]")
    assert texts("cluster.objects='a,b',c") == ("'a,b'", "c")


def test_linear_steps_have_equal_differences_and_the_ends_as_written() -> None:
    found = numbers("serviceTime.mean=lin:1ms:50ms:6")
    assert texts("serviceTime.mean=lin:1ms:50ms:6") == ("1ms", "10.8ms", "20.6ms", "30.4ms", "40.2ms", "50ms")
    np.testing.assert_allclose(np.diff(found), 0.049 / 5)


def test_logarithmic_steps_have_equal_factors() -> None:
    found = numbers("clients.rate=log:10/s:10000/s:7")
    # Six significant digits are written.
    np.testing.assert_allclose(found, np.geomspace(10, 10_000, 7), rtol=0.5e-5)


def test_the_ends_may_have_different_units_of_one_kind() -> None:
    np.testing.assert_allclose(numbers("serviceTime.mean=log:100us:10ms:3"), [1e-4, 1e-3, 1e-2])
    assert numbers("serviceTime.mean=lin:0:4ms:3") == [0.0, 0.002, 0.004]


def test_a_field_that_counts_gets_whole_numbers_without_repeats() -> None:
    assert texts("replicas=lin:1:4:10") == ("1", "2", "3", "4")
    assert texts("services=log:1:10000:5") == ("1", "10", "100", "1000", "10000")
    assert all(isinstance(p.labels["replicas"], int) for p in points(parse_vary(["replicas=lin:1:4:10"])))


def test_bare_words_for_true_and_false_are_no_text() -> None:
    found = points(parse_vary(["localhostNodePorts=true,false"]))
    assert [p.labels["localhostNodePorts"] for p in found] == [True, False]


def test_a_version_is_text_and_no_number() -> None:
    (first, second) = points(parse_vary(["kubernetesVersion=1.30,1.3"]))
    assert (first.labels, second.labels) == ({"kubernetesVersion": "1.30"}, {"kubernetesVersion": "1.3"})


AXES = ("replicas=2,5", "proxy.mode=iptables,ipvs,nftables", "clients.rate=100/s,200/s")


def test_a_grid_is_every_combination_and_the_last_axis_moves_fastest() -> None:
    found = [tuple(p.labels.values()) for p in points(parse_vary(AXES))]
    expected = list(itertools.product((2, 5), ("iptables", "ipvs", "nftables"), ("100/s", "200/s")))
    assert found == expected


def test_a_zip_takes_the_first_of_each_then_the_second() -> None:
    found = points(parse_vary(["replicas=2,5", "nodes=3,8"]), method="zip")
    assert [p.sets for p in found] == [("replicas=2", "nodes=3"), ("replicas=5", "nodes=8")]


def test_nothing_varied_is_one_point_and_changes_nothing() -> None:
    for method in ("grid", "zip"):
        (only,) = points((), method=method)  # type: ignore[arg-type]  # A loop over names is a loop over str.
        assert (only.labels, only.sets) == ({}, ())


@pytest.mark.parametrize("method", METHODS)
def test_the_size_is_known_before_the_points_are_made(method: str) -> None:
    words = (
        ["replicas=2,5,9", "nodes=3,8,9"] if method in ("grid", "zip") else ["replicas=2..9", "nodes=3..8"]
    )
    samples = None if method in ("grid", "zip") else 16
    axes = parse_vary(words)
    assert size(axes, method, samples) == len(points(axes, method=method, samples=samples))  # type: ignore[arg-type]


@given(samples=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_a_latin_hypercube_has_one_point_in_each_part_of_every_axis(samples: int, seed: int) -> None:
    axes = parse_vary(["clients.rate=0.5/s..1000.5/s", "serviceTime.mean=1ms..2ms"])
    drawn = points(axes, method="lhs", samples=samples, seed=seed)
    for axis in axes:
        assert axis.range is not None
        values = np.sort([float(str(coordinate(p.labels[axis.path]))) for p in drawn])
        low, high = (float(str(coordinate(end))) for end in axis.range.ends)
        edges = np.linspace(low, high, samples + 1)
        # Written with six digits, a value may stand half of the last one beyond an edge.
        assert (values >= edges[:-1] * (1 - 1e-5)).all()
        assert (values <= edges[1:] * (1 + 1e-5)).all()


def test_sobol_points_are_balanced_over_halves_and_over_values() -> None:
    axes = parse_vary(["clients.rate=log:1/s:100/s", "replicas=1..4", "proxy.mode=ipvs,nftables"])
    drawn = points(axes, method="sobol", samples=64, seed=3)
    rates = [float(str(coordinate(p.labels["clients.rate"]))) for p in drawn]
    assert sum(rate < 10 for rate in rates) == 32  # The middle of a logarithmic range.
    for value in (1, 2, 3, 4):
        assert sum(p.labels["replicas"] == value for p in drawn) == 16
    assert sum(p.labels["proxy.mode"] == "ipvs" for p in drawn) == 32


def test_a_seed_is_one_design_and_another_is_another() -> None:
    axes = parse_vary(["clients.rate=1/s..100/s"])
    for method in ("lhs", "sobol"):
        one, same, other = (points(axes, method=method, samples=8, seed=s) for s in (1, 1, 2))  # type: ignore[arg-type]
        assert one == same != other


def test_every_point_is_what_set_takes() -> None:
    axes = parse_vary(["serviceTime.mean=1500us..15ms", "replicas=1..9", "proxy.mode=ipvs,nftables"])
    for point in points(axes, method="lhs", samples=20, seed=1):
        scenario = read(example_path("guide"), sets=point.sets)
        assert scenario.service.replicas == point.labels["replicas"]
        wanted = coordinate(point.labels["serviceTime.mean"])
        assert math.isclose(scenario.pods.service_time.mean_s, float(str(wanted)))


@given(
    low=st.integers(-(10**6), 10**6),
    width=st.integers(1, 10**6),
    count=st.integers(2, 50),
    is_log=st.booleans(),
)
def test_whole_steps_begin_and_end_where_they_should_and_never_turn_back(
    low: int, width: int, count: int, is_log: bool
) -> None:
    low = max(low, 1) if is_log else low
    kind = "log" if is_log else "lin"
    found = [int(text) for text in texts(f"services={kind}:{low}:{low + width}:{count}")]
    assert (found[0], found[-1]) == (low, low + width)
    assert found == sorted(set(found))


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True), min_size=1, max_size=3))
def test_a_grid_has_the_product_of_its_lengths_and_no_point_twice(values: list[list[int]]) -> None:
    paths = ("services", "nodePorts", "replicas")
    words = [f"{path}={','.join(map(str, row))}" for path, row in zip(paths, values, strict=False)]
    found = {json.dumps(p.labels) for p in points(parse_vary(words))}
    assert len(found) == prod(map(len, values))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["proxy.mode"], "must be path=values"),
        (["proxy.mode="], "empty value"),
        (["replicas=1,,2"], "empty value"),
        (["replicsa=1,2"], "did you mean"),
        (["nodes=1,2", "cluster.nodes=3"], "varied twice"),
        (["proxy.mode=ipvs,iptables,ipvs"], "a value twice"),
        (["serviceTime.mean=1ms,1000us"], "it is 1ms, too"),
        (["replicas=lin:5:5:3"], "lower to a higher"),
        (["replicas=9..3"], "lower to a higher"),
        (["clients.rate=log:0:10/s:3"], "above zero"),
        (["services=log:-5:10:3"], "above zero"),
        (["replicas=lin:1:9"], "is a range"),
        (["replicas=1..9"], "is a range"),
        (["replicas=lin:1:9:1"], "from 2 to a million"),
        (["replicas=lin:1:9:x"], "from 2 to a million"),
        (["replicas=lin:1:9:9999999"], "from 2 to a million"),
        (["replicas=lin:1"], "must be lin:LOW:HIGH:N"),
        (["replicas=lin:1.5:9:3"], "whole numbers"),
        (["clients.rate=1/s..5ms"], "one kind"),
        (["clients.rate=few..many"], "range of numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        points(parse_vary(words))


@pytest.mark.parametrize(
    ("method", "samples", "problem"),
    [
        ("zip", None, "equally many values"),
        ("grid", 5, "are for the methods lhs and sobol"),
        ("lhs", None, "needs --samples"),
        ("lhs", 0, "needs --samples"),
        ("sobol", 100, "take 64 or 128"),
    ],
)
def test_a_method_that_does_not_fit_is_refused(method: str, samples: int | None, problem: str) -> None:
    axes = parse_vary(["replicas=1,2", "nodes=3,4,5"])
    with pytest.raises(InputError, match=problem):
        points(axes, method=method, samples=samples)  # type: ignore[arg-type]


def test_a_million_points_are_counted_and_not_made() -> None:
    axes = tuple(Axis(path=f"a{n}", texts=tuple(map(str, range(100)))) for n in range(6))
    assert size(axes) == 10**12


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2000/s", 2000.0), ("5ms", 0.005), ("20%", 0.2), ("ipvs", "ipvs"), (3, 3), (True, True), (None, None)],
)
def test_a_coordinate_is_in_si_units(value: Value, expected: Value) -> None:
    assert coordinate(value) == expected
