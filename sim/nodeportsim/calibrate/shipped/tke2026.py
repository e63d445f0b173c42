"""Profile published-2026: how many short connections a saturated node of TKE gets through, by rule set size.

Time per connection is a + b S, S the number of Services, on the four CPUs of the node that is full. If that
is the pods' node, each connection walks all S rules there, so a rule costs 4 b; if it is the client's, half
of them, and a rule costs 8 b. Which one it was is not published. The pods' node is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nodeportsim.calibrate.shipped.published import Published, beyond, card_of, guessed, known, pick, source

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.calibrate.fitting.write import Numbers
    from nodeportsim.scenario.prices import ModeKey
    from nodeportsim.scenario.profile import Profile

NAME = "published-2026"
RUN = "TKE-BENCH26-v3"
CORES = 4
MODES: tuple[ModeKey, ...] = ("iptables-legacy", "iptables-nft")
SHORT = {"source_id": RUN, "metric": "max_http_rps_svc", "mode": "iptables", "keepalive": "no"}
KEPT = {"source_id": RUN, "metric": "max_http_rps", "mode": "iptables", "keepalive": "yes"}
LATENCY = {"source_id": RUN, "metric": "tcp_rr_latency", "percentile": "p50"}


class Line(NamedTuple):
    """Time per connection over the number of Services: a + b S (s), and how sure that is."""

    a_s: float
    b_s: float
    b_error_s: float
    services: np.ndarray
    rps: np.ndarray

    @property
    def predicted_rps(self) -> np.ndarray:
        """The line at the measured sizes."""
        rps: np.ndarray = 1 / (self.a_s + self.b_s * self.services)
        return rps


def line(rows: pd.DataFrame) -> Line:
    """Fit 1/rate = a + b S by least squares in relative errors."""
    services, rps = rows["n_services"].to_numpy(float), rows["value"].to_numpy(float)
    design = np.column_stack([rps, rps * services])  # Relative: (a + b S) / (1 / rate) = 1.
    (a_s, b_s), rest, *_ = np.linalg.lstsq(design, np.ones(len(rps)), rcond=None)
    scatter = float(rest[0]) / (len(rps) - 2)
    covariance = np.linalg.inv(design.T @ design) * scatter
    return Line(float(a_s), float(b_s), float(np.sqrt(covariance[1, 1])), services, rps)


def profile(rows: pd.DataFrame, base: Profile) -> Published:
    """Make the profile from all published rows."""
    calibrating = pick(rows, source_id=RUN, use="cal")
    found = line(pick(calibrating, **SHORT))
    kept = pick(calibrating, **KEPT)
    request_s = CORES / float(kept["value"].iloc[:2].mean())  # By the pod's address and the Service's.
    head = {
        "name": NAME,
        "description": "Connections through a ClusterIP on Tencent Kubernetes Engine, as published in 2026",
        "extends": base.name,
        "environment": {
            "kernel": "6.6.117",
            "cpu": "SA5.LARGE8 virtual machines",
            "vcpus": str(CORES),
            "kubernetes": "1.34.1",
            "source": "imroc.cc/tke/en/networking/cilium/appendix/network-benchmark",
        },
    }
    return Published(
        head=head,
        host=_host(found, request_s, base, calibrating),
        modes={mode: _mode(mode, found, request_s, base) for mode in MODES},
        rows=calibrating,
        card=_card(found, request_s, calibrating, base),
    )


def _end_hosts_ns(found: Line, request_s: float, base: Profile) -> tuple[float, float]:
    """Split what a pod's node pays: what is not forwarding and rules belongs to the end hosts, half each."""
    connect = beyond(base, "iptables-nft", "connect_podip_ns", "connect_ns")[0]
    request = beyond(base, "iptables-nft", "request_podip_ns", "request_ns")[0]
    host, share = base.host, base.host.pod_share_ratio.value
    pod_request_ns = request_s * 1e9 - request - host.forward_request_ns.value
    pod_connect_ns = CORES * found.a_s * 1e9 - request_s * 1e9 - connect - host.forward_connect_ns.value
    connect_ns = host.forward_connect_ns.value + pod_connect_ns / share
    return connect_ns, host.forward_request_ns.value + pod_request_ns / share


def _host(found: Line, request_s: float, base: Profile, rows: pd.DataFrame) -> Numbers:
    connect_ns, request_ns = _end_hosts_ns(found, request_s, base)
    note = (
        f"all CPU time at the pods' node that {base.name} does not count as forwarding or rules, twice: "
        "processes are in it, and client and pod are taken as alike"
    )
    overlay_us = _latency(rows, "ebpf-cilium-vxlan") - _latency(rows, "ebpf-cilium-native")
    where = source(metric="tcp_rr_latency", percentile="p50")
    told = "difference of two medians of round trips; the encapsulating datapath was Cilium's"
    return {
        "connect_ns": guessed(connect_ns, source(**SHORT), note),
        "request_ns": guessed(request_ns, source(**KEPT), note),
        "overlay_connect_ns": guessed(overlay_us * 1e3, where, f"as a request's: {told}"),
        "overlay_request_ns": known(overlay_us * 1e3, None, where, told),
    }


def _mode(mode: ModeKey, found: Line, request_s: float, base: Profile) -> Numbers:
    connect_ns, request_ns = _end_hosts_ns(found, request_s, base)
    part: Numbers = {}
    for what, hosts_ns, rows in (("connect", connect_ns, SHORT), ("request", request_ns, KEPT)):
        for target in ("nodeport", "clusterip", "podip"):
            more_ns, both = beyond(base, mode, f"{what}_{target}_ns", f"{what}_ns")
            note = f"the end hosts' part and what {base.name} adds to it"
            part[f"{what}_{target}_ns"] = guessed(hosts_ns + more_ns, f"{source(**rows)}; {both}", note)
    rule_ns, error_ns = CORES * found.b_s * 1e9, CORES * found.b_error_s * 1e9
    note = "if the pods' node was full, which walks the whole chain; twice as much if it was the client's"
    loopback = "taken as the price of an address that does not match: not published"
    for end in ("hot", "cold"):
        part[f"address_mismatch_{end}_ns"] = known(rule_ns, error_ns, source(**SHORT), note)
        part[f"loopback_mismatch_{end}_ns"] = guessed(rule_ns, source(**SHORT), loopback)
    return part


def _latency(rows: pd.DataFrame, mode: str) -> float:
    return float(pick(rows, **LATENCY, mode=mode)["value"].iloc[0])


def _card(found: Line, request_s: float, rows: pd.DataFrame, base: Profile) -> str:
    off = found.predicted_rps / found.rps - 1
    table = zip(found.services, found.rps, found.predicted_rps, off, strict=True)
    native, plain = _latency(rows, "iptables"), base.prices("iptables-nft").request_clusterip_ns.value / 1e3
    return card_of(NAME).format(
        a=found.a_s * 1e6,
        b=found.b_s * 1e9,
        b_error=found.b_error_s * 1e9,
        worst=float(np.abs(off).max()),
        rows="".join(f"| {s:,.0f} | {m:,.0f} | {p:,.0f} | {e:+.1%} |\n" for s, m, p, e in table),
        rule=CORES * found.b_s * 1e9,
        double=2 * CORES * found.b_s * 1e9,
        cores=CORES,
        base=CORES * found.a_s * 1e6,
        kept=request_s * 1e6,
        native=native,
        half=(native - plain) / 2,
        vxlan=_latency(rows, "ebpf-cilium-vxlan"),
        overlay=_latency(rows, "ebpf-cilium-vxlan") - _latency(rows, "ebpf-cilium-native"),
    )
