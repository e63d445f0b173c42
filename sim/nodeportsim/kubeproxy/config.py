"""kube-proxy's own configuration file: mode, clocks of its syncs, conntrack.

How the real thing works: a ``KubeProxyConfiguration`` of ``kubeproxy.config.k8s.io/v1alpha1``; kubeadm keeps
it as text in the ConfigMap ``kube-system/kube-proxy``, under ``config.conf``, beside a kubeconfig that nobody
reads here. Each mode has a section of its own with ``syncPeriod`` and ``minSyncPeriod``; zero or nothing is
the default: 30 s, and 1 s (ipvs: 0 s). An empty mode is iptables on Linux.
k8s:pkg/proxy/apis/config/v1alpha1/defaults.go, k8s:pkg/proxy/conntrack/sysctls.go getConntrackMax.
Left out: everything that shapes no walk, no sync and no table, such as addresses to listen on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nodeportsim.errors import InputError
from nodeportsim.units import duration_s

if TYPE_CHECKING:
    from nodeportsim.kube.document import Field

KIND = "KubeProxyConfiguration"
CONFIG_MAP = "ConfigMap kube-system/kube-proxy"  # Of kubeadm: cmd/kubeadm/app/constants/constants.go.
CONFIG_KEY = "config.conf"
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "sh")  # Those that are simulated.

Mode = Literal["iptables", "ipvs", "nftables"]
_MODES: tuple[Mode, ...] = ("iptables", "ipvs", "nftables")
_MIN_SYNC_S: dict[Mode, float] = {"iptables": 1.0, "ipvs": 0.0, "nftables": 1.0}
_SYNC_S = 30.0
_PER_CORE, _MIN = 32_768, 131_072
_CAP, _CAPPED_SINCE = 1_048_576, 36  # A minor version.


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """One kube-proxy's configuration, defaults filled in.

    Parameters
    ----------
    title
        Where it was found.
    declared
        Whether the mode is written there, or the default of an empty one.
    conntrack_per_core
        0 leaves the kernel's own limit alone.
    node_port_addresses
        Ranges, or ``primary``; empty is the mode's default.
    """

    title: str
    mode: Mode = "iptables"
    declared: bool = True
    scheduler: str = "rr"
    min_sync_period_s: float = 1.0
    sync_period_s: float = _SYNC_S
    localhost_node_ports: bool = True
    conntrack_per_core: int = _PER_CORE
    conntrack_min: int = _MIN
    node_port_addresses: tuple[str, ...] = ()

    def conntrack_max(self, cores: int, kubernetes_version: str) -> int | None:
        """Entries that kube-proxy sets on a node; None where it sets none. Capped since 1.36."""
        scaled = self.conntrack_per_core * cores
        if not scaled:
            return None
        if int(kubernetes_version.partition(".")[2]) >= _CAPPED_SINCE and scaled > _CAP:
            return _CAP
        return max(scaled, self.conntrack_min)

    @classmethod
    def read(cls, document: Field) -> ProxyConfig:
        """Read one document; an error names the field."""
        written = document["mode"].text()
        mode: Mode | None = next((mode for mode in _MODES if mode == (written or "iptables")), None)
        if mode is None:
            raise document["mode"].error(f"must be one of {', '.join(_MODES)} to be simulated")
        own, conntrack = document[mode], document["conntrack"]
        per_core, least = conntrack["maxPerCore"].whole(), conntrack["min"].whole()
        return cls(
            title=document.document,
            mode=mode,
            declared=bool(written),
            scheduler=document["ipvs"]["scheduler"].text() or "rr",
            min_sync_period_s=_duration_s(own["minSyncPeriod"]) or _MIN_SYNC_S[mode],
            sync_period_s=_duration_s(own["syncPeriod"]) or _SYNC_S,
            localhost_node_ports=document["iptables"]["localhostNodePorts"].flag(default=True),
            conntrack_per_core=_PER_CORE if per_core is None else per_core,
            conntrack_min=_MIN if least is None else least,
            node_port_addresses=tuple(each.text() for each in document["nodePortAddresses"].items()),
        )


def _duration_s(field: Field) -> float:
    """Read a metav1.Duration, in seconds; nothing is 0."""
    text = field.text()
    try:
        return duration_s(text) if text else 0.0
    except InputError:
        raise field.error("must be a duration such as 30s or 1m30s") from None
