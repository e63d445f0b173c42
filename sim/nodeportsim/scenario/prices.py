"""Prices of one kernel and machine: every number with its error and where it comes from.

A price is a `Parameter`. *Identified* ones come out of a measurement, with a standard error; the others are
assumptions, with a range where one can be argued. ``source`` names a file of the profile's folder and what
picks its rows, ``fit.csv mode=nftables parameter=map_element_ns``: so a reader, and a test, finds the data.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from nodeportsim.kubeproxy.sync import SyncCost

if TYPE_CHECKING:
    from nodeportsim.kubeproxy.walk import Packet, Walk

Cache = Literal["hot", "cold", "measured"]
ModeKey = Literal["iptables-legacy", "iptables-nft", "nftables", "ipvs"]


class Part(BaseModel):
    """Base of what a profile is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Parameter(Part):
    """One number.

    Parameters
    ----------
    value, error
        Value and standard error, in the unit of its name; the error is None where none is known.
    low, high
        For an assumption: between what bounds it is argued to lie.
    identified
        Whether it comes out of the data that `source` names.
    source, note
        Where it comes from, and what to know of it.
    """

    value: float
    error: float | None = None
    low: float | None = None
    high: float | None = None
    identified: bool
    source: str
    note: str = ""


NONE = Parameter(value=0.0, error=0.0, identified=True, source="none", note="no such cost in this mode")


class SyncPrice(Part):
    """Coefficients of `nodeportsim.kubeproxy.sync.SyncCost`."""

    constant_s: Parameter
    per_service_port_s: Parameter = NONE
    per_endpoint_s: Parameter = NONE
    per_rule_squared_s: Parameter = NONE

    @property
    def cost(self) -> SyncCost:
        """The values alone."""
        return SyncCost(**{name: getattr(self, name).value for name in type(self).model_fields})


class Sizes(Part):
    """How large a rule set was measured."""

    service_ports: int
    endpoints: int


class Host(Part):
    """The path without rules, and what a node, masquerading or an overlay adds to it.

    ``connect_spread_ratio`` is the standard deviation of the logarithm of what a first packet costs, around
    its price: 0 where only quiet times were measured.
    """

    connect_ns: Parameter
    request_ns: Parameter
    forward_connect_ns: Parameter
    forward_request_ns: Parameter
    masquerade_connect_ns: Parameter
    overlay_connect_ns: Parameter
    overlay_request_ns: Parameter
    pod_share_ratio: Parameter
    connect_spread_ratio: Parameter = NONE


class ModePrices(Part):
    """Prices of one proxy mode and backend.

    ``connect`` and ``request`` are of the whole path, without the rules whose number varies: those are priced
    by class. ``_hot`` and ``_cold`` are per rule tested, while the chains fit the core's cache and once they
    do not; ``_bytes`` is what a rule takes up there.
    """

    connect_nodeport_ns: Parameter
    connect_clusterip_ns: Parameter
    connect_podip_ns: Parameter
    request_nodeport_ns: Parameter
    request_clusterip_ns: Parameter
    request_podip_ns: Parameter
    address_mismatch_hot_ns: Parameter = NONE
    address_mismatch_cold_ns: Parameter = NONE
    address_mismatch_bytes: Parameter = NONE
    loopback_mismatch_hot_ns: Parameter = NONE
    loopback_mismatch_cold_ns: Parameter = NONE
    loopback_mismatch_bytes: Parameter = NONE
    node_port_match_hot_ns: Parameter = NONE
    node_port_match_cold_ns: Parameter = NONE
    node_port_match_bytes: Parameter = NONE
    cache_capacity_bytes: Parameter = NONE
    cache_transition_width: Parameter = NONE
    cold_base_ratio: Parameter
    statistic_ns: Parameter = NONE
    recent_ns: Parameter = NONE
    set_lookup_ns: Parameter = NONE
    map_element_ns: Parameter = NONE
    sync_partial: SyncPrice
    sync_full: SyncPrice
    sync_restart: SyncPrice

    def base_ns(self, what: Literal["connect", "request"], packet: Packet) -> float:
        """Whole path of a packet kind without the rules whose number varies.

        A connection to the node itself (``node``) is priced as one to a pod's address: it was not measured.
        """
        target = "podip" if packet == "node" else packet
        parameter: Parameter = getattr(self, f"{what}_{target}_ns")
        return parameter.value

    def coldness(self, passed: Walk, cache: Cache) -> float:
        """Where between hot (0) and cold (1) the rules of a walk are."""
        if cache != "measured" or not self.cache_capacity_bytes.value:
            return float(cache == "cold")
        touched = sum(passed.count(c) * getattr(self, f"{c}_bytes").value for c in LONG_CLASSES)
        if not touched:
            return 0.0
        steps = math.log(touched / self.cache_capacity_bytes.value) / self.cache_transition_width.value
        return 0.5 + 0.5 * math.tanh(steps / 2)

    def rules_ns(self, passed: Walk, cache: Cache) -> float:
        """Price of what a walk tests beyond the fixed rules, which are in the base."""
        cold = self.coldness(passed, cache)
        total = 0.0
        for long in LONG_CLASSES:
            hot, full = (getattr(self, f"{long}_{end}_ns").value for end in ("hot", "cold"))
            total += passed.count(long) * (hot + cold * (full - hot))
        for short in SHORT_CLASSES:
            total += passed.count(short) * getattr(self, f"{short}_ns").value
        return total + passed.elements * self.map_element_ns.value


LONG_CLASSES: tuple[Literal["address_mismatch", "loopback_mismatch", "node_port_match"], ...] = (
    "address_mismatch",
    "loopback_mismatch",
    "node_port_match",
)
"""Rules of the chains that grow with the cluster, and may outgrow the cache."""

SHORT_CLASSES: tuple[Literal["statistic", "recent", "set_lookup"], ...] = (
    "statistic",
    "recent",
    "set_lookup",
)
"""Rules of which a Service has one per endpoint."""
