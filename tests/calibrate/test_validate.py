"""Predicted against measured: every row has one account, tolerances are those agreed, the page is fresh."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from nodeportsim.calibrate.shipped.published import COLUMNS, pick, read_rows
from nodeportsim.calibrate.shipped.tke2026 import line
from nodeportsim.calibrate.validating import residuals, validate
from nodeportsim.calibrate.validating.predictors import balance, failures, prices, throughput
from nodeportsim.calibrate.validating.predictors.rule import TOLERANCES, Rule, in_order
from nodeportsim.cli import main
from nodeportsim.errors import InputError
from nodeportsim.scenario.profile import data_folder, load_profile

ROOT = Path(__file__).parents[2]
STORED = ROOT / "results" / "validation"
ROWS = read_rows()
VAL = pick(ROWS, use="val")


def made(**cells: Any) -> pd.DataFrame:
    """Make one published row."""
    row = {**dict.fromkeys(COLUMNS, ""), "value": 1.0, "use": "val", **cells}
    return pd.DataFrame([row])


def test_every_row_kept_out_of_fits_is_accounted_for_by_one_rule() -> None:
    for row in VAL.to_dict("records"):
        validate.rule_of(row)


def test_no_rule_is_without_rows() -> None:
    """But for numbers that are kept from this copy: the forwarding rate of another laboratory."""
    used = {id(validate.rule_of(row)) for row in VAL.to_dict("records")}
    idle = [rule for rule in validate.RULES if id(rule) not in used]
    assert {rule.metric for rule in idle} <= {"nodeport_forward_rate"}


def test_a_rule_that_predicts_says_how_and_one_that_does_not_says_why() -> None:
    for rule in validate.RULES:
        assert rule.how if rule.predict else rule.reason


def test_a_row_without_a_rule_or_with_two_is_an_error() -> None:
    stranger = made(source_id="NOBODY", metric="rps").iloc[0].to_dict()
    with pytest.raises(InputError, match="by one rule, not by 0"):
        validate.rule_of(stranger)
    twice = (Rule(source="NOBODY"), Rule(source="NO.*"))
    with pytest.raises(InputError, match="by one rule, not by 2"):
        validate.rule_of(stranger, twice)


@pytest.mark.parametrize(
    ("name", "unit", "measured", "inside", "outside"),
    [
        ("slope", "us", 2.5, 2.74, 2.76),
        ("percentile", "us", 100.0, 124.9, 125.1),
        ("percentile", "us", 10.0, 17.9, 18.1),
        ("percentile", "s", 10.0, 12.4, 17.9),
        ("outage", "s", 40.0, 44.9, 45.1),
        ("share", "ratio", 0.30, 0.349, 0.351),
        ("share", "%", 30.0, 34.9, 35.1),
        ("replay", "s", 5.0, 5.019, 5.021),
        ("exact", "lines", 1000.0, 1000.9, 1001.1),
    ],
)
def test_a_tolerance_ends_where_the_acceptance_says(
    name: str, unit: str, measured: float, inside: float, outside: float
) -> None:
    assert TOLERANCES[name].holds(measured, inside, unit)
    assert not TOLERANCES[name].holds(measured, outside, unit)


def test_a_range_is_kept_by_whatever_lies_inside_it() -> None:
    rule = Rule(source=".*", tolerance="share", within=True)
    ends = pd.concat(
        [made(unit="ratio", percentile="min", value=0.26), made(unit="ratio", percentile="max", value=0.37)]
    )
    assert rule.judge(ends, np.array([0.333, 0.333])) == [True, True]
    assert rule.judge(ends, np.array([0.20, 0.43])) == [False, False]


def test_a_shape_holds_while_no_pair_is_the_wrong_way_round() -> None:
    measured = np.array([100.0, 80.0, 79.5, 10.0])
    assert in_order(measured, np.array([50.0, 30.0, 31.0, 1.0])).all()
    assert list(in_order(measured, np.array([50.0, 30.0, 30.0, 40.0]))) == [True, False, False, False]


# -- predictors ----------------------------------------------------------------------------------


def test_first_packets_of_a_flat_mode_are_log_normal_around_the_price() -> None:
    profile = load_profile("published-2025")
    price_us = profile.modes["nftables"].connect_clusterip_ns.value / 1e3
    price_us += profile.modes["nftables"].map_element_ns.value / 1e3
    spread = profile.host.connect_spread_ratio.value
    row = made(mode="nftables", n_services="10000", percentile="p90")
    expected = price_us * math.exp(spread * NormalDist().inv_cdf(0.9) - spread**2 / 2)
    assert prices.first_packets(row) == pytest.approx([expected], rel=1e-6)


def test_first_packets_through_a_chain_grow_with_it_and_lie_between_head_and_end() -> None:
    """Half of all Services stand before the middle: the median is near base + S/2 rules, spread aside."""
    profile = load_profile("published-2025")
    price = profile.modes["iptables-nft"]
    row = made(mode="iptables", n_services="20000", percentile="p50")
    middle_us = (price.connect_clusterip_ns.value + 10_000 * price.address_mismatch_hot_ns.value) / 1e3
    assert prices.first_packets(row) == pytest.approx([middle_us], rel=0.1)


def test_saved_lines_are_three_and_four_an_endpoint_for_each_service() -> None:
    """Rules: one in KUBE-SERVICES, 1 + E in KUBE-SVC, 2 in each KUBE-SEP; chains: one and one an endpoint."""
    few, many = (prices.saved_lines(made(n_services=s, n_endpoints="3"))[0] for s in ("100", "300"))
    assert (many - few) / 200 == 3 + 4 * 3


def test_idle_share_is_what_the_packets_leave() -> None:
    """Packets x price / CPUs, the price 4 CPUs over 2.1 million a second."""
    row = made(mode="iptables", note="1 Mpps offered")
    assert prices.cpu_free(row) == pytest.approx([100 * (1 - 1 / 2.1)], rel=1e-4)
    assert prices.cpu_free(made(mode="ipvs", note="4 Mpps offered")) == [0.0]
    assert prices.forwarded(row) == pytest.approx([2.1], rel=1e-4)


def test_syncs_are_the_profile_s_law() -> None:
    cost = load_profile("kernel-6.18").modes["nftables"].sync_full
    row = made(mode="nftables", n_services="5000", n_endpoints="10000")
    rules = 22 + 5001  # nftables, no NodePorts: kube-proxy's own 22 and one per Service.
    expected = (
        cost.constant_s.value + 10_001 * cost.per_endpoint_s.value + rules**2 * cost.per_rule_squared_s.value
    )
    assert prices.full_syncs(row) == pytest.approx([expected], rel=1e-9)


def test_little_gives_rate_and_time() -> None:
    """N = X R."""
    assert throughput.little_rps(made(note="500 conns, mean 4 ms")) == pytest.approx([125_000])
    assert throughput.little_rps(made(note="wrk c100; mean latency 8.80 ms sd 11")) == pytest.approx(
        [100 / 0.0088]
    )
    assert throughput.little_ms(made(source_id="K8S-PR71114")) == pytest.approx([300 / 408.13 * 1e3])


def test_a_replayed_queue_adds_up_what_was_asked_of_each_pod() -> None:
    asked = [("a", 3), ("b", 5), ("a", 10), ("a", 2)]
    rows = pd.concat([made(percentile=pod, note=f"requested sleep {s} s") for pod, s in asked])
    assert balance.replayed(rows) == [3, 5, 13, 15]


def test_a_line_of_times_finds_the_line_it_was_drawn_from() -> None:
    sizes = [0, 5000, 10_000, 30_000]
    rows = pd.concat([made(n_services=str(s), value=1 / (30e-6 + 2.5e-9 * s)) for s in sizes])
    found = line(rows)
    assert (found.a_s, found.b_s) == pytest.approx((30e-6, 2.5e-9), rel=1e-9)


def test_waits_beyond_an_outage_follow_the_clock_of_the_syn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outage 7 s, begun at age a before its end: through at 1, 3 or 7 s; extra 7 - a for a in 3..7."""
    monkeypatch.setattr(failures, "_since_fault_s", lambda *_: np.array([7.0]))
    ages = 7 * (np.arange(10_000) + 0.5) / 10_000
    extra = np.select([ages <= 1, ages <= 3], [1 - ages, 3 - ages], 7 - ages)
    rows = pd.concat([made(percentile="min"), made(percentile="max")])
    assert failures.extra_waits(rows) == pytest.approx(np.quantile(extra, [0.25, 0.75]), abs=0.01)


def test_a_failing_share_is_that_of_the_dead_endpoints() -> None:
    """1 of 3, to 5 standard errors of 20 x some 1,900 draws."""
    share = failures.failing_share(made())[0]
    assert abs(share - 1 / 3) < 5 * math.sqrt(2 / 9 / 30_000) + 0.005


def test_retries_succeed_and_multiply_as_independent_tries() -> None:
    """1 - p^3 and 1 + p + p^2 at p = 7/20; 10,000 requests, 5 standard errors."""
    p = 7 / 20
    rows = pd.concat([made(mode="3 attempts immediate", metric=m) for m in ("success_rate", "amplification")])
    success, attempts = balance.retried(rows)
    assert abs(success - (1 - p**3)) < 5 * math.sqrt(p**3 * (1 - p**3) / 10_000)
    spread = math.sqrt((1 + 3 * p + 5 * p**2) - (1 + p + p**2) ** 2)
    assert abs(attempts - (1 + p + p**2)) < 5 * spread / math.sqrt(10_000)


# -- the stored results --------------------------------------------------------------------------


def stored() -> pd.DataFrame:
    return pd.read_csv(STORED / "table.csv", keep_default_na=False, na_values=[""])


def test_the_stored_table_has_every_row_once_in_order_and_the_slopes_beside() -> None:
    table = stored()
    assert list(table["source_id"][: len(VAL)]) == list(VAL["source_id"])
    assert list(table["measured"][: len(VAL)]) == list(VAL["value"])
    assert set(table["metric"][len(VAL) :]) == {"slope of 1/rate"}


def test_what_is_predicted_by_prices_is_still_what_the_table_says() -> None:
    own = [rule for rule in prices.RULES if rule.predict]
    asked = VAL.reset_index(drop=True)
    for rule in own:
        group = asked[[rule.matches(row) for row in asked.to_dict("records")]]
        if len(group) and rule.predict is not None:
            said = stored().loc[group.index, "predicted"].to_numpy(float)
            assert np.allclose(rule.predict(group), said, rtol=1e-5), rule.source


def test_every_miss_in_the_stored_table_has_its_reason() -> None:
    table = stored()
    left = table[table["status"] != "ok"]
    assert (left["reason"].str.len() > 0).all()
    assert pd.read_csv(STORED / "own.csv").query("status == 'miss'")["reason"].notna().all()


def test_own_held_out_cells_are_summed_up_as_their_files_say() -> None:
    own = residuals.own().set_index(["profile", "mode", "experiment", "target"])
    cells = pd.read_csv(data_folder("models") / "kernel-6.18" / "cells.csv")
    cells = cells[cells["held"] & (cells["mode"] == "nftables")]
    cells = cells[(cells["experiment"] == "services") & (cells["target"] == "nodeport")]
    off = abs(cells["predicted_ns"] / cells["measured_ns"] - 1)
    row = own.loc[("kernel-6.18", "nftables", "services", "nodeport")]
    assert row["cells"] == len(cells)
    assert row["median_error"] == pytest.approx(off.median(), rel=1e-5)


@pytest.mark.long
def test_table_figures_and_page_are_the_same_bytes_when_made_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command = ["validate", "--out", str(tmp_path / "out"), "--page", str(page), "-o", "csv"]
    assert CliRunner().invoke(main, command).exit_code == 0
    again = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert again == {path.name: path.read_bytes() for path in STORED.iterdir()}
    assert page.read_bytes() == (ROOT / "docs" / "validation.md").read_bytes()


# -- your own measurements -----------------------------------------------------------------------


def test_a_profile_meets_the_measurements_it_was_fitted_to() -> None:
    """The fit's own cells: the median error of each group stays within 5 %."""
    folder = data_folder("models") / "kernel-6.18" / "data"
    answer = CliRunner().invoke(main, ["validate", str(folder), "-o", "json"])
    assert answer.exit_code == 0, answer.output
    cells = pd.DataFrame(json.loads(answer.stdout))
    off = abs(cells["predicted_ns"] / cells["measured_ns"] - 1)
    assert (off.groupby([cells["mode"], cells["experiment"], cells["target"]]).median() < 0.05).all()


def test_a_folder_and_published_rows_are_not_asked_for_at_once(tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["validate", str(tmp_path), "--page", str(tmp_path / "p.md")])
    assert answer.exit_code == 2


def test_a_file_that_holds_no_published_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has no column source_id"):
        read_rows(tmp_path / "rows.csv")
    text = ",".join(COLUMNS) + "\n" + ",".join(["x"] * len(COLUMNS)) + "\n"
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(InputError, match="must be a number"):
        read_rows(tmp_path / "rows.csv")


def test_a_folder_is_held_against_the_cells_its_fit_saw() -> None:
    """Same cases, same quiet times: hits of affinity are none of them. Prices are those of the final fit."""
    home = data_folder("models") / "kernel-6.18-epyc"
    table, errors = residuals.measured(home / "data", "kernel-6.18-epyc")
    fitted = pd.read_csv(home / "cells.csv")
    fitted = fitted[fitted["experiment"].isin(["services", "endpoints", "affinity"])]
    assert sorted(table["measured_ns"].round()) == sorted(fitted["measured_ns"])
    assert set(errors["experiment"]) == {"services", "endpoints", "affinity"}
    assert errors["median_error"].max() < 0.05
