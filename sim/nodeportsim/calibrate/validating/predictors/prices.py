"""What follows from prices and counts: first packets, packets a second, rules, syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.shipped import blog2025, legacy2019
from nodeportsim.calibrate.shipped.mixture import places, quantiles
from nodeportsim.calibrate.shipped.published import each, pick, read_rows
from nodeportsim.calibrate.validating.predictors.rule import Rule
from nodeportsim.kubeproxy.rules import structure, walk
from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, ServicePort, Shape
from nodeportsim.scenario.profile import load_profile, mode_of

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.scenario.prices import ModeKey

BACKENDS: dict[str, ModeKey] = {"iptables": "iptables-nft", "nftables": "nftables", "ipvs": "ipvs"}
NATIVE = "kernel-6.18"


def first_packets(rows: pd.DataFrame) -> list[float]:
    """Predict the percentiles (us) of first packets to a ClusterIP: uniform place, the profile's spread."""
    profile = load_profile(blog2025.NAME)
    spread = profile.host.connect_spread_ratio.value
    predicted = []
    for row in each(rows):
        key, port = BACKENDS[row.mode], ServicePort(endpoints=1, node_port=False)
        shape = Shape(((int(row.n_services), port),))
        at = [max(1.0, share * shape.cluster_ips) for share in places()] if key == "iptables-nft" else [1.0]
        walks = (walk(mode_of(key), shape, port, "clusterip", position=place) for place in at)
        prices = [1e6 * profile.path_s(key, "clusterip", passed) for passed in walks]
        predicted += [float(quantiles(prices, spread, [blog2025.SHARES[row.percentile]])[0])]
    return predicted


def _packet_s(mode: str) -> float:
    key: ModeKey = "ipvs" if mode == "ipvs" else "iptables-legacy"
    return load_profile(legacy2019.NAME).packet_s(key, "nodeport")


def cpu_free(rows: pd.DataFrame) -> list[float]:
    """Predict the idle share (%) of the forwarding CPUs at the offered rate that the note names."""
    return [
        100 * max(0.0, 1 - float(row.note.split()[0]) * 1e6 * _packet_s(row.mode) / legacy2019.CORES)
        for row in each(rows)
    ]


def forwarded(rows: pd.DataFrame) -> list[float]:
    """Predict how many million packets a second the CPUs forward at most."""
    return [legacy2019.CORES / _packet_s(row.mode) * 1e-6 for row in each(rows)]


def saved_lines(rows: pd.DataFrame) -> list[float]:
    """Predict lines of iptables-save: a rule each, a declaration per chain."""
    found = []
    for row in each(rows):
        tested = ServicePort(endpoints=int(row.n_endpoints), node_port=False)
        written = structure("iptables", Shape(((int(row.n_services), tested), (1, KUBERNETES_SERVICE))))
        found += [float(written.rule_count() + written.chain_count())]
    return found


def _sync_s(row: Any, kind: Any, *, total: bool = True) -> float:
    services = int(row.n_services)
    behind = int(row.n_endpoints or services) // services if total else int(row.n_endpoints)
    port = ServicePort(endpoints=max(1, behind), node_port=False)
    key = BACKENDS[row.mode.split("-")[0]]
    return load_profile(NATIVE).sync_s(key, Shape(((services, port), (1, KUBERNETES_SERVICE))), kind)


def full_syncs(rows: pd.DataFrame) -> list[float]:
    """Predict a full sync into an empty rule set (s); endpoints are given in total."""
    return [_sync_s(row, "full") for row in each(rows)]


def restarts(rows: pd.DataFrame) -> list[float]:
    """Predict the first sync after a restart (s); endpoints are given per Service."""
    return [_sync_s(row, "restart", total=False) for row in each(rows)]


def partial_syncs(rows: pd.DataFrame) -> list[float]:
    """Predict a sync of one changed Service (s); endpoints are given in total."""
    return [_sync_s(row, "partial") for row in each(rows)]


def round_trips(rows: pd.DataFrame) -> list[float]:
    """Predict connect, request and answer (us) as two round trips of the published length of one."""
    single = pick(read_rows(), **legacy2019.ROUND_TRIP, use="cal")
    found = []
    for row in each(rows):
        path = "node-node" if row.note.startswith("node-node") else row.note.split(";")[0]
        mode = "calico-underlay" if path == "node-node" else row.mode
        found += [2 * float(pick(single, mode=mode, note=f"{path}*")["value"].iloc[0])]
    return found


def by_service(rows: pd.DataFrame) -> list[float]:
    """Predict throughput by a Service as the measured one without it, by the price of an open connection."""
    prices, every = load_profile(NATIVE).prices("iptables-nft"), read_rows()
    one = prices.request_podip_ns.value / prices.request_clusterip_ns.value
    ratios = {"tcp_throughput_1stream": one, "tcp_throughput_8stream": 1.0}
    return [
        ratios[row.metric]
        * float(
            pick(every, source_id=row.source_id, metric=row.metric, mode=row.mode.removesuffix("+service"))[
                "value"
            ].iloc[0]
        )
        for row in each(rows)
    ]


OLD_SYNC = (
    "extrapolated: the profile's line comes from kube-proxy 1.36.2 on kernel 6.18 with at most 2,000 "
    "Services and 20,000 endpoints; older releases and kernels were slower, larger rule sets take more than "
    "a line"
)
RULES = (
    Rule(
        source="K8SBLOG-NFT25.*",
        metric="first_packet_rtt",
        tolerance="percentile",
        predict=first_packets,
        how="prices of published-2025, place in the chain uniform",
        reason=(
            "the model's p01 is that of a Service near the head of the chain; p99 of a flat mode is a"
            " longer tail than log-normal"
        ),
    ),
    Rule(
        source="CILIUM18-FWD",
        metric="cpu_free",
        mode="iptables|ipvs",
        tolerance="share",
        predict=cpu_free,
        how="packets x price of legacy-2019",
        reason=(
            "the price comes from a saturated node; at half load a packet costs more, since fewer are"
            " taken per interrupt"
        ),
    ),
    Rule(
        source="CILIUM18-FWD|DAOCLOUD-LB.*",
        metric="nodeport_forward_rate",
        mode="iptables|ipvs",
        predict=forwarded,
        how="CPUs / price of legacy-2019",
        reason="another machine",
    ),
    Rule(
        source="TKE-BENCH26",
        metric="iptables_save_lines",
        tolerance="exact",
        predict=saved_lines,
        how="structure of kubeproxy.iptables",
        reason=(
            "this kube-proxy knows no cluster CIDR and so leaves out one rule per Service (2 + 4E lines "
            "instead of 3 + 4E); the cluster's own few dozen Services are not counted"
        ),
    ),
    Rule(
        source="K8S-PR130119",
        metric="proxy_restart_sync",
        tolerance="time",
        predict=restarts,
        how="sync_restart of kernel-6.18",
        reason=OLD_SYNC,
    ),
    Rule(
        source="K8S-I135639|K8S-I139513",
        metric="sync_proxy_rules|sync_proxy_rules_full",
        tolerance="time",
        predict=full_syncs,
        how="sync_full of kernel-6.18",
        reason=OLD_SYNC,
    ),
    Rule(
        source="K8S-I139513",
        metric="sync_proxy_rules_incremental",
        tolerance="time",
        predict=partial_syncs,
        how="sync_partial of kernel-6.18",
        reason=(
            "the price per Service was measured with at most 2,000; the source's build has a change that "
            "1.36.2 has not"
        ),
    ),
    Rule(
        source="K8S-I84906",
        metric="sync_proxy_rules",
        tolerance="time",
        predict=lambda rows: [_sync_s(row, "full") for row in each(rows)],
        how="sync_full of kernel-6.18 (emulated)",
        reason=(
            "external IPs are not modelled; 12 s was a bug, and the profile's ipvs loads its rules in"
            " an emulated machine"
        ),
    ),
    Rule(
        source="DAOCLOUD-CNI",
        metric="tcp_rr_latency",
        note="^node-node",
        base=True,
        reason="one measurement, listed under several names; the rows that were fitted hold it too",
    ),
    Rule(
        source="DAOCLOUD-CNI",
        metric="tcp_crr_latency",
        mode="calico",
        tolerance="shape",
        predict=round_trips,
        how="two round trips; sockets and closing are not modelled",
    ),
    Rule(
        source="DAOCLOUD-CNI",
        metric="tcp_crr_latency",
        note="^node-node",
        mode="(?!calico)",
        tolerance="shape",
        predict=round_trips,
        how="two round trips; sockets and closing are not modelled",
    ),
    Rule(
        source="INFRABUILDER-24",
        mode=r"(calico|canal|flannel|cilium)\+service",
        predict=by_service,
        how="throughput without the Service x price of an open connection (8 streams: the link's)",
    ),
)
