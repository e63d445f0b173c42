"""What every declaration shares: the base of the specs, and a distribution of times."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from nodeportsim.scenario.quantities import Duration, FieldError


def _name(python: str) -> str:
    """YAML name of a field: camelCase, without the unit."""
    for unit in ("_s", "_rps", "_ratio", "_bytes"):
        python = python.removesuffix(unit)
    return to_camel(python)


class Spec(BaseModel):
    """Base of every declaration."""

    model_config = ConfigDict(
        alias_generator=_name, extra="forbid", frozen=True, populate_by_name=True, strict=True
    )


WIDEST = 14.9  # A log-normal's p99 is at most exp(z99**2 / 2) = 14.97 times its mean.


class Law(Spec):
    """A distribution of times. ``dist`` decides which of the other fields count."""

    dist: Literal["constant", "exponential", "lognormal", "uniform"] = "exponential"
    mean_s: Duration = 0.005
    p99_s: Duration | None = Field(None, gt=0, description="lognormal only: fixes the spread")

    @model_validator(mode="after")
    def _spread(self) -> Self:
        if (self.p99_s is not None) != (self.dist == "lognormal"):
            raise FieldError("belongs to dist: lognormal, and lognormal needs it", "p99", got=self.p99_s)
        if self.p99_s is not None and not 1.0 < self.p99_s / max(self.mean_s, 1e-300) < WIDEST:
            raise FieldError(f"must be above the mean and below {WIDEST} times it", "p99", got=self.p99_s)
        return self
