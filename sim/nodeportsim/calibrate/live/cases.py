"""The scenarios that are played and simulated, and what a machine's own overheads are.

Four pods on two nodes; one client enters at the first node. The two constants that a machine adds (a way's
delay, what a worker loses between two requests) are measured *without* rules, queues and faults, and put
into the scenario; everything else is prediction.
"""

from __future__ import annotations

from binascii import crc32
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.live.lab import PORTS, addresses, ask, live, pods
from nodeportsim.calibrate.measuring.system import is_linear
from nodeportsim.calibrate.measuring.timing import LISTEN_PORT
from nodeportsim.scenario.spec import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nodeportsim.calibrate.live.lab import Answer, Ask
    from nodeportsim.calibrate.measuring.testbed import Bed

WORK_S = 0.02
TOO_LATE_S = 0.1 * WORK_S
PATIENCE = 3
"""How often overheads are measured until the machine is calm."""
BACKLOG = 511
RETURNING, FEW_PORTS = "returning-ports", 1000
"""A case that is the cut again, of a client whose source ports return while the node remembers them."""
RETURNING_PORTS = {"count": FEW_PORTS, "pick": "sequential", "hold_s": 0.0}
"""The client binds its ports itself, in turn, with SO_REUSEADDR: none is held."""
PODS = 4


@dataclass(frozen=True, kw_only=True)
class Overheads:
    """What a machine adds to every request.

    Parameters
    ----------
    way_s
        One way between client and the entry node's pods.
    hop_s
        What a pod on the other node adds to a way.
    turn_s
        What a worker is busy beyond the work it was asked for.
    """

    way_s: float
    hop_s: float
    turn_s: float


def case(name: str, backend: str, **changed: Any) -> Scenario:
    """Declare a case: ``rate``, ``seconds``, and what else differs from exponential work of 20 ms."""
    mode, _, tool = backend.partition("-")
    law = changed.get("law", {"dist": "exponential", "mean_s": WORK_S})
    limits = {"connect_s": changed.get("connect_s", 3.0), "request_s": 10.0}
    given = {
        "name": name,
        "cluster": {
            "nodes": 2,
            "proxy": {"mode": mode, "backend": tool or "nft", "min_sync_period_s": 0.0},
            "control_plane": _clocks(changed.get("noticed_s")),
        },
        "service": {"replicas": PODS, "external_traffic_policy": changed.get("policy", "Cluster")},
        "pods": {"workers": changed.get("workers", 1), "service_time": law, "backlog": BACKLOG},
        "clients": {
            "count": 1,
            "rate_rps": changed["rate"],
            "entry": {"policy": "first"},
            "timeouts": limits,
            "syn_schedule": "linear" if is_linear() else "doubling",
            "source_ports": changed.get("source_ports"),
        },
        "events": tuple(changed.get("events", ())),
        "run": {
            "duration_s": changed["seconds"],
            "warmup_s": 1.0,
            "seed": crc32(f"{name} {backend}".encode()),  # Luck of its own for every case.
            "replications": changed.get("replications", 20),
        },
    }
    return Scenario.model_validate(given)


def _clocks(noticed_s: float | None) -> dict[str, float]:
    """Let detection take a chosen time: every other clock of the control plane is next to nothing."""
    if noticed_s is None:
        return {}
    quick = {"lease_renew_interval_s": 0.02, "node_monitor_period_s": 0.02, "pod_status_rate_rps": 1000.0}
    return {
        "node_monitor_grace_period_s": noticed_s,
        **quick,
        "slice_min_delay_s": 0.0,
        "watch_latency_s": 0.0,
    }


def adjusted(scenario: Scenario, found: Overheads) -> Scenario:
    """Tell a scenario what the machine adds."""
    ways = {"client_node_s": found.way_s, "node_node_s": found.hop_s, "wake_up_s": 0.0}
    network = scenario.cluster.network.model_copy(update=ways)
    law = scenario.pods.service_time
    scale = 1.0 + found.turn_s / law.mean_s
    longer = {"mean_s": law.mean_s * scale, "p99_s": law.p99_s and law.p99_s * scale}
    return scenario.model_copy(
        update={
            "cluster": scenario.cluster.model_copy(update={"network": network}),
            "pods": scenario.pods.model_copy(update={"service_time": law.model_copy(update=longer)}),
        }
    )


def overheads(bed: Bed) -> Overheads:
    """Measure what this machine adds: pods asked directly, one request at a time, then many at once."""
    scenario = case("overheads", "nftables", rate=1.0, seconds=2.0)
    near, far = (next(a for node, a in addresses(scenario) if node == machine) for machine in (0, 1))
    with pods(bed, scenario):
        calm: list[Ask] = [(0.03 * k, (near, far)[k % 2], LISTEN_PORT, WORK_S / 2) for k in range(120)]
        crowd: list[Ask] = [(0.0, near, LISTEN_PORT, WORK_S / 2)] * 60
        for _ in range(PATIENCE):
            alone, together = ask(bed, scenario, calm), ask(bed, scenario, crowd)
            if not is_disturbed(alone):
                break
    ended_s = sorted(row.work_ended_s for row in together if row.work_ended_s is not None)
    turn_s = median(b - a for a, b in pairwise(ended_s)) - WORK_S / 2
    added_s = [median(row.latency_s - row.demand_s for row in alone[k::2]) for k in (0, 1)]
    return Overheads(  # A request goes four ways: SYN and its answer, the request and its answer.
        way_s=max(0.0, (added_s[0] - turn_s) / 4),
        hop_s=max(0.0, (added_s[1] - added_s[0]) / 4),
        turn_s=turn_s,
    )


def calmly(bed: Bed, backend: str, scenario: Scenario, say: Callable[[str], object]) -> list[Answer]:
    """Play a scenario; once more if the machine had too much else to do, saying so.

    Whether it had is told by `disturbance_s` alone, not by the result.
    """
    ports = FEW_PORTS if scenario.name == RETURNING else PORTS
    answers = live(bed, backend, scenario, ports)
    if is_disturbed(answers):
        say(f"{scenario.name} once more: the machine was {disturbance_s(answers) * 1e3:.1f} ms late")
        answers = live(bed, backend, scenario, ports)
    return answers


def is_disturbed(answers: Sequence[Answer]) -> bool:
    """Tell whether a run says too little of the rules, and too much of a busy machine."""
    return disturbance_s(answers) > TOO_LATE_S


def disturbance_s(answers: Sequence[Answer]) -> float:
    """Tell how much else the machine had to do: the p99 of how late the client began or a worker woke up."""
    late_s = sorted(row.begun_s - row.born_s for row in answers)
    overslept_s = sorted(
        row.work_ended_s - row.work_begun_s - row.demand_s
        for row in answers
        if row.work_begun_s is not None and row.work_ended_s is not None
    )
    return max(times_s[int(0.99 * len(times_s))] for times_s in (late_s, overslept_s))


def all_cases(backend: str, seconds: float) -> list[Scenario]:
    """List the cases of a recorded run: utilisations, laws, workers, policy Local, and cuts.

    Below 12 s a cut is not over before the end.
    """
    constant = {"dist": "constant", "mean_s": WORK_S}
    lognormal = {"dist": "lognormal", "mean_s": WORK_S, "p99_s": 4 * WORK_S}
    slow = {"dist": "exponential", "mean_s": 2 * WORK_S}
    middle_s = seconds // 3 + 0.5
    for_good = {"at_s": middle_s, "fault": "cut", "node": "node-2"}
    for_a_while = for_good | {"for_s": 2.7}

    def quick(name: str, rate: float, **changed: Any) -> Scenario:
        return case(name, backend, rate=rate, seconds=seconds, **changed)

    return [
        quick("light", 60.0),
        quick("busy", 140.0),
        quick("crowded", 160.0),
        quick("constant", 140.0, law=constant),
        quick("lognormal", 140.0, law=lognormal),
        quick("two-workers", 140.0, law=slow, workers=2),
        quick("local", 70.0, policy="Local"),
        quick("cut", 70.0, events=[for_good], noticed_s=max(3.0, seconds // 6)),
        quick(
            RETURNING, 70.0, events=[for_good], noticed_s=max(3.0, seconds // 6), source_ports=RETURNING_PORTS
        ),
        quick("blink", 70.0, events=[for_a_while], connect_s=10.0),
    ]
