"""Scenarios whose answer a closed form knows, and how a run of the engine is compared with it.

One table, so that the error of the whole family is known: with `FAMILY` = 1 % shared by all checks
(Bonferroni), a correct engine fails one of them for one choice of seeds in a hundred. A check is worth
something only if an error of 2 % would show, so the half-width of its interval must be below 2 %.

The noise of a mean is mostly that of its inputs, whose expectation is known: `controls` are such inputs
less their expectation, and the mean is the intercept of a regression on them (control variates, Lavenberg &
Welch 1981, doi:10.1287/mnsc.27.3.322). A control would hide an error of the input itself; so the inputs are
checks of their own, without controls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from nodeportsim.engine.codes import STAGES
from nodeportsim.engine.simulate import simulate
from nodeportsim.engine.tally import bucket
from nodeportsim.scenario.clients import Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.declared import Law
from nodeportsim.scenario.spec import (
    Cluster,
    ControlPlane,
    Event,
    Network,
    Placement,
    Pods,
    Run,
    Scenario,
    Service,
)
from nodeportsim.theory import failure, queues

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from nodeportsim.engine.simulate import Engine, Replication

FAMILY = 0.01
VISIBLE = 0.02
STILL = Network(client_node_s=0.0, node_node_s=0.0, wake_up_s=0.0)
WARMUP_S = 60.0  # Some hundred mean service times at most; these stations forget within ten.

Controls = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A figure of a scenario, and what it must be on average."""

    scenario: Scenario
    replications: int
    expected: float
    value: Callable[[Replication], float]
    controls: Callable[[Replication], Controls] = lambda _: ()
    engine: Engine = "simpy"

    def interval(self, level: float) -> tuple[float, float]:
        """Return the estimate and the half-width of its interval at this error level."""
        runs = replicate(self.scenario, self.replications, self.engine)
        values = np.array([self.value(run) for run in runs])
        design = np.array([(1.0, *self.controls(run)) for run in runs])
        coefficients, *_ = np.linalg.lstsq(design, values)
        freedom = len(values) - design.shape[1]
        rest = values - design @ coefficients
        variance = rest @ rest / freedom * np.linalg.inv(design.T @ design)[0, 0]
        return float(coefficients[0]), float(stats.t.isf(level / 2, freedom) * np.sqrt(variance))


def replicate(scenario: Scenario, replications: int, engine: Engine = "simpy") -> list[Replication]:
    """Run, or remember: several checks look at the same runs. Whoever changes the engine forgets them."""
    key = scenario.model_dump_json(), replications, engine
    if key not in remembered:
        remembered[key] = [simulate(scenario, k, engine=engine) for k in range(replications)]
    return remembered[key]


remembered: dict[tuple[str, int, Engine], list[Replication]] = {}


# Stations: one pod, nothing else. Service takes seconds, so the node's microseconds vanish.

SERVICE_S = 1.0


def station(
    rate_rps: float, *, requests: int, law: Law | None = None, workers: int = 1, room: int | None = None
) -> Scenario:
    """One pod that new requests reach at once; at most `room` may wait, the others are turned away."""
    return Scenario(
        cluster=Cluster(nodes=1, network=STILL),
        service=Service(replicas=1),
        pods=Pods(
            workers=workers,
            service_time=law or Law(mean_s=SERVICE_S),
            backlog=1_000_000,
            overload="queue" if room is None else "reject",
            queue_limit=room or 0,
        ),
        clients=(kept_alive(Clients(count=1, rate_rps=rate_rps)),),
        run=Run(duration_s=WARMUP_S + requests / rate_rps, warmup_s=WARMUP_S, drain_s=1000.0),
    )


def kept_alive(clients: Clients) -> Clients:
    """Reuse connections, as many as are needed, without limits of time: only the pod counts."""
    update: dict[str, Any] = {
        "connections": Connections(reuse="lifo", size=100_000, idle_timeout_s=0.0),
        "timeouts": Timeouts(connect_s=0.0, request_s=0.0),
        "entry": Entry(policy="first"),
    }
    return clients.model_copy(update=update)


def stage_s(run: Replication, *names: str) -> float:
    """Mean time in these stages of the requests that succeeded."""
    return float(
        run.stage_sum_ns.sum(axis=0)[[STAGES.index(name) for name in names]].sum() / run.succeeded / 1e9
    )


def response_s(run: Replication) -> float:
    return stage_s(run, "pod_queue", "service")


def load_seen(run: Replication) -> Controls:
    """How much more than expected arrived, and how much longer it took."""
    return arrivals_seen(run)[0], stage_s(run, "service") / SERVICE_S - 1.0


def arrivals_seen(run: Replication) -> Controls:
    seconds = run.timeline[int(WARMUP_S) :, 0]
    return (float(seconds[:-1].mean()) * SERVICE_S,)


def centred(controls: Callable[[Replication], Controls], *means: float) -> Callable[[Replication], Controls]:
    return lambda run: tuple(seen - mean for seen, mean in zip(controls(run), means, strict=True))


SKEWED = Law(dist="lognormal", mean_s=SERVICE_S, p99_s=5.0 * SERVICE_S)
THINK_S, GROUP = 4.0, 8


def closed_loop(seconds: float) -> Scenario:
    """A group of clients that think and wait for one worker."""
    base = station(1.0, requests=1)
    group = Clients(count=GROUP, loop="closed", think_time=Law(mean_s=THINK_S))
    run = Run(duration_s=WARMUP_S + seconds, warmup_s=WARMUP_S, drain_s=1000.0)
    return base.model_copy(update={"clients": (kept_alive(group),), "run": run})


def throughput_rps(run: Replication) -> float:
    return run.succeeded / (len(run.timeline) - 1 - WARMUP_S)


SINGLE = station(0.5, requests=8_000)
STATIONS = {
    "arrivals": Check(
        scenario=SINGLE, replications=24, expected=0.5, value=lambda run: arrivals_seen(run)[0] / SERVICE_S
    ),
    "service time": Check(
        scenario=SINGLE, replications=24, expected=SERVICE_S, value=lambda run: stage_s(run, "service")
    ),
    "M/M/1 response": Check(
        scenario=SINGLE,
        replications=28,
        expected=SERVICE_S + queues.mmc_wait_s(0.5, SERVICE_S),
        value=response_s,
        controls=centred(load_seen, 0.5, 0.0),
    ),
    "M/M/4 response": Check(
        scenario=station(2.4, requests=5_500, workers=4),
        replications=24,
        expected=SERVICE_S + queues.mmc_wait_s(2.4, SERVICE_S, 4),
        value=response_s,
        controls=centred(load_seen, 2.4, 0.0),
    ),
    "M/D/1 response": Check(
        scenario=station(0.6, requests=5_000, law=Law(dist="constant", mean_s=SERVICE_S)),
        replications=24,
        expected=SERVICE_S + queues.mg1_wait_s(0.6, SERVICE_S, 0.0),
        value=response_s,
        controls=centred(arrivals_seen, 0.6),
    ),
    "M/G/1 response, log-normal": Check(
        scenario=station(0.3, requests=4_500, law=SKEWED),
        replications=20,
        expected=SERVICE_S
        + queues.mg1_wait_s(0.3, SERVICE_S, queues.service_scv("lognormal", SERVICE_S, 5.0 * SERVICE_S)),
        value=response_s,
        controls=centred(load_seen, 0.3, 0.0),
    ),
    "M/M/2/5 share turned away": Check(
        scenario=station(3.0, requests=4_000, workers=2, room=3),
        replications=12,
        expected=float(queues.mmck_states(3.0, SERVICE_S, 2, 5)[-1]),
        value=lambda run: run.failed / run.offered,
        controls=centred(load_seen, 3.0, 0.0),
    ),
    "closed loop throughput": Check(
        scenario=closed_loop(1500.0),
        replications=20,
        expected=queues.closed(GROUP, THINK_S, SERVICE_S).throughput_rps,
        value=throughput_rps,
        controls=lambda run: (stage_s(run, "service") / SERVICE_S - 1.0,),
    ),
}


BUSY = {  # The same stations near saturation, where the sample must be large: by the faster engine.
    "M/M/1 response at 0.8": Check(
        scenario=station(0.8, requests=50_000),
        replications=32,
        expected=SERVICE_S + queues.mmc_wait_s(0.8, SERVICE_S),
        value=response_s,
        engine="compiled",
        controls=centred(load_seen, 0.8, 0.0),
    ),
    "M/M/4 response at 0.8": Check(
        scenario=station(3.2, requests=20_000, workers=4),
        replications=32,
        expected=SERVICE_S + queues.mmc_wait_s(3.2, SERVICE_S, 4),
        value=response_s,
        engine="compiled",
        controls=centred(load_seen, 3.2, 0.0),
    ),
}


# Failures: three nodes with a pod each, and one of the nodes dies at once; nobody has noticed yet.

NODES = 3
DEAD_RATIO = 1 / NODES
LONG_S = 8.0  # Far below the 40 s after which a death can be noticed.


def outage(attempts: int = 1) -> Scenario:
    return Scenario(
        cluster=Cluster(nodes=NODES, network=STILL),
        service=Service(replicas=NODES),
        pods=Pods(workers=64, service_time=Law(dist="constant", mean_s=0.001)),
        clients=(
            Clients(
                rate_rps=250.0,
                timeouts=Timeouts(connect_s=3.5, request_s=1.0),
                retry=Retry(attempts=attempts),
            ),
        ),
        events=(Event(at_s=0.0, fault="power-off", node="node-2"),),
        run=Run(duration_s=LONG_S),
    )


def lossy(loss_ratio: float) -> Scenario:
    """One node, one pod, a network that loses packets."""
    return Scenario(
        cluster=Cluster(nodes=1, network=STILL.model_copy(update={"loss_ratio": loss_ratio})),
        service=Service(replicas=1),
        pods=Pods(workers=64, service_time=Law(dist="constant", mean_s=0.001)),
        clients=(Clients(rate_rps=400.0, timeouts=Timeouts(connect_s=LUMPS_S, request_s=1.0)),),
        run=Run(duration_s=5.0),
    )


def behind_a_lossy_node(node: str, loss_ratio: float) -> Scenario:
    """Clients enter by the first node, the pod stands on the second; one of the two loses packets."""
    case = lossy(0.0)
    pods = case.pods.model_copy(update={"placement": (Placement(name="web-0", node="node-2"),)})
    clients = case.clients[0].model_copy(update={"entry": Entry(policy="first")})
    update = {"cluster": Cluster(nodes=2, network=STILL), "pods": pods, "clients": (clients,)}
    event = Event(at_s=0.0, fault="loss", node=node, loss_ratio=loss_ratio)
    return case.model_copy(update=update | {"events": (event,)})


ERRORS_RATIO = 0.35


def erring() -> Scenario:
    """One pod that answers a share of the requests with an error; three attempts."""
    case = lossy(0.0)
    event = Event(at_s=0.0, fault="pod-errors", pod="*", errors_ratio=ERRORS_RATIO)
    clients = case.clients[0].model_copy(update={"retry": Retry(attempts=3)})
    return case.model_copy(update={"clients": (clients,), "events": (event,)})


LUMPS_S = 3.5
LOSSY_RUNS = 16
LOSS_RATIO = 0.1
SYN_LOSS_RATIO = 1 - (1 - LOSS_RATIO) ** 2  # A SYN or its answer.


def connected_within(run: Replication, time_s: float) -> int:
    """Count the connections that stood so long after their first SYN."""
    return int(run.first_packet[: bucket(time_s) + 1].sum())


AFTER_FAILURE = {"nodes": NODES, "dead_nodes": 1, "dead_endpoint_ratio": DEAD_RATIO}
ERRING = {"nodes": 1, "dead_nodes": 0, "dead_endpoint_ratio": ERRORS_RATIO, "entry": "random"}
FAILURES = {
    "failing share while the rules are stale": Check(
        scenario=outage(),
        replications=12,
        expected=failure.failing_ratio(DEAD_RATIO, DEAD_RATIO),
        value=lambda run: run.failed / run.offered,
    ),
    "success with a second attempt": Check(
        scenario=outage(attempts=2),
        replications=12,
        expected=1 - failure.all_fail_ratio(2, **AFTER_FAILURE),  # type: ignore[arg-type]  # Numbers all.
        value=lambda run: run.succeeded / run.offered,
    ),
    "load of a second attempt": Check(
        scenario=outage(attempts=2),
        replications=12,
        expected=failure.load_factor(2, **AFTER_FAILURE),  # type: ignore[arg-type]  # Numbers all.
        value=lambda run: run.attempts / run.offered,
    ),
    "connected by the first SYN": Check(
        scenario=lossy(LOSS_RATIO),
        replications=LOSSY_RUNS,
        expected=failure.syn_lumps(SYN_LOSS_RATIO, LUMPS_S)[0][0.0],
        value=lambda run: connected_within(run, 0.5) / run.offered,
    ),
    # A SYN and its answer cross the link of an entry node twice each, that of the pod's node once each.
    "connected by the first SYN through a lossy entry node": Check(
        scenario=behind_a_lossy_node("node-1", LOSS_RATIO),
        replications=LOSSY_RUNS,
        expected=(1 - LOSS_RATIO) ** 4,
        value=lambda run: connected_within(run, 0.5) / run.offered,
    ),
    "success of three attempts where applications err": Check(
        scenario=erring(),
        replications=8,
        expected=1 - failure.all_fail_ratio(3, **ERRING),  # type: ignore[arg-type]  # As above.
        value=lambda run: run.succeeded / run.offered,
    ),
    "load of three attempts where applications err": Check(
        scenario=erring(),
        replications=8,
        expected=failure.load_factor(3, **ERRING),  # type: ignore[arg-type]  # As above.
        value=lambda run: run.attempts / run.offered,
    ),
}
assert abs(FAILURES["success of three attempts where applications err"].expected - 0.957) < 5e-4
assert abs(FAILURES["load of three attempts where applications err"].expected - 1.4725) < 1e-9
CHECKS = STATIONS | BUSY | FAILURES


# Laws of whole samples: the p-value of the sample.


def counts_p(observed: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    return float(stats.chisquare(observed, expected).pvalue)


def thrown(mode: str = "iptables") -> Scenario:
    """New connections to three pods."""
    case = station(1000.0, requests=1, workers=64)
    cluster = Cluster.model_validate({"nodes": 1, "network": STILL, "proxy": {"mode": mode}})
    clients = Clients(rate_rps=2000.0, entry=Entry(policy="first"))
    pods = Pods(workers=64, service_time=Law(dist="constant", mean_s=0.001))
    update = {"cluster": cluster, "clients": (clients,), "pods": pods, "service": Service(replicas=3)}
    return case.model_copy(update=update | {"run": Run(duration_s=10.0)})


def balance_p() -> float:
    """Pods' counts are multinomial with equal shares."""
    counts = np.sum([run.pods[:, 0] for run in replicate(thrown(), 2)], axis=0)
    return counts_p(counts, np.full(3, counts.sum() / 3))


def lumps_p(scenario: Scenario) -> float:
    """Connect times lie at the instants of the SYNs, with a geometric law."""
    runs = replicate(scenario, LOSSY_RUNS)
    masses, never = failure.syn_lumps(SYN_LOSS_RATIO, LUMPS_S)
    offered = sum(run.offered for run in runs)
    stood = [sum(connected_within(run, at_s + 0.05) for run in runs) for at_s in masses]
    fell = [sum(connected_within(run, at_s + 0.95) for run in runs) for at_s in masses]
    assert stood == fell  # Nothing lies between the lumps.
    observed = [*np.diff([0, *stood]), offered - stood[-1]]
    return counts_p(observed, [offered * share for share in (*masses.values(), never)])


FAULT_S = 20.0


def detection(grace_s: float) -> Scenario:
    case = outage()
    cluster = case.cluster.model_copy(
        update={"control_plane": ControlPlane(node_monitor_grace_period_s=grace_s)}
    )
    event = Event(at_s=FAULT_S, fault="power-off", node="node-2")
    quiet = Clients(count=1, rate_rps=0.01)
    update = {"cluster": cluster, "events": (event,), "clients": (quiet,), "run": Run(duration_s=80.0)}
    return case.model_copy(update=update)


def detected_s(run: Replication) -> float:
    return next(time_s for time_s, name, _ in run.milestones if name == "node not ready") - FAULT_S


def detection_p(grace_s: float) -> float:
    """Fault to NotReady has the law of two independent clocks."""
    times_s = [detected_s(run) for run in replicate(detection(grace_s), 150)]
    cdf = np.vectorize(failure.Detection(grace_s=grace_s).cdf)
    return float(stats.kstest(times_s, cdf).pvalue)


SAMPLES: dict[str, Callable[[], float]] = {
    "connections over pods": balance_p,
    "connect times": lambda: lumps_p(lossy(LOSS_RATIO)),
    "connect times to a pod on a lossy node": lambda: lumps_p(behind_a_lossy_node("node-2", LOSS_RATIO)),
    "time to detection": lambda: detection_p(50.0),
    "time to detection, grace no multiple of the pass": lambda: detection_p(22.0),
}
LEVEL = FAMILY / (len(CHECKS) + len(SAMPLES))


def holds(name: str) -> bool:
    """Tell whether the engine agrees with the closed form."""
    if name in SAMPLES:
        return SAMPLES[name]() >= LEVEL
    estimate, half = CHECKS[name].interval(LEVEL)
    return abs(estimate - CHECKS[name].expected) <= half
