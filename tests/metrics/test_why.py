"""What the one sentence must say."""

from typing import Any

import numpy as np
import pytest
import synthetic
from synthetic import Replication

from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.why import why


def pinned(runs: list[Replication]) -> list[Replication]:
    """All connections on the first pod, but for as many as a pod's fair share on the second."""
    for run in runs:
        share = np.zeros((len(run.pods), 1))
        share[:2, 0] = 10, 1
        run.pods[:] = (share / 11 * run.pods.sum(axis=0)).astype(np.int64)
    return runs


def test_failures_come_first_with_cause_phase_and_time() -> None:
    summary = summarise(pinned(synthetic.replications(10, fault=(20, 45))))
    failed = 100 * summary["requests"]["failed"] / summary["requests"]["offered"]
    timeouts = 100 * summary["errors"]["connect_timeout"] / summary["requests"]["failed"]
    during = 100 * summary["phases"]["during"]["failed_ratio"]["estimate"]
    later = round(summary["milestones"]["rules updated everywhere"]["last_s"]["estimate"] - 20)
    seen = round(summary["milestones"]["node not ready"]["first_s"]["estimate"] - 20)
    assert why(summary) == (
        f"{failed:.2g} % of the requests failed, {timeouts:.2g} % of them by connect time-out: "
        f"{during:.2g} % of those between the fault (node-4 power-off at 20 s) and the last node's rule "
        f"update, {later} s later (node not ready after {seen} s), none of those after it."
    )


def test_failures_after_the_rules_were_updated_are_a_share_of_their_own() -> None:
    summary = summarise(synthetic.replications(10, fault=(20, 45)))
    summary["phases"]["after"] |= {"failed": 20, "offered": 100}
    assert why(summary).endswith(", 20 % of those after it.")


def test_a_fault_that_nobody_notices_lasts_to_the_end_of_the_run() -> None:
    summary = summarise(synthetic.replications(10, fault=(20, 45)))
    del summary["phases"]["after"], summary["milestones"]["rules updated everywhere"]
    del summary["milestones"]["node not ready"]
    assert why(summary).endswith("between the fault (node-4 power-off at 20 s) and the end of the run.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conntrack_drops": 12_345}, "full connection tracking tables dropped 12,345 SYNs"),
        ({"backlog_drops": 7}, "full listen queues dropped 7 SYNs"),
        (
            {"pods": {"hottest": {"estimate": 1.33}}},
            "the pods were given up to 133 % of the work they can do",
        ),
        (
            {"nodes": {"hottest": {"estimate": 0.96}}},
            "the nodes' CPUs were given up to 96 % of the work they",
        ),
    ],
)
def test_what_ran_out_is_named_with_failures(change: dict[str, Any], words: str) -> None:
    assert words in why(refused() | {"saturation": refused()["saturation"] | change})


def refused(part: int = 5) -> dict[str, Any]:
    """A run without faults in which five requests failed."""
    summary = summarise(synthetic.replications(10))
    summary["requests"] |= {"failed": 5}
    summary["errors"] = {"refused": part} | ({"reset": 5 - part} if part < 5 else {})
    return summary | {"outage": {"first_s": {"estimate": 3.0}, "last_s": {"estimate": 7.0}}}


def test_a_service_without_endpoints_is_named() -> None:
    assert "; the Service has no endpoints." in why(refused() | {"pods": []})


def test_what_is_not_all_is_not_called_all() -> None:
    assert "failed, all refused, from second 3 to 7 on average." in why(refused())
    assert "failed, 80 % of them refused, from" in why(refused(4))
    many = refused() | {"errors": {"refused": 999, "reset": 1}}
    many["requests"] |= {"failed": 1000}
    assert "failed, nearly all refused, from" in why(many)


def test_unevenness_that_chance_does_not_explain_comes_next() -> None:
    assert why(summarise(pinned(synthetic.replications(10)))) == (
        "No request failed; the hottest of 10 pods got 9.1 times the mean share of connections, "
        "more than uniform random choice explains."
    )


def test_a_single_member_with_everything_is_said_plainly() -> None:
    summary = summarise(synthetic.replications(10))
    summary["balance"]["pods"]["max_over_mean"]["estimate"] = 10.0
    assert why(summary) == "No request failed; one of 10 pods got every connection."


@pytest.mark.parametrize("connections", [300, None])
def test_what_chance_explains_is_not_called_unevenness(connections: int | None) -> None:
    sentence = why(summarise(synthetic.replications(10, connections=connections)))
    assert sentence.startswith("No request failed; the largest part of the time at p99 is service: 9")


def test_much_unevenness_by_chance_is_said_to_be_chance() -> None:
    """Ten connections on ten pods: the hottest has three times its share, as it must."""
    sentence = why(summarise(synthetic.replications(10, connections=10)))
    assert sentence.startswith("No request failed; the hottest of 10 pods got 3 times")
    assert sentence.endswith("the mean share of connections, as chance gives where a run has 10 connections.")


def test_a_run_of_nothing_says_so() -> None:
    assert why(summarise(synthetic.replications(2, rate_rps=1e-9, duration_s=2))) == "No request was offered."
