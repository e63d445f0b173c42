"""Published rows that no prediction is made for, each with its reason."""

from __future__ import annotations

from nodeportsim.calibrate.validating.predictors.rule import Rule

EBPF = "an eBPF data path, which bypasses the rules that are modelled"
OWN = "this network's own service path (OVS, IPVS or eBPF), not kube-proxy's rules"
BANDWIDTH = "a throughput without a Service: bandwidth is not modelled"
FIELD = "statistics of incidents, not of a system"
CREATION = "the creation of Services is not modelled; this kube-proxy synced all rules at every change"
RESOURCES = "memory and CPU of kube-proxy are not modelled"
THRESHOLDS = (
    "no fault slows a pod down, and the thresholds (78 % or 80 % for 9 or 10 s) hang on a load and time-outs "
    "that the row does not give"
)

RULES = tuple(
    Rule(source=source, metric=metric, mode=mode, note=note, reason=reason)
    for source, metric, mode, note, reason in (
        ("TKE-BENCH26-.*", ".*", "ebpf", "", EBPF),
        (
            "TKE-BENCH26-.*",
            "http_1000qps_latency",
            "iptables",
            "",
            "an edge of the tool's buckets, no latency",
        ),
        ("TKE-BENCH26-.*", "kube_proxy_.*", "", "", RESOURCES),
        ("CILIUM18-FWD", ".*", "xdp|tc", "", EBPF),
        (
            "CILIUM-CNI21",
            ".*",
            "",
            "",
            "pod to pod without a Service: which network is under it, is not modelled",
        ),
        ("K8S-PR126013", "create_10k_services", "", "", CREATION),
        ("K8S-PR126013", "kube_proxy_memory_max", "", "", RESOURCES),
        ("K8S-I139513", "sync_proxy_rules_full_listall_part", "", "", "parts of a sync are not modelled"),
        ("METALLB-I2009", ".*", "", "", "members' gossip is not modelled: `balancer.failover` is declared"),
        ("TAIL-AT-SCALE", ".*", "", "", "fan-out over leaves and hedged requests are not modelled"),
        ("DAOCLOUD-INGRESS", ".*", "", "", "what an application's CPUs can do is an input"),
        ("DAOCLOUD-CNI", "tcp_rr_latency", "cilium", "^pod", EBPF),
        ("DAOCLOUD-CNI", "tcp_crr_latency", "cilium", "^pod", EBPF),
        ("DAOCLOUD-CNI", ".*", "macvlan|sriov", "^pod", "a path that bypasses the node's stack"),
        ("INFRABUILDER-24", ".*", r"[^+]*$", "", BANDWIDTH),
        (
            "INFRABUILDER-24",
            ".*",
            r"(antrea|calico-ebpf|cilium-nokproxy|kubeovn|kuberouter).*\+service",
            "",
            OWN,
        ),
        ("ALIBABA-TERWAY20", ".*", "ebpf", "", EBPF),
        (
            "K8S-PR71114",
            "rps|connect_mean|connect_sd",
            "",
            "",
            "how many SYNs ipvs drops on a port used before is not modelled",
        ),
        ("CILIUM-10943", ".*", "", "", "an absolute latency of an unknown machine"),
        ("K8S-76699", ".*", "", "", "the capacity of an unknown application"),
        (
            "FLANNEL-1004|COREDNS-3163",
            ".*",
            "",
            "",
            "UDP, DNS servers and races in conntrack are not modelled",
        ),
        ("KUBEVIP-430", ".*", "", "", "the source does not say what the node waited for"),
        ("KUBENFTLB-20", ".*", "nftlb", "", "another program's rules"),
        (
            "KUBENFTLB-20",
            "delete_service_rules",
            "iptables",
            "",
            "the time holds the end of the pods, seen by polling",
        ),
        ("NGF-ZDSCALE", ".*", "", "", "scaling a Deployment is not among the faults"),
        (
            "SRE-BOOK-LB",
            "max_over_min_cpu",
            "",
            "",
            "queries and machines of different cost are not modelled",
        ),
        ("OSDI22-METASTABLE", ".*", "", "", FIELD),
        (
            "OSDI22-ARTIFACT",
            ".*",
            "",
            "",
            THRESHOLDS,
        ),
    )
)
