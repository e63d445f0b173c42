"""What a user declares: frozen, keyword-only, validated on construction, without state.

Python names carry their unit last (``connect_s``); the YAML names are Kubernetes style without it
(``connect: 5s``), because there the quantity carries it. A bare number is refused in a file where a
unit is needed and accepted in Python, where the name says the unit.

Defaults that are facts of Kubernetes or Linux name their source; the others are assumptions a user
is expected to set, and the report lists them as such.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nodeportsim.scenario.clients import Clients
from nodeportsim.scenario.declared import Law, Spec
from nodeportsim.scenario.events import Event, check_targets
from nodeportsim.scenario.ports import Snat, check_cells
from nodeportsim.scenario.quantities import (
    Count,
    Duration,
    FieldError,
    Limit,
    Many,
    Name,
    PodsOrShare,
    Positive,
    Rate,
    Ratio,
    Version,
    Width,
    check_known,
)

NO_ZONE = "none"
"""Zone of a node that is in none, where others are in some."""

Mode = Literal["iptables", "ipvs", "nftables"]


class Proxy(Spec):
    """kube-proxy. Defaults: k8s:pkg/proxy/apis/config/v1alpha1/defaults.go (1.36.2)."""

    mode: Mode = "iptables"
    backend: Literal["nft", "legacy"] = "nft"
    scheduler: Literal["rr", "wrr", "lc", "wlc", "sh"] = "rr"
    port_reuse: Literal["new", "drop", "keep"] = Field(
        "new", description="mode ipvs: what a SYN from a port in TIME_WAIT becomes (conn_reuse_mode)"
    )
    localhost_node_ports: bool = True
    first_position: Positive | None = Field(
        None, description="mode iptables: place in the linear chain until the first sync; default: drawn"
    )
    min_sync_period_s: Duration = 1.0
    sync_period_s: Duration = Field(30.0, description="/healthz fails once a change waits twice as long")


class Background(Spec):
    """The Services that are in the rules but not under study."""

    services: Count = 0
    endpoints_per_service: Count = 3
    node_ports: Count = 0
    ports: Count | None = Field(None, description="service ports with endpoints; default: one a Service")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.node_ports > (self.services if self.ports is None else self.ports):
            rule = "must be at most services (or ports): each counts one NodePort of a Service"
            raise FieldError(rule, "nodePorts", got=self.node_ports)
        return self


class Network(Spec):
    """One-way delays of the paths. They are assumptions: set yours."""

    topology: Literal["flat", "zones"] = "flat"
    client_node_s: Duration = 0.00025
    node_node_s: Duration = 0.0001
    zone_zone_s: Duration = Field(0.0005, description="added where zones are crossed")
    wake_up_s: Duration = Field(0.00004, description="scheduling delay of a host per round trip half")
    jitter_s: Duration = Field(0.0, description="mean of an exponential extra delay per path")
    loss_ratio: Ratio = Field(0.0, lt=1)
    overlay: Literal["none", "vxlan"] = "none"
    client_hop: Literal["silent", "no-route"] = "silent"
    node_hop: Literal["silent", "no-route"] = "silent"


class ControlPlane(Spec):
    """Clocks of failure detection. Sources: docs/models/control-plane.md."""

    lease_renew_interval_s: Duration = Field(10.0, gt=0)
    node_monitor_period_s: Duration = Field(5.0, gt=0)
    node_monitor_grace_period_s: Duration | None = Field(
        None, gt=0, description="default: 50s, 40s before 1.32"
    )
    pod_status_rate_rps: Rate = 20.0
    slice_min_delay_s: Duration = 1.0
    watch_latency_s: Duration = 0.01
    toleration_s: Duration = 300.0
    kubelet_relist_s: Duration = Field(1.0, gt=0)
    leader_lease_duration_s: Duration = Field(15.0, description="what a new leader waits")
    leader_renew_deadline_s: Duration = Field(10.0, description="without the API the leader exits")


class Conntrack(Spec):
    """nf_conntrack of every node. Default maximum: k8s:pkg/proxy/conntrack/sysctls.go getConntrackMax."""

    max: Positive | None = None
    time_wait_s: Duration = Field(120.0, le=250)


class Cluster(Spec):
    """Nodes, their kube-proxy, and what lies between them."""

    nodes: Annotated[int, Field(ge=1, le=5000)] = 3
    node_names: Many[Name] = ()
    node_zones: Many[Name] = ()
    zones: Annotated[int, Field(ge=1, le=100)] = 1
    cores: Annotated[int, Field(ge=1, le=256)] = 4
    kubernetes_version: Version = "1.36"
    profile: str = "kernel-6.18"
    objects: str | None = Field(None, description="file of `kubectl get ... -o json`; reading replaces it")
    proxy: Proxy = Proxy()
    background: Background = Background()
    network: Network = Network()
    control_plane: ControlPlane = ControlPlane()
    conntrack: Conntrack = Conntrack()
    snat: Snat | None = Field(None, description="masquerade ports; default: never short")

    @model_validator(mode="after")
    def _names(self) -> Self:
        for field, given in (("nodeNames", self.node_names), ("nodeZones", self.node_zones)):
            if given and len(given) != self.nodes:
                rule = f"must hold one entry for each of the {self.nodes} nodes"
                raise FieldError(rule, field, got=len(given))
        if len(set(self.node_names)) != len(self.node_names):
            raise FieldError("must be distinct", "nodeNames")
        if self.objects is not None:
            raise FieldError("names a file: only reading a file replaces it by what it holds", "objects")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Node names, made up as node-1, node-2 ... where none were given."""
        return self.node_names or tuple(f"node-{n + 1}" for n in range(self.nodes))

    @property
    def zone_names(self) -> tuple[str, ...]:
        """Zone of every node: as given, else round robin over zone-1, zone-2 ..."""
        return self.node_zones or tuple(f"zone-{n % self.zones + 1}" for n in range(self.nodes))


class Service(Spec):
    """The Service under study, with the API's own field names."""

    name: Name = "web"
    namespace: Name = "default"
    type: Literal["NodePort", "LoadBalancer", "ClusterIP"] = "NodePort"
    node_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    ports: Positive = 1
    replicas: Annotated[int, Field(ge=0, le=150_000)] = 3
    external_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    internal_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    traffic_distribution: Literal["PreferClose", "PreferSameZone", "PreferSameNode"] | None = Field(
        None, description="hints that keep policy Cluster in the zone, or on the node, of the entry"
    )
    topology_mode: Literal["Disabled", "Auto"] = Field(
        "Disabled", description="the annotation service.kubernetes.io/topology-mode; goes before the field"
    )
    session_affinity: Literal["None", "ClientIP"] = "None"
    affinity_timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 10800
    health_check_node_port: Annotated[int, Field(ge=1, le=65535)] | None = None

    @property
    def asks_for_hints(self) -> bool:
        """Whether the EndpointSlice controller writes topology hints."""
        return self.topology_mode == "Auto" or self.traffic_distribution is not None


class Placement(Spec):
    """Where one pod stands; ``node`` is None for an endpoint outside the cluster."""

    name: Name
    node: Name | None = None
    ready: bool = True
    serving: bool = True
    terminating: bool = False


class Probe(Spec):
    """A readiness probe (Kubernetes defaults: period 10 s, time-out 1 s, thresholds 3 and 1)."""

    period_s: Duration = Field(10.0, gt=0)
    timeout_s: Duration = Field(1.0, gt=0)
    failure_threshold: Positive = 3
    success_threshold: Positive = 1


class Rollout(Spec):
    """How the Deployment replaces its pods (defaults: k8s:pkg/apis/apps/v1/defaults.go)."""

    max_surge: PodsOrShare = Field("25%", description="pods above the replicas; a share is rounded up")
    max_unavailable: PodsOrShare = Field("25%", description="replicas that may miss; a share is rounded down")
    min_ready_s: Duration = Field(0.0, description="ready for so long is available")


class SlowStart(Spec):
    """A container that has just started is slower: cold caches, code not compiled yet."""

    slowdown: Annotated[float, Field(ge=1, le=1000, strict=False)] = Field(
        1.0, description="how many times as long the first request takes"
    )
    over_s: Duration = Field(30.0, gt=0, description="until it takes as long as ever, in a straight line")


class Pods(Spec):
    """What stands behind the Service."""

    workers: Annotated[int, Field(ge=1, le=10_000)] = 8
    service_time: Law = Law()
    backlog: Count = 511
    overload: Literal["queue", "reject"] = "queue"
    queue_limit: Count = Field(1000, description="overload: reject answers 503 beyond this many waiting")
    startup_s: Duration = 2.0
    readiness_probe: Probe = Probe()
    termination_grace_period_seconds: Count = 30
    pre_stop_s: Duration = Field(0.0, description="sleep between the deletion and SIGTERM")
    on_term: Literal["ignore", "exit", "drain"] = Field(
        "ignore",
        description="what SIGTERM does. ignore: nothing, it serves until SIGKILL; exit: ends at once; "
        "drain: takes no new connection, closes idle ones, ends when its work is done",
    )
    teardown_s: Duration = Field(0.1, description="from the process's end to the end of the pod's address")
    rollout: Rollout = Rollout()
    slow_start: SlowStart = SlowStart()
    placement: Many[Placement] = ()


class Check(Spec):
    """A balancer's health check."""

    kind: Literal["node-port", "healthz", "health-check-node-port"] = "node-port"
    interval_s: Duration = Field(10.0, gt=0)
    timeout_s: Duration = Field(5.0, gt=0)
    rise: Positive = 2
    fall: Positive = 3


class Balancer(Spec):
    """An external load balancer (or the owner of a virtual IP) in front of the nodes."""

    policy: Literal["round-robin", "least-connections"] = "round-robin"
    check: Check = Check()
    latency_s: Duration = 0.0001
    drain_s: Duration | None = Field(
        None, description="connections to a node taken out are closed after it; default: kept"
    )
    failover_s: Duration = Field(10.0, description="virtual IP: silence to takeover")
    arp_s: Duration = Field(0.0, description="virtual IP: takeover to clients' packets arriving there")


class Run(Spec):
    """How long, how often, from which seed."""

    duration_s: Duration = Field(60.0, gt=0, le=1e9)
    replications: Annotated[int, Field(ge=1, le=100_000)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    warmup_s: Duration | None = Field(None, description="default: MSER-5 without events, none with")
    drain_s: Duration | None = Field(None, description="default: the longest deadline")
    precision: dict[str, Width] = Field(
        default_factory=dict, description="make further replications until intervals are so narrow"
    )
    max_replications: Annotated[int, Field(ge=1, le=100_000)] = Field(1000, description="with precision")
    uncertainty: bool = Field(False, description="draw each replication's prices from the profile's errors")


class Scenario(Spec):
    """One question: a cluster, a Service, its clients, what happens to them."""

    api_version: Literal["nodeportsim/v1"] = "nodeportsim/v1"
    kind: Literal["Scenario"] = "Scenario"
    name: Name = "scenario"
    cluster: Cluster = Cluster()
    service: Service = Service()
    pods: Pods = Pods()
    clients: Many[Clients] = (Clients(),)
    balancer: Balancer = Field(Balancer(), description="where clients enter by balancer or virtual-ip")
    events: Many[Event] = ()
    run: Run = Run()
    thresholds: dict[str, Limit] = Field(default_factory=dict)
    assumptions: Many[str] = Field((), description="what reading took for granted")

    @field_validator("clients", mode="before")
    @classmethod
    def _one_group(cls, value: Any) -> Any:
        """Let a single group stand without a list."""
        return value if isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if not self.clients:
            raise FieldError("must hold at least one group", "clients", got="[]")
        if (given := len(self.pods.placement)) not in {0, self.service.replicas}:
            rule = f"must place each of the {self.service.replicas} replicas, or none"
            raise FieldError(rule, "pods", "placement", got=given)
        nodes = {("pods", "placement", p, "node"): pod.node for p, pod in enumerate(self.pods.placement)}
        check_known("node", self.cluster.names, nodes)
        zones = {("clients", g, "zone"): group.zone for g, group in enumerate(self.clients)}
        check_known("zone", self.cluster.zone_names, zones)
        place, places = self.cluster.proxy.first_position, self._places
        if place is not None and place > places:
            raise FieldError(f"must be in 1..{places}", "cluster", "proxy", "firstPosition", got=place)
        first_s = min([self.run.duration_s, *(event.at_s for event in self.events)])
        if self.run.warmup_s and self.run.warmup_s >= first_s:
            rule = f"must end before the first event and the run do: {first_s:g}s"
            raise FieldError(rule, "run", "warmup", got=self.run.warmup_s)
        check_cells(self.clients, self.cluster.snat, self.cluster.nodes, self.service.replicas)
        names = [pod.name for pod in self.placement]
        check_targets(self.events, nodes=self.cluster.names, pods=names, zones=self.cluster.zone_names)
        if len(set(names)) != len(names):
            raise FieldError("must give every pod its own name", "pods", "placement")
        return self

    @model_validator(mode="after")
    def _one_zone(self) -> Self:
        """There is one DNS zone: it withdraws records for all who ask it, or for nobody."""
        asking = {
            g: c.entry.withdraw_s for g, c in enumerate(self.clients) if c.entry.policy == "dns-round-robin"
        }
        for g, withdraw_s in asking.items():
            if withdraw_s != next(iter(asking.values())):
                raise FieldError(
                    "must be the same for all groups that ask DNS",
                    "clients",
                    g,
                    "entry",
                    "withdraw",
                    got=withdraw_s,
                )
        return self

    @property
    def _places(self) -> int:
        """Rules of Services in the linear chain of the Service under study."""
        background = self.cluster.background
        if self.service.type != "ClusterIP":
            return background.node_ports + self.service.ports
        ports = background.services if background.ports is None else background.ports
        return ports + 1 + self.service.ports  # One is default/kubernetes.

    @property
    def placement(self) -> tuple[Placement, ...]:
        """Where every pod stands: as given, else round robin over the nodes."""
        return self.pods.placement or _spread(self.service.name, self.service.replicas, self.cluster.names)


@lru_cache(maxsize=2)  # Asked for many times a run. Not kept in the scenario: its copies would take it along.
def _spread(service: str, replicas: int, nodes: tuple[str, ...]) -> tuple[Placement, ...]:
    return tuple(Placement(name=f"{service}-{p}", node=nodes[p % len(nodes)]) for p in range(replicas))
