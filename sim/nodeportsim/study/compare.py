"""Variants of one question, run under common random numbers and compared.

Two scenarios, or one with some of its fields changed; the first is the baseline unless another is named. All
run the same replications of the same seed, so arrivals, demands and choices that concern the same client and
request are the same in all of them, and what remains is the difference.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.metrics.variants import Variant, assert_known, best, differences, sample
from nodeportsim.study.control import controlled_difference, controls
from nodeportsim.study.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.run import Outcome

    Floats = NDArray[np.float64]
    Progress = Callable[[int, int], None]

MEAN = "latency_s.mean"
MOST = 50
"""Variants of a comparison: every two of them are compared to find the best."""
SHARED = ("seed", "replications", "uncertainty")
"""What variants must have in common to be pairs, of `run`."""
KEPT = ("scenario", "scenario_sha256", "profile", "profile_sha256", "warmup_s")
"""What is told of every variant; the rest of its provenance is that of all."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the variants of a question differ in.

    Parameters
    ----------
    baseline
        Name of the variant that the others are compared with.
    differences
        A row a variant and metric (`nodeportsim.metrics.variants.differences`).
    best
        A row a metric (`nodeportsim.metrics.variants.best`).
    controlled
        A row a variant: the difference of the mean latency by control variates, where that is narrower.
    provenance
        Where the numbers come from.
    """

    baseline: str
    differences: list[dict[str, Any]]
    best: list[dict[str, Any]]
    controlled: list[dict[str, Any]]
    provenance: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the form that stands in ``comparison.json``."""
        return dict(vars(self))

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Tidy tables: differences, best, and paired: rows with a relative interval, for the figure."""
        import pandas as pd

        rows = pd.DataFrame(self.differences)
        ends = ["difference_ratio", "low_ratio", "high_ratio"]
        return {
            "differences": rows,
            "best": pd.DataFrame(
                [row | {"survivors": "; ".join(row["survivors"])} for row in self.best],
            ),
            "paired": rows.astype(dict.fromkeys(ends, float)).dropna(subset=ends).reset_index(drop=True),
        }


def compare_scenarios(
    scenarios: Mapping[str, Scenario],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    engine: Engine | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Run scenarios under common random numbers and compare them.

    Parameters
    ----------
    scenarios
        By the name of the variant; at least two, with the same seed and number of replications.
    baseline
        Name of the one the others are compared with; by default the first.
    metrics
        Names, or beginnings of names, of `nodeportsim.metrics.observables.NAMES`; by default the usual ones.
    engine, jobs
        As in `nodeportsim.study.run.run`.
    progress
        Called with (done, total) after every variant.

    Raises
    ------
    InputError
        There is nothing to compare, or the variants would not share their draws.
    """
    names = list(scenarios)
    base = _baseline(baseline, names)
    _assert_comparable(scenarios)
    wanted = assert_known(metrics)
    variants, provenances, inputs = [], {}, {}
    for name, scenario in scenarios.items():
        outcome = run(scenario, engine=engine, jobs=jobs)
        variants.append(variant_of(name, outcome, wanted))
        provenances[name] = outcome.summary["provenance"]
        inputs[name] = controls(scenario, outcome.replications, outcome.warmup_s)
        if progress:
            progress(len(variants), len(scenarios))
    return Comparison(
        baseline=base,
        differences=differences(variants, variants[names.index(base)], wanted),
        best=best(variants, wanted),
        controlled=_controlled(variants, variants[names.index(base)], inputs) if MEAN in wanted else [],
        provenance=_provenance(provenances),
    )


def variant_of(name: str, outcome: Outcome, metrics: Sequence[str]) -> Variant:
    """Keep of an outcome what a comparison needs: a replication takes a megabyte."""
    nominal = sample(outcome.nominal, metrics) if outcome.nominal else None
    return Variant(name=name, own=sample(outcome.replications, metrics), nominal=nominal)


def _controlled(
    variants: Sequence[Variant], baseline: Variant, inputs: Mapping[str, Floats | None]
) -> list[dict[str, Any]]:
    """Compare mean latencies less what arrivals and work explain, where their expectation is exact."""
    rows = []
    for variant in variants:
        mine, theirs = inputs[variant.name], inputs[baseline.name]
        if variant is baseline or mine is None or theirs is None:
            continue
        sides = (baseline.own.measured[MEAN], variant.own.measured[MEAN])
        if found := controlled_difference(*sides, np.hstack([theirs, mine])):
            rows.append({"variant": variant.name, "metric": MEAN, **found})
    return rows


def _baseline(asked: str | None, names: Sequence[str]) -> str:
    if asked is None or asked in names:
        return asked or names[0]
    near = difflib.get_close_matches(asked, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the variants are {'; '.join(names)}"
    raise InputError("is not one of the variants", field="--baseline", got=asked, hint=hint)


def _assert_comparable(scenarios: Mapping[str, Scenario]) -> None:
    """Refuse what would be no pairs, and a question compared with itself."""
    for name, scenario in scenarios.items():
        if scenario.run.precision:
            rule = "must be empty to be compared: each variant would stop at another number of replications"
            raise InputError(rule, field=f"run.precision of {name}")
    (first, one), *others = scenarios.items()
    if len(scenarios) > MOST:
        rule = f"asks for {len(scenarios)} variants, at most {MOST} are compared"
        raise InputError(rule, field="--vary", hint="nodeportsim sweep goes through more of them")
    if not others:
        raise InputError("has one value: nothing to compare it with", field="--vary", got=first)
    seen = {one.model_copy(update={"name": "-"}).model_dump_json(): first}
    for name, scenario in others:
        for what in SHARED:
            a, b = getattr(one.run, what), getattr(scenario.run, what)
            if a != b:
                hint = f"{first} has {a}, {name} has {b}; --set run.{what}=... gives all of them the same"
                raise InputError("must be the same to be compared", field=f"run.{what}", hint=hint)
        text = scenario.model_copy(update={"name": "-"}).model_dump_json()
        if text in seen:
            raise InputError("ask the same question", field=f"{seen[text]} and {name}")
        seen[text] = name


def _provenance(each: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    first = next(iter(each.values()))
    shared = ("version", "seed", "replications", "engine", "libraries")
    return {name: first[name] for name in shared} | {
        "variants": {name: {key: found[key] for key in KEPT} for name, found in each.items()}
    }
