"""Profile published-2026: how many short connections a saturated node of TKE gets through, by rule set size.

Time per connection is a + b S, S the number of Services, on the four CPUs of the node that is full. If that is
the pods' node, each connection walks all S rules there, so a rule costs 4 b; if it is the client's, half of
them, and a rule costs 8 b. Which one it was is not published. The pods' node is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nodeportsim.calibrate.published import Published, beyond, guessed, known, pick, source

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.calibrate.write import Numbers
    from nodeportsim.scenario.profile import Profile

NAME = "published-2026"
RUN = "TKE-BENCH26-v3"
CORES = 4
SHORT = {"source_id": RUN, "metric": "max_http_rps_svc", "mode": "iptables", "keepalive": "no"}
KEPT = {"source_id": RUN, "metric": "max_http_rps", "mode": "iptables", "keepalive": "yes"}
LATENCY = {"source_id": RUN, "metric": "tcp_rr_latency", "percentile": "p50"}

CARD = """# Profile published-2026

Short and kept connections through a ClusterIP on Tencent Kubernetes Engine, as imroc published them in June 2026
(*Cilium Network Performance Benchmark*, imroc.cc/tke/en/networking/cilium/appendix/network-benchmark, run v3):
Kubernetes 1.34.1, kernel 6.6.117, nodes of 4 virtual CPUs, 64 connections at a time, client and pods on different
nodes. Written by `python -m nodeportsim.calibrate.shipped` from the rows in `data/published.csv`.

## Quality
Shape high, absolute values medium: one round of 60 s a point, so a few per cent of noise. Time per connection is
{a:.2f} µs + {b:.3f} µs per 1,000 Services ({b_error:.3f}); the points lie within {worst:.1%} of that line.

| Services | measured, 1/s | line, 1/s | error |
|---:|---:|---:|---:|
{rows}
- **A rule costs {rule:.1f} ns** if the pods' node is the one that is full: it walks the whole chain for every new
  connection, and has {cores} CPUs. If the client's node is (half the chain), {double:.1f} ns. Which node it was is not
  published, nor where the tested Service stands.
- **The base, {base:.0f} µs of CPU per short connection, is not separable**: kernel, client or server process, set-up,
  one request, tear-down. It stands as the end hosts' part (`connect_ns`, `request_ns`), so a simulated pod's node has
  a server process in it: give the pods many workers and no service time of their own.
- Kept connections: {kept:.1f} µs a request, through the Service or not.

## What a scenario should set
| | measured | what to set |
|---|---|---|
| a small request and its answer, p50 | {native:.0f} µs | `network.nodeNode` and `wakeUp` that add up to {half:.0f} µs each way, without this profile's CPU time |
| the same over vxlan, p50 | {vxlan:.0f} µs | `overlay: vxlan`: {overlay:.0f} µs more; prices as below |

## Where not to use it
- With service times of your own: the server is already in the base.
- For NodePorts as more than a guess: measured were ClusterIPs. No nftables, no ipvs.
- For the latency of a single connection: these are times per connection of a node that is full.
"""


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
    request_s = CORES / float(kept["value"].iloc[:2].mean())  # 64 connections: to the pod, and by the Service.
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
        modes={mode: _mode(mode, found, request_s, base) for mode in ("iptables-legacy", "iptables-nft")},
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
        "all CPU time at the pods' node that {base} does not count as forwarding or rules, twice: processes "
        "are in it, and client and pod are taken as alike"
    ).format(base=base.name)
    overlay_us = _latency(rows, "ebpf-cilium-vxlan") - _latency(rows, "ebpf-cilium-native")
    where = source(metric="tcp_rr_latency", percentile="p50")
    told = "difference of two medians of round trips; the encapsulating datapath was Cilium's"
    return {
        "connect_ns": guessed(connect_ns, source(**SHORT), note),
        "request_ns": guessed(request_ns, source(**KEPT), note),
        "overlay_connect_ns": guessed(overlay_us * 1e3, where, f"as a request's: {told}"),
        "overlay_request_ns": known(overlay_us * 1e3, None, where, told),
    }


def _mode(mode: str, found: Line, request_s: float, base: Profile) -> Numbers:
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
    return CARD.format(
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
