"""All causes weighed and put in order of likelihood.

The order invents no numbers: first by what the objects say (proven, fits, possible, contradicted), then
faults before risks, then by the rank of the first question about the cause in the survey of users' questions,
then as they stand in the table. Without a symptom only what the objects prove is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.diagnose import change, death, drops, endpoints, reach, uneven
from nodeportsim.diagnose.cause import ORDER
from nodeportsim.diagnose.reachability import expected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.diagnose.case import Case
    from nodeportsim.diagnose.cause import Cause, Evidence

CAUSES: tuple[Cause, ...] = (
    *endpoints.CAUSES,
    *reach.CAUSES,
    *uneven.CAUSES,
    *drops.CAUSES,
    *death.CAUSES,
    *change.CAUSES,
)

Row = dict[str, Any]


def diagnose(case: Case, symptoms: Sequence[str]) -> dict[str, list[Any]]:
    """Weigh every cause of these symptoms.

    Returns
    -------
    dict
        ``lookup``: how to ask for names that no object tells. ``nodes``: what each should answer, where
        the symptom is about nodes. ``causes``: rows in order of likelihood.
        ``also``: what the objects prove and no symptom asked for.
    """
    weighed = sorted(((cause, cause.weigh(case)) for cause in CAUSES), key=_key)
    asked = [pair for pair in weighed if not symptoms or set(symptoms) & set(pair[0].symptoms)]
    if not symptoms:
        asked = [pair for pair in asked if pair[1].likelihood == "proven"]
    others = [pair for pair in weighed if symptoms and pair[1].likelihood == "proven" and pair not in asked]
    causes, also = [_row(*pair, case) for pair in asked], [_row(*pair, case) for pair in others]
    told = [row for row in [*causes, *also] if row["likelihood"] != "contradicted"]
    lookup = case.lookup(row[key] for row in told for key in ("where", "check", "shows", "fix"))
    nodes = expected(case) if not symptoms or set(symptoms) & {"some-nodes", "timeout"} else []
    return {"lookup": lookup, "nodes": nodes, "causes": causes, "also": also}


def _key(pair: tuple[Cause, Evidence]) -> tuple[int, bool, int]:
    cause, evidence = pair
    return ORDER.index(evidence.likelihood), not evidence.is_fault, cause.rank


def _row(cause: Cause, evidence: Evidence, case: Case) -> Row:
    words = case.words(**evidence.words)
    return {
        "cause": cause.name,
        "title": cause.title,
        "likelihood": evidence.likelihood,
        "fault": evidence.is_fault,
        "rank": cause.rank,
        "symptoms": list(cause.symptoms),
        "why": list(evidence.why),
        "numbers": evidence.numbers,
        "where": cause.where.format_map(words),
        "check": cause.check.format_map(words),
        "shows": cause.shows.format_map(words),
        "fix": cause.fix.format_map(words),
        "source": cause.source,
    }
