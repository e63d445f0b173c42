"""Two summaries of one question, number by number: what differs, by how much, and whether it may be chance.

A number of the second is *within* where it lies in the first's 95 % interval. Same seed and same version give
the same numbers to the last digit; another version may not, and then within says whether the answer moved.
A number without an interval (a count, a share of a rank's tail, fewer than ten replications) has no verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LEFT_OUT = "provenance"  # Where numbers come from is compared by itself.


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], *, added: bool = True
) -> list[dict[str, Any]]:
    """Compare two summaries.

    Parameters
    ----------
    before, after
        The summaries.
    added
        Whether a number that only the second has is a difference: a later version may say more.

    Returns
    -------
    list of dict
        A row each number that differs: ``metric, before, after, difference, difference_ratio, low, high,
        within``: the interval is the first's, the ratio over its value; None where there is none.
    """
    first, second = (dict(_numbers(summary, "")) for summary in (before, after))
    return [
        _row(name, first.get(name, _NOTHING), second.get(name, _NOTHING))
        for name in dict.fromkeys([*first, *(second if added else ())])
        if first.get(name, _NOTHING) != second.get(name, _NOTHING)
    ]


_NOTHING: dict[str, Any] = {"estimate": None, "low": None, "high": None}


def _row(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    a, b = before["estimate"], after["estimate"]
    low, high = before.get("low"), before.get("high")
    numbers = _is_number(a) and _is_number(b)
    known = numbers and _is_number(low) and _is_number(high)
    return {
        "metric": name,
        "before": a,
        "after": b,
        "difference": b - a if numbers else None,
        "difference_ratio": (b - a) / a if numbers and a else None,
        "low": low,
        "high": high,
        "within": low <= b <= high if known else None,
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Walk a summary down to its estimates and plain values, by their path."""
    if isinstance(value, dict) and "estimate" in value:
        yield path, {part: value.get(part) for part in ("estimate", "low", "high")}
    elif isinstance(value, dict):
        for key, inner in value.items():
            if path or key != LEFT_OUT:
                yield from _numbers(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{path}.{number}")
    else:
        yield path, _NOTHING | {"estimate": value}
