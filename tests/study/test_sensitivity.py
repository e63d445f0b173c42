"""Indices are those of closed forms; what does nothing gets nothing; what cannot be ranked is not."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sweeping
from click.testing import CliRunner

from nodeportsim.cli import main
from nodeportsim.errors import InputError
from nodeportsim.metrics.importance import importance, verdict
from nodeportsim.study.design import parse_vary
from nodeportsim.study.sensitivity import Plan, indices, planned, sample, sweep_of

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from nodeportsim.study.sensitivity import Analysis

A, B = 7.0, 0.1
"""Constants of Ishigami and Homma 1990 (doi:10.1109/ISUMA.1990.151285) as Saltelli et al. use them."""


def plan(method: Analysis, samples: int, parameters: int = 3) -> Plan:
    words = ["clients.rate=1/s..2/s", "serviceTime.mean=1ms..2ms", "replicas=1..9", "nodes=1..9"]
    return planned(parse_vary(words[:parameters]), method, samples, seed=1)


def ishigami(u: Any) -> Any:
    x = np.pi * (2 * u - 1)
    return np.sin(x[:, 0]) + A * np.sin(x[:, 1]) ** 2 + B * x[:, 2] ** 4 * np.sin(x[:, 0])


def test_sobol_indices_of_ishigamis_function_are_its_closed_form() -> None:
    """Var = 1/2 + a^2/8 + b pi^4/5 + b^2 pi^8/18, of which x1 alone has (1 + b pi^4/5)^2 / 2, x2 a^2/8."""
    variance = 0.5 + A**2 / 8 + B * math.pi**4 / 5 + B**2 * math.pi**8 / 18
    first = ((1 + B * math.pi**4 / 5) ** 2 / 2, A**2 / 8, 0.0)
    together = B**2 * math.pi**8 * (1 / 18 - 1 / 50)  # What x1 and x3 do together.
    total = (first[0] + together, first[1], together)
    design = plan("sobol", 1024)
    found = indices(design, ishigami(sample(design)))
    for row in found:
        at = design.names.index(row["parameter"])
        expected = (first if row["index"] == "first" else total)[at] / variance
        assert row["low"] <= expected <= row["high"], row


def test_morris_of_a_sum_is_its_coefficients_without_spread() -> None:
    """The effect of a step in a linear function is its coefficient, wherever the step is taken."""
    design = plan("morris", 8)
    found = indices(design, sample(design) @ np.array([3.0, -2.0, 0.0]))
    rows = {(row["parameter"], row["index"]): row["estimate"] for row in found}
    for name, size in zip(design.names, (3.0, 2.0, 0.0), strict=True):
        assert rows[name, "mu_star"] == pytest.approx(size)
        assert rows[name, "sigma"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("method", ["morris", "sobol"])
def test_a_constant_has_no_sensitivity_to_anything(method: Analysis) -> None:
    design = plan(method, 8)
    found = indices(design, np.full(len(sample(design)), 4.0))
    assert {row["estimate"] for row in found} == {0.0}
    assert verdict([{"metric": "m", "method": method, **row} for row in found]) == (
        "No parameter can be shown to matter for m."
    )


# -- words ---------------------------------------------------------------------------------------


def rows(method: str, **parameters: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Make the ranked rows of an analysis: name = (estimate, low, high)."""
    index = {"sobol": "total", "morris": "mu_star", "tornado": "high"}[method]
    return [
        {
            "metric": "m",
            "method": method,
            "parameter": name,
            "index": index,
            "setting": None,
            "estimate": estimate,
            "low": low,
            "high": high,
        }
        for name, (estimate, low, high) in parameters.items()
    ]


def test_the_parameter_that_stands_out_is_named_with_its_interval() -> None:
    found = verdict(rows("sobol", a=(0.2, 0.1, 0.3), b=(0.7, 0.6, 0.8), c=(0.0, 0.0, 0.0)))
    assert found == "b matters most for m: 0.7 [0.6, 0.8]. No effect can be shown of c."


def test_parameters_whose_intervals_overlap_are_not_ranked() -> None:
    found = verdict(rows("morris", a=(5.0, 4.0, 6.0), b=(4.5, 3.0, 6.0), c=(1.0, 0.5, 1.5)))
    assert found == "a and b matter most for m, and cannot be told apart: their intervals overlap."


def test_a_bar_to_the_left_counts_by_its_length() -> None:
    found = rows("tornado", a=(1.0, 0.9, 1.1), b=(-3.0, -3.5, -2.5))
    assert [row["parameter"] for row in importance(found)] == ["b", "a"]
    assert verdict(found).startswith("b matters most for m: 3 [2.5, 3.5]")


def test_without_intervals_nothing_is_ranked() -> None:
    found = rows("tornado", a=(1.0, 0.9, 1.1))
    found[0] |= {"low": None, "high": None}
    assert verdict(found) == "Parameters are not ranked for m: an interval needs 10 replications."


# -- the command ---------------------------------------------------------------------------------

VARY = ("serviceTime.mean=2ms..6ms", "replicas=2..4", "nodeMonitorGracePeriod=30s..60s")


def call(folder: Path, *more: str) -> Result:
    words = [str(sweeping.scenario(folder)), "--engine", "simpy", "--quiet", "--out", str(folder / "out")]
    varied = [word for path in VARY for word in ("--vary", path)]
    return CliRunner().invoke(main, ["sensitivity", *words, *varied, *more], prog_name="nodeportsim")


def written(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "sensitivity.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("method", "more"), [("tornado", ("--replications=10",)), ("morris", ("--samples=4",))]
)
def test_the_slow_service_matters_and_an_inert_parameter_gets_nothing(
    tmp_path: Path, method: str, more: tuple[str, ...]
) -> None:
    """Nothing fails in the scenario: how soon a dead node is noticed changes nothing, not even a draw."""
    ended = call(tmp_path, "--method", method, *more, "--metric=latency_s.mean")
    assert ended.exit_code == 0, ended.output
    assert "serviceTime.mean matters most for latency_s.mean" in ended.output
    assert "No effect can be shown of" in ended.output
    for row in written(tmp_path):
        if row["parameter"] == "nodeMonitorGracePeriod":
            assert float(row["estimate"]) == 0.0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "tornado.svg",
        "tornado.png",
        "results.csv",
    }


def test_a_tornado_is_the_difference_to_the_scenario_itself(tmp_path: Path) -> None:
    """The mean service time goes from 5 ms to 2 ms and to 6 ms, and nothing waits: so does the latency."""
    ended = call(tmp_path, "--metric=latency_s.mean", "--replications=10", "--set=workers=64")
    assert ended.exit_code == 0, ended.output
    found = {row["index"]: row for row in written(tmp_path) if row["parameter"] == "serviceTime.mean"}
    assert [found[end]["setting"] for end in ("low", "high")] == ["2ms", "6ms"]
    from nodeportsim.scenario.read import read

    mean_s = read(tmp_path / "tiny.yaml").pods.service_time.mean_s
    for end, to_s in (("low", 0.002), ("high", 0.006)):
        # Demands are shared, each scaled by the same factor: the difference is theirs to rounding.
        low, high = float(found[end]["low"]), float(found[end]["high"])
        assert low <= to_s - mean_s <= high


def test_another_metric_reads_the_same_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nodeportsim.study import measure

    assert call(tmp_path, "--metric=latency_s.mean", "--replications=10").exit_code == 0
    monkeypatch.setattr(measure, "replicate", None)  # Whoever simulates again fails.
    ended = call(tmp_path, "--metric=throughput_rps", "--replications=10")
    assert ended.exit_code == 0, ended.output
    assert {row["metric"] for row in written(tmp_path)} == {"throughput_rps"}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--metric=latency_s",), "means several metrics"),
        (("--metric=latency.p99",), "did you mean"),
        (("--method=sobol", "--samples=100"), "power of two"),
        (("--method=morris", "--samples=2"), "at least 4"),
        (("--samples=9",), "tornado takes both ends alone"),
        (("--vary=proxy.mode=ipvs",), "needs a range or two values"),
        (("--metric=latency_s.p999",), "has no value at point"),
    ],
)
def test_what_cannot_be_answered_is_refused(tmp_path: Path, more: tuple[str, ...], problem: str) -> None:
    ended = call(tmp_path, *more)
    assert (ended.exit_code, problem in ended.output) == (2, True), ended.output


def test_one_parameter_alone_is_compared_with_nothing() -> None:
    with pytest.raises(InputError, match="at least two parameters"):
        planned(parse_vary(VARY[:1]), "sobol", None, seed=1)
    with pytest.raises(InputError, match="is needed, once for each parameter"):
        planned((), "tornado", None, seed=1)


def test_a_tornado_has_two_points_a_parameter_and_the_scenario(tmp_path: Path) -> None:
    design = planned(parse_vary(VARY), "tornado", None, seed=1)
    found = sweep_of(design, lambda _: sweeping.sweep(tmp_path).base)
    assert [p.sets for p in found.points][:3] == [(), ("serviceTime.mean=2ms",), ("serviceTime.mean=6ms",)]
    assert len(found.points) == 2 * len(VARY) + 1
