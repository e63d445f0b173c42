"""Profile legacy-2019: kernels 4.x to 5.x, for the shape of what was published in those years.

Three things are published: how many packets a second a node forwarded in mode iptables and in mode ipvs, and
how much longer a round trip was over an overlay. Older kube-proxies wrote two rules per Service into
KUBE-SERVICES where there is one now, so a Service costs two rules. What a rule cost is taken over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeportsim.calibrate.shipped.published import Published, card_of, guessed, known, pick, source
from nodeportsim.scenario.profile import PACKETS_PER_REQUEST

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.calibrate.fitting.write import Numbers
    from nodeportsim.scenario.prices import ModeKey
    from nodeportsim.scenario.profile import Profile

NAME = "legacy-2019"
FORWARDING = {"source_id": "CILIUM18-FWD", "metric": "nodeport_forward_rate"}
ROUND_TRIP = {"source_id": "DAOCLOUD-CNI", "metric": "tcp_rr_latency"}
GATEWAY = {"source_id": "NGF-DPPERF", "metric": "http_latency"}
SIZING = {"source_id": "NGINX-SIZING17", "metric": "nginx_rps"}
INGRESS = {"source_id": "DAOCLOUD-INGRESS", "metric": "ingress_nginx_rps"}
PATHS = ("pod-pod cross node", "pod-node cross")
CORES, LEAST_CORES, MOST_CORES = 4, 2, 16
"""CPUs that forwarded in CILIUM18-FWD: not published. A core of those years forwarded 0.1 to 1 million/s."""
RULES_PER_SERVICE = 2


def profile(rows: pd.DataFrame, base: Profile) -> Published:
    """Make the profile from all published rows."""
    import pandas as pd

    calibrating = pick(rows, use="cal")
    used = pd.concat(
        [pick(calibrating, **keys) for keys in (FORWARDING, ROUND_TRIP, GATEWAY, SIZING, INGRESS)]
    )
    head = {
        "name": NAME,
        "description": "Kernels 4.x to 5.x and their kube-proxy, from published ratios: for shapes only",
        "extends": base.name,
        "environment": {
            "kernel": "5.7 (forwarding); others not published",
            "cpu": "several; see the rows",
            "source": "cilium.io/blog/2020/06/22/cilium-18 and others",
        },
    }
    return Published(
        head=head,
        host=_host(used),
        modes={"iptables-legacy": _packets("iptables-legacy", used, base) | _rules(base)}
        | {"ipvs": _packets("ipvs", used, base) | _bases("ipvs", base)},
        rows=used,
        card=_card(used),
    )


def _mean(rows: pd.DataFrame, mode: str, path: str) -> float:
    return float(pick(rows, **ROUND_TRIP, mode=mode, note=f"{path}*")["value"].iloc[0])


def _host(rows: pd.DataFrame) -> Numbers:
    added = [_mean(rows, "calico-vxlan", path) - _mean(rows, "calico-underlay", path) for path in PATHS]
    overlay_ns = 1e3 * sum(added) / len(added)
    half_range_ns = 1e3 * (max(added) - min(added)) / 2
    where = source(**ROUND_TRIP, mode="calico-vxlan")
    told = "vxlan less underlay, mean of pod to pod and pod to node; time, with its waiting, not CPU alone"
    return {
        "overlay_request_ns": known(overlay_ns, half_range_ns, where, told),
        "overlay_connect_ns": guessed(overlay_ns, where, "as a request's: as many packets there and back"),
    }


def _packets(mode: ModeKey, rows: pd.DataFrame, base: Profile) -> Numbers:
    """Price a request so that its two packets cost what the forwarded ones did."""
    published = mode.removesuffix("-legacy")
    million = float(pick(rows, **FORWARDING, mode=published)["value"].iloc[0])
    bare_ns = base.host.request_ns.value - base.host.forward_request_ns.value
    ends = [
        bare_ns + PACKETS_PER_REQUEST * cores * 1e3 / million for cores in (CORES, LEAST_CORES, MOST_CORES)
    ]
    note = (
        f"{CORES} CPUs are assumed to have forwarded ({LEAST_CORES} to {MOST_CORES}); between modes "
        f"only the ratio counts"
    )
    where = source(**FORWARDING, mode=published)
    targets = ("nodeport", "clusterip", "podip")
    return {f"request_{target}_ns": guessed(ends[0], where, note, *ends[1:]) for target in targets}


def _rules(base: Profile) -> Numbers:
    """Give a Service two rules: twice the price, twice the memory."""
    part: Numbers = {}
    note = f"two rules per Service, each at the price in {base.name}; a factor of two either way is open"
    for name in ("address_mismatch_hot_ns", "address_mismatch_cold_ns", "address_mismatch_bytes"):
        one = getattr(base.modes["iptables-legacy"], name).value
        where = f"../{base.name}/profile.yaml"
        part[name] = guessed(RULES_PER_SERVICE * one, where, note, one, 2 * RULES_PER_SERVICE * one)
    return part


def _bases(mode: ModeKey, base: Profile) -> Numbers:
    """Keep the emulated bases of ipvs, and say so."""
    number = base.modes[mode].connect_nodeport_ns
    note = "taken over; measured in an emulated machine"
    return {"connect_nodeport_ns": guessed(number.value, f"../{base.name}/profile.yaml", note)}


def _card(rows: pd.DataFrame) -> str:
    def first(keys: dict[str, str], **more: str) -> float:
        return float(pick(rows, **keys, **more)["value"].iloc[0])

    rtt = _mean(rows, "calico-underlay", "node-node")
    across = {mode: _mean(rows, f"calico-{mode}", PATHS[0]) / rtt for mode in ("underlay", "ipip", "vxlan")}
    rates = {mode: first(FORWARDING, mode=mode) for mode in ("iptables", "ipvs")}
    return card_of(NAME).format(
        **across,
        **rates,
        ratio=rates["iptables"] / rates["ipvs"],
        rtt=rtt,
        half=rtt / 2,
        sizing=1e6 / first(SIZING, mode="http", note="1 cpus, 1 KB*"),
        ingress=1e6 / first(INGRESS),
        mean=first(GATEWAY, percentile="mean"),
        p99=first(GATEWAY, percentile="p99"),
        stall=first(GATEWAY, percentile="max") / 1e3,
    )
