"""A fit finds the prices of machines whose prices are known, and says what it cannot know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from known_machine import Machine, written
from scipy.stats import binom

from nodeportsim.calibrate.fitting import connect, holdout
from nodeportsim.calibrate.fitting.fit import fit
from nodeportsim.calibrate.fitting.measurements import read
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.calibrate.fitting.fit import Fit
    from nodeportsim.calibrate.fitting.solve import Estimate

SIZES = (1, 10, 100, 1000, 2000, 5000, 10_000, 20_000)


def prices(found: Fit) -> dict[str, Estimate]:
    return {estimate.name: estimate for estimate, _ in found.modes["iptables-legacy"]}


def fitted(tmp_path: Path, table: pd.DataFrame) -> dict[str, Estimate]:
    return prices(fit(read(written(tmp_path / "measured", connect_latency_vs_services=table))))


def test_the_fit_finds_the_prices_of_a_known_machine(tmp_path: Path) -> None:
    """Two per cent noise, eight sizes: the bases to 2 %, the prices to 5 %, the knee to 15 %."""
    machine = Machine()
    found = fitted(tmp_path, machine.sweep(SIZES))
    # The noise is one-sided, and a cell's quiet time the least of three: half a per cent above the truth.
    assert found["connect_nodeport_ns"].value == pytest.approx(machine.base + 2 * 30, rel=0.02)
    assert found["address_mismatch_hot_ns"].value == pytest.approx(machine.address, rel=0.05)
    assert found["address_mismatch_cold_ns"].value == pytest.approx(4 * machine.address, rel=0.05)
    assert found["node_port_match_hot_ns"].value == pytest.approx(machine.node_port, rel=0.05)
    assert found["node_port_match_cold_ns"].value == pytest.approx(1.2 * machine.node_port, rel=0.05)
    assert found["cache_capacity_bytes"].value == pytest.approx(machine.capacity, rel=0.15)
    assert all(found[name].identified for name in ("address_mismatch_cold_ns", "node_port_match_hot_ns"))


def test_stated_errors_cover_the_truth(tmp_path: Path) -> None:
    """95 % intervals of the hot address price over 40 machines; binomial bounds at one in ten thousand."""
    machine = Machine(noise=0.04)
    covered = 0
    for seed in range(40):
        found = fitted(tmp_path, machine.sweep((1, 100, 1000, 2000, 5000), seed=seed))
        estimate = found["address_mismatch_hot_ns"]
        covered += estimate.low95 <= machine.address <= estimate.high95
    assert binom.ppf(1e-4, 40, 0.95) <= covered


def test_cells_without_a_quiet_repetition_move_no_price(tmp_path: Path) -> None:
    """One cell in ten at half the speed: a plain mean would lie 5 % too high, and slopes anywhere."""
    machine = Machine()
    found = fitted(tmp_path, machine.sweep(SIZES, slow=0.1, seed=3))
    assert found["address_mismatch_hot_ns"].value == pytest.approx(machine.address, rel=0.05)
    assert found["node_port_match_hot_ns"].value == pytest.approx(machine.node_port, rel=0.05)


def test_the_second_rule_is_told_apart_only_where_both_shapes_were_measured(tmp_path: Path) -> None:
    machine = Machine()
    both = fitted(tmp_path, machine.sweep(SIZES, rules=(1, 2)))["loopback_mismatch_hot_ns"]
    assert both.identified
    assert both.value == pytest.approx(machine.loopback, rel=0.1)
    one = fitted(tmp_path, machine.sweep(SIZES))["loopback_mismatch_hot_ns"]
    assert not one.identified
    assert one.value == pytest.approx(machine.address, rel=0.05)
    assert "not measured" in one.note


def test_endpoints_price_the_rules_that_choose(tmp_path: Path) -> None:
    """On average (E + 1) / 2 of them are tested."""
    found = fitted(tmp_path, Machine().sweep((1, 100, 1000), endpoints=(1, 3, 30, 300)))
    assert found["statistic_ns"].value == pytest.approx(30, rel=0.05)


def test_what_no_cell_reaches_is_said_to_be_the_prior(tmp_path: Path) -> None:
    """A smoke measurement stays far below the cache: its cold prices are no finding."""
    found = fitted(tmp_path, Machine().sweep((1, 1000)))
    assert found["address_mismatch_hot_ns"].identified
    for name in ("address_mismatch_cold_ns", "node_port_match_cold_ns", "cache_capacity_bytes"):
        assert not found[name].identified, name
        assert "prior" in found[name].note


def test_held_out_cells_do_not_touch_the_prediction_they_are_held_against(tmp_path: Path) -> None:
    """Make every held out time ten times as long: predictions stay, errors go to about minus 90 %."""
    table = Machine().sweep(SIZES)
    plain = fit(read(written(tmp_path / "measured", connect_latency_vs_services=table))).table()
    held = holdout.services_sweep(table)
    table.loc[held, ["connect_p25_ns", "connect_p50_ns"]] *= 10
    moved = fit(read(written(tmp_path / "measured", connect_latency_vs_services=table))).table()
    assert np.allclose(plain["predicted_ns"], moved["predicted_ns"])
    errors = moved[moved["held"]]["predicted_ns"] / moved[moved["held"]]["measured_ns"] - 1
    assert errors.max() < -0.8


def test_the_rule_holds_out_what_it_says() -> None:
    """Of five places at 8 sizes: all 11 cells at 2,000; 3 inner places of 2 targets at three more."""
    cells = Machine().sweep(SIZES).drop_duplicates(["services", "target", "service_position"])
    assert holdout.services_sweep(cells).sum() == 11 + 3 * 2 * 3
    sizes = pd.Series([1, 2, 3, 5, 10, 25, 2, 5])
    assert holdout.every_second(sizes).tolist() == [False, True, False, True, False, True, True, True]


def test_contradicting_data_are_refused(tmp_path: Path) -> None:
    table = Machine().sweep(SIZES)
    chance = np.random.default_rng(0)
    table["connect_p25_ns"] = np.exp(chance.uniform(np.log(1e3), np.log(1e8), len(table)))
    with pytest.raises(InputError, match="fits no prices"):
        fitted(tmp_path, table)


def test_one_point_has_no_price(tmp_path: Path) -> None:
    one = Machine().sweep((1,))
    with pytest.raises(InputError, match="needs 3 cells or more"):
        fitted(tmp_path, one[one["target"] == "podip"])


def test_every_mode_s_counts_are_those_of_the_walk() -> None:
    """NodePort at place 7 of 100, 3 endpoints, two rules a port: 100 + 8 + 8 rules, 2 in the mean."""
    cells = pd.DataFrame(
        [("iptables-nft", 100, 3, "nodeport", 7, 2, 0, 0), ("iptables-nft", 100, 3, "podip", -1, 2, 1, 0)],
        columns=connect.CASE,
    )
    counts = connect.count(cells, "iptables-nft")
    assert counts.address.tolist() == [100, 101]
    assert counts.loopback.tolist() == [8, 0]
    assert counts.node_port.tolist() == [8, 0]
    assert counts.statistic.tolist() == [2, 0]


@pytest.mark.parametrize("label", ["known", None])
def test_an_environment_is_chosen_by_its_label(tmp_path: Path, label: str | None) -> None:
    place = written(tmp_path / "measured", connect_latency_vs_services=Machine().sweep((1, 100, 1000)))
    assert fit(read(place), label=label).label == "known"
    with pytest.raises(InputError, match="must be an environment"):
        fit(read(place), label="unknown")
