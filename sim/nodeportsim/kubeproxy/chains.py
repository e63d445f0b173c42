"""Names of the chains that belong to one service port, as kube-proxy hashes them.

A name is a function of the Service's name and the endpoint's address alone: the same on every node, at every
sync. Source: portProtoHash and servicePortEndpointChainName (k8s:pkg/proxy/iptables/proxier.go),
hashAndTruncate (k8s:pkg/proxy/nftables/proxier.go); checked against every name in a real kube-proxy's dumps.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.concrete import Endpoint, Port

PROTOCOL = "tcp"
"""The one protocol of a `Port`."""

NFTABLES_NAME_MAX = 240
"""Characters after the prefix of an nftables name (chainNameBaseLengthMax)."""


def iptables_chain(kind: Literal["SVC", "SVL", "EXT"], port: Port) -> str:
    """Name the chain of all endpoints, of those on this node, or of traffic from outside."""
    return f"KUBE-{kind}-{_hash(port.full_name + PROTOCOL)[:16]}"


def iptables_endpoint_chain(port: Port, endpoint: Endpoint) -> str:
    """Name the chain of one endpoint, which is also the name of its list of clients (xt_recent)."""
    return f"KUBE-SEP-{_hash(f'{port.full_name}{PROTOCOL}{endpoint.address}:{endpoint.port}')[:16]}"


def nftables_chain(kind: Literal["service", "local", "external"], port: Port) -> str:
    """Name the chain of all endpoints, of those on this node, or of traffic from outside."""
    return f"{kind}-{_nftables_base(_slashed(port))}"


def nftables_endpoint(kind: Literal["endpoint", "affinity"], port: Port, endpoint: Endpoint) -> str:
    """Name the chain of one endpoint, or the set of its clients."""
    return f"{kind}-{_nftables_base(f'{_slashed(port)}__{endpoint.address}/{endpoint.port}')}"


def _slashed(port: Port) -> str:
    return f"{port.namespace}/{port.service}/{PROTOCOL}/{port.name}"


def _nftables_base(name: str) -> str:
    base = f"{_hash(name)[:8]}-{name}"
    return base if len(base) <= NFTABLES_NAME_MAX else base[: NFTABLES_NAME_MAX - 3] + "..."


def _hash(text: str) -> str:
    return b32encode(hashlib.sha256(text.encode()).digest()).decode()
