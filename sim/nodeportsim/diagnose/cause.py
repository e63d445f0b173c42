"""What a cause is, and what objects say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeportsim.diagnose.case import Case

Likelihood = Literal["proven", "fits", "possible", "contradicted"]
ORDER: tuple[Likelihood, ...] = ("proven", "fits", "possible", "contradicted")
UNASKED = 99  # Rank of a cause that no question of the survey is about.


@dataclass(frozen=True)
class Evidence:
    """What the objects say of a cause.

    Parameters
    ----------
    likelihood
        ``proven``: the objects show it. ``fits``: they hold what it needs. ``possible``: they say nothing.
        ``contradicted``: they rule it out.
    why
        Sentences that name the objects.
    numbers
        What theory expects, by name, with the unit last.
    words
        Names for the check and the fix, in place of the case's.
    is_fault
        Something fails for it already; a risk, such as a single replica, does not.
    """

    likelihood: Likelihood
    why: tuple[str, ...]
    numbers: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    is_fault: bool = False


def fault(*why: str, numbers: dict[str, float] | None = None, **words: str) -> Evidence:
    """Show that something is broken."""
    return Evidence("proven", why, numbers or {}, words, is_fault=True)


def risk(*why: str, numbers: dict[str, float] | None = None, **words: str) -> Evidence:
    """Show that something is so that it will hurt one day."""
    return Evidence("proven", why, numbers or {}, words)


def fits(*why: str, numbers: dict[str, float] | None = None, **words: str) -> Evidence:
    """Show that a cause has what it needs."""
    return Evidence("fits", why, numbers or {}, words)


def possible(*why: str, numbers: dict[str, float] | None = None, **words: str) -> Evidence:
    """Say that the objects say nothing."""
    return Evidence("possible", why, numbers or {}, words)


def against(*why: str, numbers: dict[str, float] | None = None, **words: str) -> Evidence:
    """Show that a cause is ruled out."""
    return Evidence("contradicted", why, numbers or {}, words)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One row of the table of causes.

    Parameters
    ----------
    name, title
        For machines, for people.
    symptoms
        What it looks like from outside; empty for what only a review shows.
    rank
        Place of the first question about it in the survey of users' questions (docs/diagnose.md).
    weigh
        What the objects of a case say of it.
    where, check
        On which machine to type which command.
    shows
        What the command shows if this is the cause.
    fix
        What to do then.
    source
        Issue, document or file it is known from.
    """

    name: str
    title: str
    symptoms: tuple[str, ...]
    rank: int = UNASKED
    weigh: Callable[[Case], Evidence]
    where: str
    check: str
    shows: str
    fix: str
    source: str
