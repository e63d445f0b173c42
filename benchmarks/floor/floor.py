"""The C floor: the engine's model in plain C (`floor.c`), and the plain path (`plain.c`), through ctypes.

Usage: ``floor(scenario)`` gives the `Replication` that ``simulate(scenario)`` gives. To time the C program
alone: ``prepared = prepare(scenario)``, ``prepared.run()`` as often as you like, ``prepared.read()``.
Scenarios outside the model of `floor.c` are refused (README.md).
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.engine import codes as C  # noqa: N812 - as engine/build.py.
from nodeportsim.engine import records as R  # noqa: N812 - as engine/build.py.
from nodeportsim.engine.build import Plain, world_of
from nodeportsim.engine.cache import folder
from nodeportsim.engine.control import Control
from nodeportsim.engine.interpreter import Interpreter
from nodeportsim.engine.simulate import Replication, drain_s
from nodeportsim.scenario.profile import load_profile

if TYPE_CHECKING:
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

HERE = Path(__file__).parent
# Contraction would fuse a * b + c into one rounding and leave the engine's trace.
FLAGS = (
    "-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC", f"-DCAUSES={len(C.CAUSES)}",
)  # fmt: skip

PRICE = np.dtype(
    [(f"{name}_s", "f8") for name in ("walk", "endpoint", "transit", "packet", "transit_packet")]
)
NUMBERS = (
    "duration_s", "warmup_s", "drain_s", "client_path_s", "node_path_s", "accept_s", "accept_packet_s",
    "overlay_s", "overlay_packet_s", "time_wait_s", "rate_rps", "service_mean_s", "idle_timeout_s",
    "connect_s", "request_s", "backoff_s", "backoff_factor", "backoff_max_s",
)  # fmt: skip
INTEGERS = (
    "key0", "key1", "clients", "entries", "nodes", "pods", "cores", "workers", "seconds", "endpoints",
    "constant", "backlog", "reject", "queue_limit", "conntrack_max", "policy", "reuse", "pool_size",
    "max_requests", "attempts", "retry_next", "jitter", "trace_room",
)  # fmt: skip
ARRAYS = (
    "price", "endpoint", "pod_node", "syn_at_s", "latency", "first_packet", "stage_ns", "series",
    "errors", "node_counts", "pod_counts", "conntrack_peak", "node_busy_s", "pod_busy_s", "trace",
)  # fmt: skip
TOTALS = (
    "offered", "succeeded", "failed", "tries", "orphans", "conntrack_drops", "backlog_drops",
    "retransmissions", "latency_ns", "events", "voided", "traced",
)  # fmt: skip


class Floor(ctypes.Structure):
    """`Floor` of floor.c, field by field: the question, and where the answer goes."""

    _fields_ = (
        *((name, ctypes.c_double) for name in NUMBERS),
        *((name, ctypes.c_int64) for name in INTEGERS),
        *((name, ctypes.c_void_p) for name in ARRAYS),
        *((name, ctypes.c_int64) for name in TOTALS),
    )


class PlainPath(ctypes.Structure):
    """`Plain` of plain.c."""

    _fields_ = (
        *((f, ctypes.c_double) for f in ("duration_s", "warmup_s", "rate_rps", "node_s", "service_mean_s")),
        *((f, ctypes.c_int64) for f in ("key0", "key1", "clients", "nodes", "pods", "workers")),
        ("latency", ctypes.c_void_p),
        *((f, ctypes.c_int64) for f in ("offered", "succeeded", "latency_ns", "events")),
    )


def compiler() -> str | None:
    """Path of gcc, None where there is none."""
    return shutil.which("gcc")


@cache
def library(name: str) -> ctypes.CDLL:
    """Build `name`.c if these sources have not been built before, and load it."""
    gcc = compiler()
    if gcc is None:
        raise RuntimeError("the C floor needs gcc, and there is none on the PATH")
    source = HERE / f"{name}.c"
    key = b"".join((source.read_bytes(), (HERE / "common.h").read_bytes(), " ".join(FLAGS).encode()))
    built = folder().parent / "floor" / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}.so"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        fresh = built.with_suffix(".new")
        subprocess.run([gcc, *FLAGS, "-o", str(fresh), str(source), "-lm"], check=True)
        fresh.replace(built)
    return ctypes.CDLL(str(built))


def refuse(scenario: Scenario) -> None:
    """Raise ValueError, with the field's name, for what floor.c leaves out."""
    cluster, service, group = scenario.cluster, scenario.service, scenario.clients[0]
    inside, entry = service.type == "ClusterIP", group.entry
    policy = service.internal_traffic_policy if inside else service.external_traffic_policy
    allowed = {
        "clients": len(scenario.clients) == 1,
        "clients.loop": group.loop == "open",
        "clients.arrivals": group.arrivals == "poisson",
        "clients.entry.policy": entry.policy in ("dns-round-robin", "random", "pinned"),
        "clients.entry.ttl": entry.policy != "dns-round-robin" or entry.ttl_s == 0,
        "clients.connections.reuse": group.connections.reuse in ("none", "lifo"),
        "clients.connections.streams": group.connections.streams == 1,
        "clients.connections.maxAge": group.connections.max_age_s == 0,
        "clients.timeouts.total": group.timeouts.total_s == 0,
        "clients.timeouts.pool": group.timeouts.pool_s == 0,
        "cluster.proxy.mode": cluster.proxy.mode != "ipvs",
        "cluster.network.topology": cluster.network.topology == "flat",
        "cluster.network.jitter": cluster.network.jitter_s == 0,
        "cluster.network.loss": cluster.network.loss_ratio == 0,
        "service.trafficDistribution": service.traffic_distribution is None,
        "service.topologyMode": service.topology_mode == "Disabled",
        "service.sessionAffinity": service.session_affinity == "None",
        f"service.{'in' if inside else 'ex'}ternalTrafficPolicy": policy == "Cluster",
        "pods.serviceTime.dist": scenario.pods.service_time.dist in ("exponential", "constant"),
        "events": not scenario.events,
    }
    for field, fine in allowed.items():
        if not fine:
            raise ValueError(f"{field}: outside the model of the C floor (benchmarks/floor/README.md)")


class Prepared:
    """A scenario as floor.c takes it. `run` is the C program and nothing else; every run starts anew."""

    def __init__(self, scenario: Scenario, world: R.World, replication: int, trace: int) -> None:
        self.replication = replication
        self.question = Floor()
        self.arrays: dict[str, Any] = {}
        self._fill_numbers(scenario, world)
        self.question.trace_room = trace
        self._fill_world(world)
        for name, array in self.arrays.items():
            setattr(self.question, name, array.ctypes.data)
        self._run = library("floor").floor_run

    def _fill_numbers(self, scenario: Scenario, w: R.World) -> None:
        """Copy what has the same name in the world's records, then what has not."""
        q, group, sources = self.question, w.groups[0], (w.config, w.groups[0])
        for name in (*NUMBERS, *INTEGERS):
            for source in sources:
                if hasattr(source, name):
                    setattr(q, name, getattr(source, name))
        q.drain_s = drain_s(scenario)
        q.client_path_s = w.path_s[w.clients[0].zone][0] + w.config.wake_up_s
        q.node_path_s = w.path_s[0][0]
        q.clients, q.entries, q.nodes, q.pods = group.count, w.config.nodes, len(w.nodes), len(w.pods)
        q.cores, q.workers = scenario.cluster.cores, scenario.pods.workers
        q.seconds, q.constant = len(w.series), int(scenario.pods.service_time.dist == "constant")
        q.conntrack_max = w.nodes[0].conntrack_max

    def _fill_world(self, w: R.World) -> None:
        """Lay out what the C program reads, and room for what it counts."""
        q, first, n, p = self.question, w.nodes[0], len(w.nodes), len(w.pods)
        rows = {(node.first, node.endpoints) for node in w.nodes[: w.config.nodes]}
        if len(rows) != 1 or first.endpoints == 0:
            raise ValueError("service.replicas: the C floor needs endpoints, the same for all nodes")
        q.endpoints = first.endpoints
        names = PRICE.names or ()
        price = [tuple(getattr(node, name) for name in names) for node in w.nodes]
        count = np.int64
        self.arrays = {
            "price": np.array(price, PRICE),
            "endpoint": np.array(w.endpoints[first.first : first.first + first.endpoints], np.int32),
            "pod_node": np.array([pod.node for pod in w.pods], np.int32),
            "syn_at_s": np.array(w.syn_at_s[w.groups[0].syn_schedule], np.float64),
            "latency": np.zeros(C.BUCKETS, count),
            "first_packet": np.zeros(C.BUCKETS, count),
            "stage_ns": np.zeros((C.BUCKETS, len(C.STAGES)), count),
            "series": np.zeros((q.seconds, 3 + len(C.CAUSES)), count),
            "errors": np.zeros((2, len(C.CAUSES)), count),
            "node_counts": np.zeros((n, 2), count),
            "pod_counts": np.zeros((p, 2), count),
            "conntrack_peak": np.zeros(n, count),
            "node_busy_s": np.zeros(n),
            "pod_busy_s": np.zeros(p),
            "trace": np.zeros(q.trace_room, R.struct(R.Trace)),
        }

    def run(self) -> int:
        """Run the C program; how many requests succeeded."""
        for name in ARRAYS[ARRAYS.index("latency") :]:
            self.arrays[name].fill(0)
        for name in TOTALS:
            setattr(self.question, name, 0)
        self._run(ctypes.byref(self.question))
        return int(self.question.succeeded)

    def _uncounted(self) -> dict[str, Any]:
        """Make what a failure's aftermath is read from, which the floor does not follow: totals alone."""
        q = self.question
        return {
            "load": np.array([(q.tries, q.succeeded, q.orphans, 0)], np.int64),
            "clients": np.array([(0, q.failed, 1, q.offered)], np.int64),
            "groups": (),
            "node_names": (),
            "node_failed": np.zeros(0, np.int64),
            "fates": np.zeros((1, len(C.FATES)), np.int64),
            "standing": np.zeros(0, np.int64),
            "lasting": np.zeros(0, np.bool_),
            "programming": np.zeros((0, 3), np.float64),
            "newborns": np.zeros((0, 4), np.int64),
            "pod_nodes": np.zeros(0, np.int64),
            "node_zones": (),
        }

    def read(self) -> Replication:
        """Give the counters of the last run as the engine gives them."""
        q, a = self.question, {name: array.copy() for name, array in self.arrays.items()}
        causes, rest = len(C.CAUSES), len(C.PHASES) - 1  # Without faults there is one phase, the first.
        trace_kind = [(name, "f8" if name.endswith("_s") else "i8") for name in R.Trace.__slots__]
        return Replication(
            number=self.replication,
            offered=q.offered,
            succeeded=q.succeeded,
            failed=q.failed,
            in_flight=q.offered - q.succeeded - q.failed,
            attempts=q.tries,
            hedges=0,
            overtaken=0,
            errors=a["errors"][0],
            attempt_errors=a["errors"][1],
            latency=np.vstack([a["latency"], np.zeros((rest, C.BUCKETS), np.int64)]),
            latency_sum_ns=np.array([q.latency_ns, *[0] * rest], np.int64),
            first_packet=a["first_packet"],
            stage_sum_ns=a["stage_ns"],
            timeline=a["series"][:, : 2 + causes],
            second_latency_ns=a["series"][:, 2 + causes],
            phases=np.array([(q.offered, q.succeeded, q.failed), *[(0, 0, 0)] * rest], np.int64),
            nodes=a["node_counts"][: q.entries],
            pods=a["pod_counts"],
            conntrack_peak=a["conntrack_peak"][: q.entries],
            conntrack_drops=q.conntrack_drops,
            backlog_drops=q.backlog_drops,
            snat_drops=0,
            budget_refusals=0,
            ejections=0,
            **self._uncounted(),
            retransmissions=q.retransmissions,
            orphans=q.orphans,
            node_utilisation=a["node_busy_s"][: q.entries] / (q.cores * q.duration_s),
            pod_utilisation=a["pod_busy_s"] / (q.workers * q.duration_s),
            milestones=(),
            events=q.events,
            trace=a["trace"][: q.traced].astype(trace_kind),
        )


def prepare(
    scenario: Scenario,
    replication: int = 0,
    *,
    profile: Profile | None = None,
    trace: int = 0,
    warmup_s: float = 0.0,
) -> Prepared:
    """Let the engine build its world and price its rules at time 0, and hand both to the C program.

    Raises
    ------
    ValueError
        The scenario has something that floor.c leaves out; the message names the field.
    """
    refuse(scenario)
    world = world_of(scenario, replication, Plain, warmup_s=warmup_s, trace=0)
    Control(
        scenario=scenario,
        profile=profile or load_profile(scenario.cluster.profile),
        plane=Interpreter(world),
        key0=scenario.run.seed,
        key1=replication,
    )
    return Prepared(scenario, world, replication, trace)


def floor(
    scenario: Scenario,
    replication: int = 0,
    *,
    profile: Profile | None = None,
    trace: int = 0,
    warmup_s: float = 0.0,
) -> Replication:
    """Simulate one replication in C: what `nodeportsim.engine.simulate.simulate` gives."""
    prepared = prepare(scenario, replication, profile=profile, trace=trace, warmup_s=warmup_s)
    prepared.run()
    return prepared.read()


def plain(prepared: Prepared) -> PlainPath:
    """Run plain.c on the numbers of a prepared "plain path" and return its counters."""
    q = prepared.question
    path = PlainPath(
        *(getattr(q, name) for name in ("duration_s", "warmup_s", "rate_rps")),
        node_s=float(prepared.arrays["price"]["packet_s"][0]),
        service_mean_s=q.service_mean_s,
        **{name: getattr(q, name) for name in ("key0", "key1", "clients", "pods", "workers")},
        nodes=q.entries,
    )
    latency = np.zeros(C.BUCKETS, np.int64)
    path.latency = latency.ctypes.data
    library("plain").plain_run(ctypes.byref(path))
    path.histogram = latency
    return path
