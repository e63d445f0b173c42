"""Laws of the summary, the tables and the comparison."""

import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic
from synthetic import Replication

from nodeportsim.metrics import histogram
from nodeportsim.metrics.compare import compare
from nodeportsim.metrics.replication import CAUSES, PHASES, STAGES
from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.tables import tables

KEYS = (
    "requests attempts errors latency_s first_packet_s phases stages_s "
    "nodes pods balance routes programming_s timeline milestones outage recovery saturation"
)


@pytest.fixture(scope="module")
def runs() -> list[Replication]:
    return synthetic.replications(20, fault=(20, 45))


@pytest.fixture(scope="module")
def summary(runs: list[Replication]) -> dict:
    return summarise(runs, causes=CAUSES, stages=STAGES, phases=PHASES)


def test_the_summary_has_its_parts_in_order(summary: dict) -> None:
    assert list(summary) == KEYS.split()


def test_the_summary_is_plain_json_without_nan(summary: dict) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_requests_are_conserved_in_every_view(summary: dict) -> None:
    """offered = succeeded + failed by cause + in flight: in total, by phase, by second, by rank."""
    requests, phases, seconds = summary["requests"], summary["phases"].values(), summary["timeline"]
    assert requests["offered"] == requests["succeeded"] + requests["failed"] + requests["in_flight"]
    assert requests["failed"] == sum(summary["errors"].values())
    for name in ("offered", "succeeded", "failed"):
        assert requests[name] == sum(phase[name] for phase in phases)
    assert requests["succeeded"] == sum(second["succeeded"] for second in seconds)
    assert requests["offered"] == sum(second["offered"] for second in seconds)
    assert requests["failed"] == sum(sum(second["failed"].values()) for second in seconds)
    assert requests["offered"] == sum(pod["requests"] for pod in summary["pods"])


def test_the_order_of_replications_does_not_matter_to_counts_and_quantiles(runs: list[Replication]) -> None:
    forward, backward = summarise(runs), summarise(runs[::-1])
    for key in ("requests", "attempts", "errors", "timeline", "stages_s"):
        assert forward[key] == backward[key]
    for q in ("p50", "p99", "p999"):
        assert forward["latency_s"][q]["estimate"] == backward["latency_s"][q]["estimate"]


def test_equal_replications_give_equal_bytes(runs: list[Replication], summary: dict) -> None:
    assert json.dumps(summarise(runs)) == json.dumps(summary)


def test_quantiles_are_those_of_the_merged_histogram_and_the_mean_is_exact(
    runs: list[Replication], summary: dict
) -> None:
    merged = histogram.merge(r.latency.sum(axis=0) for r in runs)
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)):
        assert summary["latency_s"][name]["estimate"] == pytest.approx(
            histogram.quantile(merged, q), rel=1e-8
        )
    total_s = sum(int(r.latency_sum_ns.sum()) for r in runs) * 1e-9
    mean_s = total_s / summary["requests"]["succeeded"]
    assert summary["latency_s"]["mean"]["estimate"] == pytest.approx(mean_s, rel=1e-8)


def test_only_phases_that_occur_are_listed(summary: dict) -> None:
    assert list(summary["phases"]) == ["before", "during", "after"]
    assert list(summarise(synthetic.replications(2))["phases"]) == ["before"]


def test_failures_during_a_fault_are_the_fifth_of_one_node_times_what_retry_does_not_save(
    summary: dict,
) -> None:
    """The builder hurts 1 in 5 and saves 1 in 5 of these: 16 %, nothing before and after."""
    ratio = {phase: row["failed_ratio"] for phase, row in summary["phases"].items()}
    # Five 95 % half-widths are some ten standard errors: this builder's law, or a mistake.
    during = ratio["during"]
    assert during["estimate"] == pytest.approx(0.16, abs=5 * (during["high"] - during["estimate"]))
    assert ratio["before"]["estimate"] == ratio["after"]["estimate"] == 0
    assert "14 % of such runs" in ratio["before"]["reason"]


def test_under_ten_replications_every_interval_is_null_with_a_reason() -> None:
    few = summarise(synthetic.replications(3))
    estimates = [*few["latency_s"].values(), few["pods"][0]["share"], *few["balance"]["nodes"].values()]
    for estimate in estimates:
        assert (estimate["low"], estimate["high"]) == (None, None)
        assert estimate["reason"] == "3 replications; an interval needs 10"


def test_a_quantile_the_sample_cannot_carry_is_null_with_a_reason() -> None:
    few = summarise(synthetic.replications(10, rate_rps=5, duration_s=5))
    assert few["latency_s"]["p50"]["estimate"] > 0
    assert few["latency_s"]["p999"]["estimate"] is None
    assert "observations lie beyond it, 10 are needed" in few["latency_s"]["p999"]["reason"]


def test_members_are_listed_hottest_first_and_their_shares_add_up_to_one(summary: dict) -> None:
    for kind, members in (("nodes", 5), ("pods", 10)):
        rows = summary[kind]
        assert [row["rank"] for row in rows] == list(range(1, members + 1))
        shares = [row["share"]["estimate"] for row in rows]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-8)
        hottest = summary["balance"][kind]["max_over_mean"]["estimate"]
        assert hottest == pytest.approx(members * shares[0], rel=1e-8)


def test_a_run_without_any_request_is_summed_up_too() -> None:
    empty = summarise(synthetic.replications(10, rate_rps=1e-9, duration_s=2))
    assert empty["requests"]["offered"] == 0
    assert empty["phases"] == {}
    assert empty["latency_s"]["p50"]["reason"] == "there are no observations"
    assert empty["outage"] is None
    assert set(empty["stages_s"]["service"].values()) == {None}


def test_tables_hold_the_same_counts_as_the_summary(runs: list[Replication], summary: dict) -> None:
    made = tables(runs)
    assert made["requests"][["offered", "succeeded", "failed"]].sum().tolist() == [
        summary["requests"][name] for name in ("offered", "succeeded", "failed")
    ]
    assert made["timeline"]["offered"].tolist() == [row["offered"] for row in summary["timeline"]]
    assert made["timeline"][list(CAUSES)].to_numpy().sum() == summary["requests"]["failed"]
    for kind in ("nodes", "pods"):
        by_rank = made[kind].groupby("rank")[["connections", "requests"]].sum()
        assert by_rank["connections"].tolist() == [row["connections"] for row in summary[kind]]
        assert by_rank["requests"].tolist() == [row["requests"] for row in summary[kind]]
    stages = made["stages"].set_index("stage")
    assert stages.loc["service", "at_p99_s"] == pytest.approx(
        summary["stages_s"]["service"]["at_p99"], rel=1e-8
    )


def test_tables_are_tidy(runs: list[Replication]) -> None:
    made = tables(runs)
    assert not made["milestones"].duplicated(["replication", "name", "subject"]).any()
    assert not made["nodes"].duplicated(["replication", "rank"]).any()
    for phase, curve in made["latency"].groupby("phase"):
        assert phase in PHASES
        assert np.all(np.diff(curve["ccdf_ratio"]) < 0)
    longest_s = made["latency"].groupby("phase")["latency_s"].max()
    assert longest_s["before"] < 1.0  # Only a fault makes a SYN be sent again, after 1 s or 3 s.
    assert longest_s["during"] > 3.0
    per_run = made["pods"].groupby("replication")["share_ratio"].sum()
    assert per_run.to_numpy() == pytest.approx(1)


def test_a_variant_compared_with_itself_does_not_differ(runs: list[Replication]) -> None:
    for row in compare(runs, runs, windows=[(20, 45)]):
        assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
        assert row["a"] == row["b"]


def test_a_longer_outage_shows_in_totals_and_in_the_window_where_it_was_longer(
    runs: list[Replication],
) -> None:
    shorter = synthetic.replications(20, fault=(20, 30))
    rows = {row["metric"]: row for row in compare(shorter, runs, windows=[(0, 20), (30, 45)])}
    assert rows["failed_ratio"]["low"] > 0
    assert rows["failed_ratio"]["difference"] == pytest.approx(
        rows["failed_ratio"]["b"] - rows["failed_ratio"]["a"]
    )
    assert rows["failed_ratio 0s-20s"]["difference"] == 0
    assert (rows["failed_ratio 30s-45s"]["a"], rows["failed_ratio 30s-45s"]["b"] > 0.1) == (0, True)
    assert rows["latency_p99_s"]["low"] > 0


def test_shares_do_not_depend_on_what_members_are_called(runs: list[Replication]) -> None:
    renamed = [
        replace(
            r,
            pods=r.pods[::-1],
            nodes=np.roll(r.nodes, 2, axis=0),
            node_failed=np.roll(r.node_failed, 2),
            node_names=(*r.node_names[-2:], *r.node_names[:-2]),
        )
        for r in runs
    ]
    assert summarise(renamed) == summarise(runs)
