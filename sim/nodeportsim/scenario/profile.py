"""Prices: what the rules that `nodeportsim.kubeproxy` counts cost, with errors and sources.

A profile is a folder of ``models/``: ``profile.yaml`` and the measurements behind it. The measured figure is
the CPU time of connect() over veth, where the client's stack, the node and the pod's stack run in one go on
one core. It is split so: the node pays the forwarding of a ruleless node (measured as what a second node
adds) plus whatever conntrack and the rules add to the path without them (measured); the rest belongs to
the two end hosts, half each (assumed). NIC, interrupts, wake-ups and wire are not in it.

A walk costs base + sum over rule classes of count x price. The price of the two long classes moves from hot
to cold by a logistic in the logarithm of the bytes walked, for a chain that does not fit the core's cache
loses all of it at every walk. ``cache="hot"`` and ``"cold"`` are the ends of an uncertainty band,
``"measured"`` is what a node that does nothing but connections showed.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ValidationError

import nodeportsim
from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.rules import structure, walk
from nodeportsim.scenario.prices import NONE, Host, ModeKey, ModePrices, Parameter, Part, Sizes, SyncPrice

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.sync import SyncKind
    from nodeportsim.kubeproxy.walk import Mode, Packet, ServicePort, Shape, Walk
    from nodeportsim.scenario.prices import Cache

PACKETS_PER_REQUEST = 2
"""A small request and its answer on an open connection: one segment each, acknowledgements ride along."""


class Profile(Part):
    """All prices of one kernel and machine.

    Times of its methods are seconds of CPU. What a node or a pod pays is a difference of measured paths;
    where prices drawn from large errors would make it negative, it is nothing.
    """

    name: str
    description: str
    extends: str | None = None
    environment: dict[str, str]
    syncs_up_to: Sizes | None = None
    host: Host
    modes: dict[ModeKey, ModePrices]

    def prices(self, key: ModeKey) -> ModePrices:
        """Prices of a mode.

        Raises
        ------
        InputError
            The profile's data do not tell of this mode.
        """
        if key not in self.modes:
            hint = f"it has {', '.join(self.modes)}; or take another profile: nodeportsim list profiles"
            raise InputError(f"has no prices for {key}", field=f"profile {self.name}", hint=hint)
        return self.modes[key]

    def path_s(self, key: ModeKey, packet: Packet, passed: Walk, *, cache: Cache = "measured") -> float:
        """Price the first packets of a connection over client, one node and pod together, as measured."""
        prices = self.prices(key)
        base_ns = prices.base_ns("connect", packet)
        if packet == "nodeport" and not passed.masquerade:
            base_ns -= self.host.masquerade_connect_ns.value
        if cache == "cold":
            base_ns *= prices.cold_base_ratio.value
        return (base_ns + prices.rules_ns(passed, cache)) * 1e-9

    def walk_s(self, key: ModeKey, packet: Packet, passed: Walk, *, cache: Cache = "measured") -> float:
        """Price a new connection at one node it crosses: forwarding, conntrack and rules, no end host."""
        hosts_s = (self.host.connect_ns.value - self.host.forward_connect_ns.value) * 1e-9
        if cache == "cold":
            hosts_s *= self.prices(key).cold_base_ratio.value
        return max(0.0, self.path_s(key, packet, passed, cache=cache) - hosts_s)

    def walk_price(
        self,
        key: ModeKey,
        shape: Shape,
        port: ServicePort,
        packet: Packet,
        *,
        position: float | None = None,
        sticky: bool = False,
        cache: Cache = "measured",
    ) -> tuple[float, float]:
        """Price a new connection at one node as a + b * k in the rank k = 1, 2 ... of the chosen endpoint.

        Returns
        -------
        (float, float)
            a and b (s). Arguments: see `nodeportsim.kubeproxy.rules.walk` and `walk_s`.
        """
        at = [
            self.walk_s(
                key,
                packet,
                walk(mode_of(key), shape, port, packet, position=position, endpoint=rank, sticky=sticky),
                cache=cache,
            )
            for rank in ((1, 2) if _endpoints(port, packet) > 1 else (1,))
        ]
        per_endpoint_s = at[-1] - at[0]
        return at[0] - per_endpoint_s, per_endpoint_s

    def request_s(self, key: ModeKey, packet: Packet) -> float:
        """Price a request and its answer on an open connection at one node it crosses."""
        added_ns = self.prices(key).base_ns("request", packet) - self.host.request_ns.value
        return max(0.0, (self.host.forward_request_ns.value + added_ns) * 1e-9)

    def packet_s(self, key: ModeKey, packet: Packet) -> float:
        """Price one packet of an established connection at one node it crosses."""
        return self.request_s(key, packet) / PACKETS_PER_REQUEST

    @property
    def pod_connect_s(self) -> float:
        """Kernel CPU that accepting a connection costs on the pod's node."""
        hosts_ns = self.host.connect_ns.value - self.host.forward_connect_ns.value
        return max(0.0, hosts_ns * self.host.pod_share_ratio.value * 1e-9)

    @property
    def pod_request_s(self) -> float:
        """Kernel CPU that a request and its answer cost on the pod's node."""
        hosts_ns = self.host.request_ns.value - self.host.forward_request_ns.value
        return max(0.0, hosts_ns * self.host.pod_share_ratio.value * 1e-9)

    @property
    def overlay_connect_s(self) -> float:
        """What vxlan adds to a new connection at each of its two nodes: half of both (assumed)."""
        return self.host.overlay_connect_ns.value / 2 * 1e-9

    @property
    def overlay_request_s(self) -> float:
        """What vxlan adds to a request at each of its two nodes: half of both (assumed)."""
        return self.host.overlay_request_ns.value / 2 * 1e-9

    def sync_s(self, key: ModeKey, shape: Shape, kind: SyncKind) -> float:
        """Duration of a sync of kube-proxy's rules for this cluster."""
        price: SyncPrice = getattr(self.prices(key), f"sync_{kind}")
        rules = sync_rules(mode_of(key), shape)
        return price.cost.duration_s(
            service_ports=sum(n for n, _ in shape.ports), endpoints=shape.endpoints, rules=rules
        )

    def parameters(self) -> dict[str, Parameter]:
        """Every number by its dotted name, for reports."""
        return dict(_parameters("host", self.host)) | {
            name: parameter
            for key, prices in self.modes.items()
            for name, parameter in _parameters(f"modes.{key}", prices)
        }


def _parameters(prefix: str, part: BaseModel) -> list[tuple[str, Parameter]]:
    found: list[tuple[str, Parameter]] = []
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Parameter):
            found += [] if value is NONE else [(f"{prefix}.{name}", value)]
        else:
            found += _parameters(f"{prefix}.{name}", value)
    return found


def _endpoints(port: ServicePort, packet: Packet) -> int:
    return {"nodeport": port.external_endpoints, "clusterip": port.internal_endpoints}.get(packet, 0)


def sync_rules(mode: Mode, shape: Shape) -> int:
    """Count the rules whose square a full sync may grow with: of table nat, or of all of kube-proxy's."""
    written = structure(mode, shape)
    return written.rule_count() if mode == "nftables" else written.rule_count("nat/")


def mode_key(mode: Mode, backend: Literal["nft", "legacy"]) -> ModeKey:
    """Return the name of a proxy's prices: mode iptables has two backends."""
    if mode != "iptables":
        return mode
    return "iptables-nft" if backend == "nft" else "iptables-legacy"


def mode_of(key: ModeKey) -> Mode:
    """Return the mode whose rules these prices are for."""
    if key in ("nftables", "ipvs"):
        return key
    return "iptables"


def data_folder(kind: Literal["models", "experiments"]) -> Path:
    """Return the folder of data the package carries: in an installed wheel, or at the root of a checkout."""
    package = Path(nodeportsim.__file__).parent
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parents[1] / kind


def profiles() -> list[str]:
    """Return the names of the profiles the package carries."""
    return sorted(path.parent.name for path in data_folder("models").glob("*/profile.yaml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """Load a profile by name, or from its folder or file.

    Raises
    ------
    InputError
        No such profile, or it does not hold what a profile must.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and path.name == name_or_path and not path.exists():
        path = data_folder("models") / name_or_path
    path = path / "profile.yaml" if path.suffix != ".yaml" else path
    if not path.is_file():
        close = get_close_matches(str(name_or_path), profiles()) or profiles()
        raise InputError(
            "must be a profile", field="profile", got=str(name_or_path), hint=f"there are: {', '.join(close)}"
        )
    try:
        return Profile.model_validate(_extended(_declared(path.read_text("utf-8"))))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be YAML", hint=str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"].lower(), field=field, got=first["input"], hint=str(path)) from error


@lru_cache(maxsize=8)
def _declared(text: str) -> Any:
    """Parse a profile's text, once: a study asks for the same one at every replication."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


def _extended(declared: Any) -> Any:
    """Fill in what a profile takes over from the one it extends: host and the modes it names, no others."""
    if not isinstance(declared, dict) or "extends" not in declared:
        return declared
    name = declared["extends"]
    base = load_profile(name)
    whole: dict[str, Any] = {
        "syncs_up_to": base.syncs_up_to,
        **declared,
        "host": _taken_over(base.host, name) | (declared.get("host") or {}),
    }
    modes = declared.get("modes") or {}
    whole["modes"] = {
        key: _taken_over(base.modes[key], name) | (own or {}) if key in base.modes else own
        for key, own in modes.items()
    }
    return whole


def _taken_over(part: Host | ModePrices, name: str) -> dict[str, Any]:
    """Give the numbers of another profile: here nothing identifies them."""

    def borrow(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "identified" not in value:
            return {field: borrow(inner) for field, inner in value.items()}
        if value["source"] == NONE.source:
            return value
        note = f"taken over from {name}, not measured here. {value['note']}".strip()
        return value | {"identified": False, "source": f"../{name}/profile.yaml", "note": note}

    taken: dict[str, Any] = borrow(part.model_dump())
    return taken
