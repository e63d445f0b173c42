"""Discrete-event simulation and capacity model of Kubernetes NodePort traffic.

>>> import nodeportsim as nps
>>> scenario = nps.Scenario.model_validate(
...     {"clients": {"rate": "50/s"}, "run": {"duration": "5s", "replications": 2}}
... )
>>> result = nps.simulate(scenario)  # `nps.load("web.yaml")` reads a scenario from a file.
>>> result.summary["errors"], len(result.pods)  # one row a replication and pod
({}, 6)

The names below are the public interface; they are imported when first used (PEP 562), so that
``import nodeportsim`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodeportsim.engine.policy import policy
    from nodeportsim.errors import InputError, NodePortSimError
    from nodeportsim.kube.ports import allocate
    from nodeportsim.kubeproxy.rules import walk
    from nodeportsim.result import Result, simulate
    from nodeportsim.scenario.profile import Profile
    from nodeportsim.scenario.read import read as load
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.run import compare
    from nodeportsim.study.size import size

__version__ = version("nodeportsim")

_HOMES = {
    "InputError": "nodeportsim.errors:InputError",
    "NodePortSimError": "nodeportsim.errors:NodePortSimError",
    "Profile": "nodeportsim.scenario.profile:Profile",
    "Result": "nodeportsim.result:Result",
    "Scenario": "nodeportsim.scenario.spec:Scenario",
    "allocate": "nodeportsim.kube.ports:allocate",
    "compare": "nodeportsim.study.run:compare",
    "policy": "nodeportsim.engine.policy:policy",
    "load": "nodeportsim.scenario.read:read",
    "simulate": "nodeportsim.result:simulate",
    "size": "nodeportsim.study.size:size",
    "walk": "nodeportsim.kubeproxy.rules:walk",
}

__all__ = [
    "InputError",
    "NodePortSimError",
    "Profile",
    "Result",
    "Scenario",
    "__version__",
    "allocate",
    "compare",
    "load",
    "policy",
    "simulate",
    "size",
    "walk",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
