"""What the one sentence must say."""

import numpy as np
import pytest
import synthetic
from synthetic import Replication

from nodeportsim.metrics.summarise import summarise
from nodeportsim.metrics.why import why


def pinned(runs: list[Replication]) -> list[Replication]:
    """All connections on the first pod."""
    for run in runs:
        run.pods[:] = np.eye(len(run.pods), 1, dtype=np.int64) * run.pods.sum(axis=0)
    return runs


def test_failures_come_first_with_cause_phase_and_time() -> None:
    summary = summarise(pinned(synthetic.replications(10, fault=(20, 45))))
    failed = 100 * summary["requests"]["failed"] / summary["requests"]["offered"]
    timeouts = 100 * summary["errors"]["connect_timeout"] / summary["requests"]["failed"]
    assert why(summary) == (
        f"{failed:.2g} % of the requests failed ({timeouts:.2g} % connect timeout), all of them between the "
        "fault and the last node's rule update; failures were seen from second 20 to 44 on average."
    )


def test_the_phase_with_most_failures_is_named_with_its_part_of_them() -> None:
    summary = summarise(synthetic.replications(10, fault=(20, 45)))
    summary["phases"]["after"]["failed"] = summary["requests"]["failed"] // 2 + 1
    summary["phases"]["during"]["failed"] = summary["requests"]["failed"] // 2 - 1
    assert ", 50 % of them after every node's rules were updated;" in why(summary)


def test_unevenness_that_chance_does_not_explain_comes_next() -> None:
    assert why(summarise(pinned(synthetic.replications(10)))) == (
        "No request failed; the hottest of 10 pods got 10 times the mean share of connections, "
        "more than uniform random choice explains."
    )


@pytest.mark.parametrize("connections", [10, 100, None])
def test_what_chance_explains_is_not_called_unevenness(connections: int | None) -> None:
    """Ten connections on ten pods: the hottest has three times its share, as it must."""
    sentence = why(summarise(synthetic.replications(10, connections=connections)))
    assert sentence.startswith("No request failed; the largest part of the time at p99 is service: 9")


def test_a_run_of_nothing_says_so() -> None:
    assert why(summarise(synthetic.replications(2, rate_rps=1e-9, duration_s=2))) == "No request was offered."


def test_without_faults_no_phase_is_named() -> None:
    summary = summarise(synthetic.replications(10))
    summary["requests"] |= {"failed": 5}
    summary["errors"] = {"refused": 5}
    summary["outage"] = {"first_s": {"estimate": 3.0}, "last_s": {"estimate": 7.0}}
    assert "requests failed (100 % refused); failures were seen from second 3 to 7" in why(summary)
