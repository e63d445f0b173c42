"""What clients will want is known before anything happens."""

from __future__ import annotations

import numpy as np
import pytest

from nodeportsim.engine.simulate import simulate
from nodeportsim.errors import InputError
from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import Cluster, Network, Pods, Run, Scenario
from nodeportsim.study.wanted import wanted

IDLE_S = 1e-3
"""More than rules and CPU cost a request here."""


@pytest.mark.parametrize("arrivals", ["poisson", "fixed", "bursty", "trace"])
def test_requests_are_wanted_when_and_for_as_long_as_the_engine_has_it(arrivals: str) -> None:
    trace_s = (0.25, 1.0, 1.0, 2.5) if arrivals == "trace" else ()
    scenario = Scenario(
        cluster=Cluster(network=Network(client_node_s=0.0, node_node_s=0.0, wake_up_s=0.0)),
        pods=Pods(service_time=Law(dist="lognormal", mean_s=0.02, p99_s=0.1), workers=1000),
        clients=(Clients(count=3, rate_rps=40.0, arrivals=arrivals, trace_s=trace_s),),
        run=Run(duration_s=5.0, seed=7),
    )
    born_s, demand_s = wanted(scenario, 2)
    rows = np.sort(simulate(scenario, 2, engine="simpy", trace=1000).trace, order="born_s")
    assert len(rows) > 3
    assert np.sort(born_s).tolist() == rows["born_s"].tolist()
    taken_s = rows["ended_s"] - rows["born_s"]
    assert np.sort(taken_s) == pytest.approx(np.sort(demand_s), abs=IDLE_S)


def test_a_closed_loop_wants_what_its_answers_let_it() -> None:
    with pytest.raises(InputError, match="loop"):
        wanted(Scenario(clients=(Clients(loop="closed"),)))
