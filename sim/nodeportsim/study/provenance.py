"""Where numbers come from: what was asked, with which prices and versions, and what nobody measured.

No wall clock, no host name, no path: the same question gives the same bytes wherever it is asked. `engine`
is the one entry that may differ between runs of one question, where ``--engine`` says so; the numbers do not.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nodeportsim.study.uncertainty import sampled_prices
from nodeportsim.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.spec import Scenario

LIBRARIES = ("numba", "numpy", "scipy", "simpy")
"""Libraries that touch the numbers of a summary."""


def scenario_sha256(scenario: Scenario) -> str:
    """Hash a scenario's canonical JSON: sorted keys, no blanks, every default written out."""
    return _sha256(scenario.model_dump(mode="json"))


def profile_sha256(profile: Profile) -> str:
    """Hash a profile's prices in the same way."""
    return _sha256(profile.model_dump(mode="json"))


def _sha256(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def provenance(
    scenario: Scenario, profile: Profile, engine: str, warmup_s: float, replications: int | None = None
) -> dict[str, Any]:
    """Collect what reproduces a run, and what it takes for granted; `replications` where more were made."""
    return {
        "scenario": scenario.name,
        "scenario_sha256": scenario_sha256(scenario),
        "mode": scenario.cluster.proxy.mode,
        "syn_schedule": ", ".join(dict.fromkeys(group.syn_schedule for group in scenario.clients)),
        "profile": profile.name,
        "profile_sha256": profile_sha256(profile),
        "version": version("nodeportsim"),
        "seed": scenario.run.seed,
        "replications": replications or scenario.run.replications,
        "warmup_s": warmup_s,
        "engine": engine,
        "libraries": {name: version(name) for name in LIBRARIES},
        "assumptions": [*_of_scenario(scenario, warmup_s), *_of_uncertainty(scenario, profile)],
        "assumed_prices": [*_of_profile(scenario, profile), *_extrapolated(scenario, profile)],
    } | ({"sampled_prices": len(sampled_prices(scenario, profile))} if scenario.run.uncertainty else {})


def _of_uncertainty(scenario: Scenario, profile: Profile) -> Iterator[str]:
    """Say what intervals hold where prices were drawn."""
    if scenario.run.uncertainty:
        number = len(sampled_prices(scenario, profile))
        yield (
            f"intervals hold the errors of {number} prices of {profile.name}, drawn for each replication: "
            "more replications do not make them narrower than these errors are"
        )


def _of_scenario(scenario: Scenario, warmup_s: float) -> Iterator[str]:
    """Say what reading took for granted, what never happens, and which numbers are the user's alone."""
    yield from scenario.assumptions
    for event in scenario.events:
        if event.at_s >= scenario.run.duration_s:
            what = f"{event.fault} of {event.target} at {format_duration(event.at_s)}"
            yield f"{what} is left out: the run ends at {format_duration(scenario.run.duration_s)}"
    if warmup_s:
        how = "as declared" if scenario.run.warmup_s is not None else "MSER-5 on the first replication"
        yield f"requests of the first {format_duration(warmup_s)} are left out as warm-up: {how}"
    network = scenario.cluster.network
    delays = {"client to node": network.client_node_s, "node to node": network.node_node_s}
    delays |= {"zone to zone": network.zone_zone_s, "wake-up": network.wake_up_s}
    told = ", ".join(f"{name} {format_duration(delay_s)}" for name, delay_s in delays.items())
    yield f"one-way network delays are the scenario's: {told}"


def _of_profile(scenario: Scenario, profile: Profile) -> Iterator[str]:
    """Say which of the prices that were used the profile calls assumed."""
    from nodeportsim.scenario.profile import mode_key

    used = ("host.", f"modes.{mode_key(scenario.cluster.proxy.mode, scenario.cluster.proxy.backend)}.")
    for name, parameter in profile.parameters().items():
        if name.startswith(used) and not parameter.identified:
            yield f"{name} = {parameter.value:g}: {parameter.note or parameter.source}"


def _extrapolated(scenario: Scenario, profile: Profile) -> Iterator[str]:
    """Say that syncs are priced beyond the largest rule set whose sync was measured."""
    largest, background = profile.syncs_up_to, scenario.cluster.background
    ports = background.services if background.ports is None else background.ports
    endpoints = ports * background.endpoints_per_service
    if largest and (ports > largest.service_ports or endpoints > largest.endpoints):
        yield (
            f"syncs: measured up to {largest.service_ports:,} service ports and {largest.endpoints:,} "
            f"endpoints, extrapolated to {ports:,} and {endpoints:,}: real ones can take far longer"
        )
