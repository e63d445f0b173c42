"""What a user declares about a client's restraint: retry budget, circuit breaker, ejection of nodes.

Every client has its own: a client is one process. All are off by default.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.quantities import Count, Duration, FieldError, Positive, Ratio


class Budget(Spec):
    """How many retries a client grants itself: ``ratio`` as Finagle does, ``tokens`` as gRPC does."""

    kind: Literal["none", "ratio", "tokens"] = "none"
    ratio: Ratio = Field(0.2, description="ratio: retries that each request pays in")
    min_per_second: Count = Field(10, description="ratio: retries a second on top of that")
    window_s: Annotated[Duration, Field(ge=1, le=60)] = Field(
        10.0, description="ratio: how long what was paid in or taken out counts"
    )
    max_tokens: Annotated[int, Field(ge=1, le=1000)] = Field(
        10, description="tokens: a failure takes one; above half of them there are retries"
    )
    success_tokens: Annotated[float, Field(gt=0, le=1000, strict=False)] = Field(
        0.1, description="tokens: what a success gives back; three decimal places count"
    )


class Breaker(Spec):
    """A circuit breaker: after too many failures in a row nothing goes out for a while."""

    failures: Count = Field(0, description="more than so many failures in a row open it; 0: no breaker")
    open_s: Duration = Field(60.0, description="how long it stays open")
    probes: Positive = Field(1, description="attempts that half-open lets pass; as many successes close it")


class Ejection(Spec):
    """Nodes that fail a client are left out of its choice for a while."""

    failures: Count = Field(0, description="so many failures in a row eject a node; 0: no ejection")
    base_s: Duration = Field(30.0, description="how long, times how often it was ejected")
    max_s: Duration = Field(300.0, description="... at most")
    share_ratio: Ratio = Field(0.1, description="of the nodes, at most so many at once, but always one")
    panic_ratio: Ratio = Field(0.5, description="with fewer nodes left than this, ejections are ignored")

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max_s < self.base_s:
            raise FieldError("must be at least base", "max", got=self.max_s)
        return self
