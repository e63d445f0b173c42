"""Real dumps, and written rules, as plain values that can be compared; and the view a dump was written from.

What says nothing is left out: counters, hash parameters, the order of set elements, and that of sets and
chains, which the kernel keeps by name. The order of rules in a chain is always compared.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from nodeportsim.kubeproxy.concrete import Endpoint, Port, View

DUMPS = Path(__file__).parent / "golden" / "dumps"
Tables = dict[str, dict[str, list[str]]]

# Where the golden data was taken: node-1 has the pods of this range, and ipvs ran under other node addresses.
LOCAL_PODS = ("10.244.0.", "10.245.")
NODE_ADDRESS, IPVS_NODE_ADDRESS = "172.18.2.2", "10.99.3.2"


def dumps(suffix: str) -> list[Path]:
    return sorted(DUMPS.glob(f"*{suffix}"))


def iptables(text: str) -> Tables:
    """Tables of an ``iptables-save`` or of input for ``iptables-restore``: chain -> rules in order."""
    tables: Tables = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], {})
        elif line.startswith(":"):
            name, policy, _ = line[1:].split()
            table[f"{name} {policy}"] = []
        elif match := re.match(r"(?:\[\d+:\d+\] )?-A (\S+) (.*)", line):
            policy = "ACCEPT" if f"{match[1]} ACCEPT" in table else "-"
            table[f"{match[1]} {policy}"].append(_spelt(match[2]))
    return tables


def _spelt(rule: str) -> str:
    """Probabilities as the kernel's 31 bits, spaces single."""
    rule = re.sub(
        r"(--probability) (\S+)", lambda m: f"{m[1]} {round(float(m[2]) * 2**31) / 2**31:.11f}", rule
    )
    return " ".join(rule.split())


def nftables(text: str) -> dict[str, Any]:
    """What ``nft list table`` shows: chain, set or map -> (head lines, rules in order or sorted elements)."""
    found: dict[str, Any] = {}
    for block in re.finditer(r"^\t((?:chain|set|map) \S+) \{\n(.*?)^\t\}", text, re.MULTILINE | re.DOTALL):
        body = re.sub(r",\n\s+", ", ", block[2])
        lines = [line.strip() for line in body.splitlines()]
        head = {line for line in lines if re.match(r"type|comment|flags|timeout|size", line)}
        rest = [line for line in lines if line not in head]
        if not block[1].startswith("chain"):
            inside = rest[0].removeprefix("elements = {").removesuffix("}") if rest else ""
            rest = sorted(element.strip() for element in inside.split(", ") if element.strip())
        found[block[1]] = (head, rest)
    return found


def nftables_commands(text: str) -> dict[str, Any]:
    """The same of input for ``nft -f``: one ``add`` a line."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"add (table|set|map|chain|rule|element) ip kube-proxy ?(\S*) ?(.*)", line)
        assert match, line
        kind, name, rest = match.groups()
        if kind == "rule":
            found[f"chain {name}"][1].append(rest)
        elif kind == "element":
            key = f"set {name}" if f"set {name}" in found else f"map {name}"
            found[key] = (found[key][0], sorted([*found[key][1], rest.removeprefix("{ ").removesuffix(" }")]))
        elif kind != "table":
            found[f"{kind} {name}"] = (_head(rest), [])
    return found


def _head(properties: str) -> set[str]:
    """Properties between braces as ``nft list`` would show them."""
    parts = [part.strip() for part in properties.strip("{} ").split(" ;") if part.strip()]
    if parts and parts[-1].startswith("policy"):
        return {f"{parts[0]}; {parts[1]};"}
    hours = {f"timeout {h}h" if part == f"timeout {h * 3600}s" else part for part in parts for h in (3,)}
    # nft gives a set that rules fill a size of its own.
    return hours | ({"size 65535"} if "flags dynamic,timeout" in hours else set())


def ipvs(text: str) -> dict[str, Any]:
    """The parts of an ipvs dump; virtual servers as ``ipvsadm`` commands."""
    parts = dict(re.findall(r"^# (\w+)[^\n]*\n(.*?)(?=^# |\Z)", text, re.MULTILINE | re.DOTALL))
    servers: dict[str, list[str]] = {}
    for line in parts["ipvsadm"].splitlines():
        if match := re.match(r"TCP +(\S+) (\w+)(?: persistent (\d+))?", line):
            virtual = f"-A -t {match[1]} -s {match[2]}" + (f" -p {match[3]}" if match[3] else "")
            servers[virtual] = []
        elif match := re.match(r" +-> (\d\S+) +Masq +(\d+)", line):
            servers[virtual].append(f"-a -t {virtual.split()[2]} -r {match[1]} -m -w {match[2]}")
    return {
        "servers": {virtual: sorted(real) for virtual, real in servers.items()},
        "sets": ipset(parts["ipset"]),
        "iptables": iptables(parts["iptables"]),
        "addresses": sorted(re.findall(r"inet (\S+)/32", parts["ip"])),
    }


def ipset(text: str) -> list[str]:
    """Sets and entries, sorted, without what the kernel adds."""
    return sorted(re.sub(r" bucketsize.*", "", line) for line in text.splitlines() if line)


def servers(text: str) -> dict[str, list[str]]:
    """Input for ``ipvsadm -R``: virtual server -> its real servers, sorted."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("-A"):
            virtual = line
            found[virtual] = []
        else:
            found[virtual] = sorted([*found[virtual], line])
    return found


def view(path: Path, golden: Any) -> View:
    """The view a dump was written from; its file name tells policy and affinity."""
    row = golden.dumped_row(path)
    read = {".iptables-save": _iptables_ports, ".nft": _nftables_ports, ".txt": _ipvs_ports}[path.suffix]
    options: dict[str, Any] = {
        "external_policy": "Local" if "local" in row["opts"] else "Cluster",
        "affinity_s": 10800 if "aff" in row["opts"] else 0,
    }
    ports = [
        Port(**place, **({} if place["namespace"] == "default" else options), endpoints=_ends(endpoints))
        for place, endpoints in read(path.read_text())
    ]
    address = IPVS_NODE_ADDRESS if path.suffix == ".txt" else NODE_ADDRESS
    return View(ports=tuple(ports), node_addresses=(address,))


def _ends(endpoints: list[str]) -> tuple[Endpoint, ...]:
    pairs = [endpoint.split(":") for endpoint in endpoints]
    return tuple(Endpoint(address=a, port=int(p), local=a.startswith(LOCAL_PODS)) for a, p in pairs)


def _place(full_name: str, cluster_ip: str, port: str, node_port: str | None) -> dict[str, Any]:
    match = re.fullmatch(r"([^/]+)/([^:]+):(.*)", full_name)
    assert match
    return {
        "namespace": match[1],
        "service": match[2],
        "name": match[3],
        "cluster_ip": cluster_ip,
        "port": int(port),
        "node_port": int(node_port or 0),
    }


def _iptables_ports(text: str) -> list[Any]:
    """Ports in the order of the linear chains: open ones from table nat, closed ones from table filter."""
    node_ports = dict(re.findall(r'-A KUBE-NODEPORTS -p .*--comment "(\S+)".*--dport (\d+)', text))
    node_ports |= dict(re.findall(r'-A KUBE-EXTERNAL-SERVICES .*--comment "(\S+) has.*--dport (\d+)', text))
    endpoints: defaultdict[str, list[str]] = defaultdict(list)
    for name, endpoint in re.findall(r'-A KUBE-SVC-\S+ -m comment --comment "(\S+) -> ([^"]+)"', text):
        endpoints[name] += [endpoint] if endpoint not in endpoints[name] else []
    services = re.findall(r'-A KUBE-SERVICES -d ([\d.]+)/32 .*--comment "(\S+) .*--dport (\d+)', text)
    # Order of the two lists among each other is free: none of the chains holds rules of both.
    return [(_place(name, ip, port, node_ports.get(name)), endpoints[name]) for ip, name, port in services]


def _nftables_ports(text: str) -> list[Any]:
    table = nftables(text)
    node_ports = {
        _full(m[2]): m[1]
        for e in table["map service-nodeports"][1]
        if (m := re.match(r"tcp \. (\d+) : goto external-\w{8}-(\S+)", e))
    }
    closed = dict(
        re.findall(r'tcp \. (\d+) comment "(\S+)"', " ".join(table["map no-endpoint-nodeports"][1]))
    )
    node_ports |= {name: port for port, name in closed.items()}
    ports = []
    for element in (*table["map service-ips"][1], *table["map no-endpoint-services"][1]):
        match = re.match(r'(\S+) \. tcp \. (\d+) (?:: goto (service-\w{8}-(\S+))|comment "(\S+)")', element)
        assert match
        name = _full(match[4]) if match[4] else match[5]
        choice = table[f"chain {match[3]}"][1][-1] if match[3] else ""
        found = re.findall(r"\d+ : (?:goto \S+__)?([\d.]+)(?: \. |/)(\d+)", choice)
        ends = [f"{address}:{port}" for address, port in found]
        ports.append((_place(name, match[1], match[2], node_ports.get(name)), ends))
    return ports


def _full(slashed: str) -> str:
    namespace, service, _, port = slashed.split("/")
    return f"{namespace}/{service}:{port}"


def _ipvs_ports(text: str) -> list[Any]:
    """An ipvs dump has no names; a NodePort's server is told by its address, and paired by endpoints."""
    servers = ipvs(text)["servers"]
    found = {v.split()[2]: [r.split()[4] for r in real] for v, real in servers.items()}
    outside = {place: ends for place, ends in found.items() if place.startswith(IPVS_NODE_ADDRESS)}
    ports = []
    for place, ends in found.items():
        if place.startswith(IPVS_NODE_ADDRESS):
            continue
        # Policy Local leaves a part of the endpoints at the NodePort; any NodePort will do if there are none.
        fitting = [o for o, e in outside.items() if set(e) <= set(ends) and bool(e) == bool(ends)]
        match = fitting[0] if fitting else ""
        outside.pop(match, None)
        ip, port = place.split(":")
        namespace = "default" if port == "443" else "lab"
        ports.append((_place(f"{namespace}/svc:{place}", ip, port, match.partition(":")[2]), ends))
    return ports
