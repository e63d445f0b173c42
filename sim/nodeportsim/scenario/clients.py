"""What a user declares about clients: arrivals, entry node, connections, limits, retries."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nodeportsim.scenario.declared import Law, Spec
from nodeportsim.scenario.quantities import (
    Count,
    Duration,
    FieldError,
    Function,
    Many,
    Name,
    Positive,
    Rate,
    Ratio,
)
from nodeportsim.scenario.restraint import Breaker, Budget, Ejection


class Entry(Spec):
    """How a client finds its entry node."""

    policy: Literal[
        "dns-round-robin",
        "first",
        "pinned",
        "random",
        "list",
        "balancer",
        "virtual-ip",
        "own-node",
        "custom",
    ] = "dns-round-robin"
    ttl_s: Duration = Field(0.0, description="how long a DNS answer is kept")
    ignore_ttl_ratio: Ratio = Field(
        0.0, description="dns-round-robin: share of clients that keep their first answer for good"
    )
    withdraw_s: Duration | None = Field(
        None, description="dns-round-robin: a silent node's record is withdrawn after this; none: never"
    )
    function: Function | None = Field(
        None, description="custom: FILE.py:NAME of a policy, beside the scenario"
    )
    code: str | None = Field(None, description="custom: what the file holds; reading fills it in")

    @model_validator(mode="after")
    def _custom(self) -> Self:
        if (self.function is not None) != (self.policy == "custom"):
            raise FieldError("belongs to policy: custom, and custom needs it", "function", got=self.function)
        if (self.code is not None) != (self.function is not None):
            raise FieldError(
                "must be the text of the policy's file: in Python take `my_policy.entry`", "code"
            )
        return self

    @model_validator(mode="after")
    def _dns(self) -> Self:
        for field, given in (("ignoreTtl", self.ignore_ttl_ratio or None), ("withdraw", self.withdraw_s)):
            if given is not None and self.policy != "dns-round-robin":
                raise FieldError("belongs to policy: dns-round-robin", field, got=given)
        return self


class Connections(Spec):
    """Connection reuse. ``reuse: none`` opens a new connection for every request."""

    reuse: Literal["none", "lifo", "fifo", "random"] = "none"
    size: Annotated[int, Field(ge=1, le=100_000)] = 1
    streams: Annotated[int, Field(ge=1, le=1000)] = 1
    max_requests: Count = Field(0, description="0: no limit")
    max_age_s: Duration = Field(0.0, description="0: no limit")
    idle_timeout_s: Duration = Field(90.0, description="0: no limit")


class Timeouts(Spec):
    """Limits the client sets. 0 means none; the kernel's own limits stay."""

    connect_s: Duration = 5.0
    request_s: Duration = 10.0
    total_s: Duration = 0.0
    pool_s: Duration = Field(0.0, description="wait for a free connection; 0: no limit")


class Backoff(Spec):
    """Wait before attempt k+1: initial * factor**(k-1), at most max, spread by jitter.

    ``factor: 1, jitter: none`` is a fixed wait; ``decorrelated`` draws between initial and three times the
    last wait.
    """

    initial_s: Duration = 0.1
    factor: Annotated[float, Field(ge=1, le=100, strict=False)] = 2.0
    max_s: Duration = 10.0
    jitter: Literal["none", "equal", "full", "decorrelated"] = "equal"


class Retry(Spec):
    """One attempt means no retry."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 1
    node: Literal["next", "same"] = "next"
    backoff: Backoff = Backoff()
    idempotent_ratio: Ratio = Field(
        1.0, description="share of requests that may be sent twice; others are retried if nothing was sent"
    )
    budget: Budget = Budget()


class Clients(Spec):
    """A group of clients alike. Each has its own address, DNS cache and connection pool."""

    name: Name = "clients"
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    loop: Literal["open", "closed"] = "open"
    rate_rps: Rate = Field(200.0, description="of the whole group; open loop")
    arrivals: Literal["poisson", "fixed", "bursty", "trace"] = "poisson"
    burst: Positive = Field(10, description="bursty: requests that arrive together")
    trace_s: Many[Duration] = Field((), description="trace: the instants of all requests")
    think_time: Law = Law(dist="exponential", mean_s=1.0)
    entry: Entry = Entry()
    connections: Connections = Connections()
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    ejection: Ejection = Ejection()
    syn_schedule: Literal["linear", "doubling"] = Field(
        "linear", description="linear: kernels from 6.5; doubling: older ones"
    )
    zone: str | None = None

    @model_validator(mode="after")
    def _arrivals(self) -> Self:
        if (self.arrivals == "trace") != bool(self.trace_s):
            raise FieldError("belongs to arrivals: trace, and that needs it", "trace")
        if list(self.trace_s) != sorted(self.trace_s):
            raise FieldError("must be in order of time", "trace")
        return self

    @model_validator(mode="after")
    def _restraint(self) -> Self:
        if self.breaker.failures and self.loop == "closed" and self.think_time.mean_s == 0:
            rule = (
                "must not be 0 beside a breaker: an open one answers at once, and a closed loop asks at once"
            )
            raise FieldError(rule, "thinkTime", "mean", got=self.think_time.mean_s)
        chooses = self.entry.policy in {"random", "list"}
        moves_on = self.entry.policy in {"dns-round-robin", "first"}
        if self.ejection.failures and not (chooses or (moves_on and self._tries_next)):
            rule = (
                "has no effect: these clients never choose among nodes (random, list, or retries on the next)"
            )
            raise FieldError(rule, "ejection", "failures", got=self.ejection.failures)
        return self

    @property
    def _tries_next(self) -> bool:
        return self.retry.attempts > 1 and self.retry.node == "next"
