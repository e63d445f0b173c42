"""A client's restraint from its declaration: what records.py and restraint.py know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import codes as C  # noqa: N812 - a table, as short as its entries are many.
from . import records as R  # noqa: N812 - as above.
from .restraint import TOKEN

if TYPE_CHECKING:
    from nodeportsim.scenario.clients import Clients
    from nodeportsim.scenario.spec import Scenario

    from .build import Shape

BUDGET = {"none": C.NO_BUDGET, "ratio": C.RATIO_BUDGET, "tokens": C.TOKEN_BUDGET}
DEPOSIT = 1000  # RetryBudget's ScaleFactor: a deposit and the price of a retry are whole numbers.


def is_restrained(given: Clients) -> bool:
    """Tell whether anything may hold these clients back."""
    budgeted = given.retry.budget.kind != "none" or given.retry.idempotent_ratio < 1.0
    return bool(budgeted or given.breaker.failures or given.ejection.failures)


def tables(scenario: Scenario, shape: Shape) -> dict[str, Any]:
    """Make what clients remember: no rows, or empty ones, where nobody uses them."""
    groups = scenario.clients
    clients, nodes = sum(group.count for group in groups), len(scenario.cluster.names)
    budgeted = any(group.retry.budget.kind == "ratio" for group in groups)
    ejecting = any(group.ejection.failures for group in groups)
    return {
        "restraints": shape.rows(R.Restraint, clients if any(map(is_restrained, groups)) else 0),
        "budgets": shape.grid(clients, C.BUDGET_SLICES if budgeted else 0, 0),
        "outliers": shape.table(R.Outlier, clients, nodes if ejecting else 0),
    }


def fill(w: R.World, group: R.Group, given: Clients) -> None:
    """Fill in the fields of a group of clients, and the tokens they begin with."""
    breaker, ejection, nodes = given.breaker, given.ejection, w.config.nodes
    group.restrained = int(is_restrained(given))
    group.idempotent_ratio = given.retry.idempotent_ratio
    group.circuit_failures, group.circuit_probes = breaker.failures, breaker.probes
    group.circuit_open_s = breaker.open_s
    group.ejection_failures = ejection.failures
    group.ejection_base_s, group.ejection_max_s = ejection.base_s, ejection.max_s
    # Rounded, because 0.7 * 10 is less than 7.
    group.ejection_most = max(1, int(round(ejection.share_ratio * nodes, 9)))
    group.ejection_panic = round(ejection.panic_ratio * nodes, 9)
    _fill_budget(w, group, given)


def _fill_budget(w: R.World, group: R.Group, given: Clients) -> None:
    """A retry costs as many deposits as the ratio says: com.twitter.finagle.service.RetryBudget."""
    budget = given.retry.budget
    group.budget = BUDGET[budget.kind]
    group.budget_slice_s = budget.window_s / C.BUDGET_SLICES
    group.budget_deposit = DEPOSIT if budget.ratio else 0
    group.budget_cost = int(round(DEPOSIT / budget.ratio, 9)) if budget.ratio else 1
    group.budget_reserve = int(budget.min_per_second * budget.window_s * group.budget_cost)
    group.tokens_max = budget.max_tokens * TOKEN
    group.tokens_success = int(round(budget.success_tokens * TOKEN, 9))
    if group.budget == C.TOKEN_BUDGET:
        for restraint in w.restraints[group.first : group.first + group.count]:
            restraint.tokens = group.tokens_max
