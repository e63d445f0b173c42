"""The nftables rules of every node, as ``nft list`` spells them: sets, base chains, fixed chains."""

from __future__ import annotations

TABLE = "ip kube-proxy"
MARK, _UNMARK = "meta mark set meta mark | 0x00004000", "meta mark set meta mark ^ 0x00004000"
_SERVICE, _NODE_PORT = "ipv4_addr . inet_proto . inet_service", "inet_proto . inet_service"
_CLOSED = "vmap to drop or reject packets to"
SETS = {
    "set hairpin-connections": (f"ipv4_addr . {_SERVICE}", "service hairpin connections"),
    "set cluster-ips": ("ipv4_addr", "Active ClusterIPs"),
    "set nodeport-ips": ("ipv4_addr", "IPs that accept NodePort traffic"),
    "map no-endpoint-services": (f"{_SERVICE} : verdict", f"{_CLOSED} services with no endpoints"),
    "map no-endpoint-nodeports": (
        f"{_NODE_PORT} : verdict",
        f"{_CLOSED} service nodeports with no endpoints",
    ),
    "map firewall-ips": (
        f"{_SERVICE} : verdict",
        "destinations that are subject to LoadBalancerSourceRanges",
    ),
    "map service-ips": (f"{_SERVICE} : verdict", "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
    "map service-nodeports": (f"{_NODE_PORT} : verdict", "NodePort traffic"),
}
BASE_CHAINS = {
    "filter-prerouting-pre-dnat": "filter hook prerouting priority dstnat - 10",
    "filter-output-pre-dnat": "filter hook output priority -110",
    "filter-input": "filter hook input priority filter",
    "filter-forward": "filter hook forward priority filter",
    "filter-output": "filter hook output priority filter",
    "nat-prerouting": "nat hook prerouting priority dstnat",
    "nat-output": "nat hook output priority -100",
    "nat-postrouting": "nat hook postrouting priority srcnat",
}
FIXED_RULES = {
    "filter-prerouting-pre-dnat": ("ct state new jump firewall-check",),
    "filter-output-pre-dnat": ("ct state new jump firewall-check",),
    "filter-input": (
        "ct state new jump nodeport-endpoints-check",
        "ct state new jump service-endpoints-check",
    ),
    "filter-forward": ("ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"),
    "filter-output": ("ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"),
    "nat-prerouting": ("jump services",),
    "nat-output": ("jump services",),
    "nat-postrouting": ("jump masquerading",),
    "nodeport-endpoints-check": (
        "ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports",
    ),
    "service-endpoints-check": ("ip daddr . meta l4proto . th dport vmap @no-endpoint-services",),
    "firewall-check": ("ip daddr . meta l4proto . th dport vmap @firewall-ips",),
    "masquerading": (
        f"meta mark & 0x00004000 != 0x00000000 {_UNMARK} masquerade fully-random",
        (
            "ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections"
            " masquerade fully-random"
        ),
    ),
    "reject-chain": ("reject",),
}
