"""The clusters a real kube-proxy was run on, rebuilt as shapes, and what it wrote."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, ServicePort, Shape

GOLDEN = Path(__file__).parents[1] / "golden"


def rows(mode: str) -> list[Any]:
    facts = json.loads((GOLDEN / f"{mode}_facts.json").read_text())["rows"]
    return [pytest.param(row, id=row["shape"]) for row in facts]


def service_port(row: dict[str, Any], local_endpoints: int) -> ServicePort:
    return ServicePort(
        endpoints=row["E"],
        local_endpoints=local_endpoints,
        node_port=row["kind"] == "np",
        affinity="aff" in row["opts"],
        external_policy="Local" if "local" in row["opts"] else "Cluster",
    )


def shape_of(row: dict[str, Any]) -> Shape:
    """S Services with E endpoints dealt to three nodes in turn; kube-proxy ran on the first."""
    local = [sum((s * row["E"] + e) % 3 == 0 for e in range(row["E"])) for s in range(row["S"])]
    ports = tuple((count, service_port(row, here)) for here, count in sorted(Counter(local).items()))
    return Shape(((1, KUBERNETES_SERVICE), *ports))


def ranks(place: str, places: int) -> int:
    """Position a golden key such as ``middle/ep2`` stands for."""
    return {"first": 1, "middle": places // 2 + 1, "last": places}[place.partition("/")[0]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for mode in ("iptables", "nftables", "ipvs"):
        if f"{mode}_row" in metafunc.fixturenames:
            metafunc.parametrize(f"{mode}_row", rows(mode))


@pytest.fixture(scope="session")
def behaviour() -> dict[str, Any]:
    checks: dict[str, Any] = json.loads((GOLDEN / "behaviour_checks.json").read_text())
    return checks


@pytest.fixture(scope="session")
def golden() -> Any:
    """The helpers of this file, for test modules that pytest imports one by one."""
    return Helpers()


class Helpers:
    folder = GOLDEN
    shape_of = staticmethod(shape_of)
    service_port = staticmethod(service_port)
    ranks = staticmethod(ranks)

    @staticmethod
    def dumped_row(path: Path) -> dict[str, Any]:
        """What the name of a dump says: ``3x1local.nft``."""
        name = path.name.split(".")[0]
        services, rest = name.split("x")
        endpoints = "".join(c for c in rest if c.isdigit())
        option = rest.removeprefix(endpoints)
        return {
            "S": int(services),
            "E": int(endpoints),
            "kind": "ci" if option == "ci" else "np",
            "opts": [option] if option in ("local", "aff") else [],
        }
