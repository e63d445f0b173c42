"""The published comparison of closed forms with the simulator: within its claim, and what the page says."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nodeportsim.engine.simulate import simulate
from nodeportsim.study.agreement import POINTS, design, errors, rows_of
from nodeportsim.study.trial import profile_of

ROOT = Path(__file__).parents[2]
STORED = ROOT / "results" / "capacity_agreement"
WITHIN = 0.10
FORMS = ["mean latency", "p50 latency", "p99 latency", "node CPU", "pod workers", "conntrack"]


@cache
def points() -> pd.DataFrame:
    return pd.read_csv(STORED / "points.csv", keep_default_na=False)


def test_the_stored_points_are_the_design_and_every_form_is_compared_at_each() -> None:
    assert sorted(points()["point"].unique()) == list(range(POINTS))
    assert set(points()["form"]) == set(FORMS)
    for point in design():
        row = points()[points()["point"] == point.number].iloc[0]
        assert row["nodes"] == point.scenario.cluster.nodes
        assert row["rate_rps"] == point.scenario.clients[0].rate_rps


def test_every_closed_form_is_within_ten_percent_where_it_claims_to_hold() -> None:
    claimed = points()[points()["claimed"]]
    assert (claimed["error_ratio"].abs() <= WITHIN).all()
    assert (claimed["why_not"] == "").all()
    assert (points()[~points()["claimed"]]["why_not"] != "").all()
    # A claim of nothing would be within anything.
    assert claimed.groupby("form").size().min() >= 10


def test_the_sums_are_those_of_the_points() -> None:
    stored = pd.read_csv(STORED / "errors.csv")
    pd.testing.assert_frame_equal(errors(points()), stored, check_dtype=False, rtol=1e-9)


def test_the_page_says_the_table() -> None:
    page = (ROOT / "docs" / "capacity.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if re.match(rf"^\| ({'|'.join(FORMS)}) \| \d", line)
    ]
    stored = pd.read_csv(STORED / "errors.csv").set_index("form")
    assert [row[0] for row in rows] == FORMS
    for form, claimed, median, largest, outside, beyond in rows:
        row = stored.loc[form]
        assert [int(claimed), int(outside)] == [row["claimed"], row["outside"]]
        for said, name in ((median, "median"), (largest, "largest"), (beyond, "largest_outside")):
            value = row[name]
            assert said == ("infinite" if np.isinf(value) else f"{100 * value:.1f} %")


QUICK = sorted(
    range(POINTS),
    key=lambda k: design()[k].scenario.run.duration_s * design()[k].scenario.clients[0].rate_rps,
)[:2]


@pytest.mark.parametrize("number", QUICK)
def test_a_point_simulated_again_gives_the_same_row(number: int) -> None:
    point = design()[number]
    profile = profile_of(point.scenario)
    runs = [
        simulate(point.scenario, n, engine="compiled", profile=profile)
        for n in range(point.scenario.run.replications)
    ]
    again = pd.DataFrame(rows_of(point, runs)).set_index("form")
    stored = points()[points()["point"] == number].set_index("form")
    for name in ("closed_form", "simulated"):
        assert again[name].to_numpy() == pytest.approx(stored[name].astype(float).to_numpy(), rel=1e-5)
