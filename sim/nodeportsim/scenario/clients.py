"""What a user declares about clients: arrivals, entry node, connections, limits, retries."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nodeportsim.scenario.declared import Law, Spec
from nodeportsim.scenario.ports import SourcePorts  # noqa: TC001 - as Event in spec.py.
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

ATTEMPT_DELAY_S = (0.01, 2.0)  # RFC 8305, section 8.
KNOWS_SEVERAL = ("dns-round-robin", "list", "random")  # ... addresses, all of which a connect may try.


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
    attempt_delay_s: Duration = Field(
        0.0, description="happy eyeballs: from one connection attempt to the next; 0: one at a time"
    )

    @model_validator(mode="after")
    def _eyeballs(self) -> Self:
        if self.attempt_delay_s and self.policy not in KNOWS_SEVERAL:
            rule = f"needs a policy that knows several addresses: {', '.join(KNOWS_SEVERAL)}"
            raise FieldError(rule, "attemptDelay", got=self.attempt_delay_s)
        if self.attempt_delay_s and not ATTEMPT_DELAY_S[0] <= self.attempt_delay_s <= ATTEMPT_DELAY_S[1]:
            rule = "must be 10ms to 2s (RFC 8305, section 8), or 0 for none"
            raise FieldError(rule, "attemptDelay", got=self.attempt_delay_s)
        return self

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


class KeepAlive(Spec):
    """Probes of a quiet connection. Defaults: tcp(7), but for the time, which applications set."""

    time_s: Duration = Field(0.0, description="quiet time before the first probe; 0: none are sent")
    interval_s: Duration = Field(75.0, gt=0, description="net.ipv4.tcp_keepalive_intvl")
    probes: Annotated[int, Field(ge=1, le=127)] = Field(9, description="net.ipv4.tcp_keepalive_probes")


class Connections(Spec):
    """Connection reuse. ``reuse: none`` opens a new connection for every request."""

    reuse: Literal["none", "lifo", "fifo", "random"] = "none"
    size: Annotated[int, Field(ge=1, le=100_000)] = 1
    streams: Annotated[int, Field(ge=1, le=1000)] = 1
    max_requests: Count = Field(0, description="0: no limit")
    max_age_s: Duration = Field(0.0, description="0: no limit")
    idle_timeout_s: Duration = Field(90.0, description="0: no limit")
    keep_alive: KeepAlive = KeepAlive()
    tcp_retries: Annotated[int, Field(ge=1, le=255)] = Field(15, description="net.ipv4.tcp_retries2")


class Timeouts(Spec):
    """Limits the client sets. 0 means none; the kernel's own limits stay."""

    connect_s: Duration = 5.0
    request_s: Duration = 10.0
    total_s: Duration = 0.0
    pool_s: Duration = Field(0.0, description="wait for a free connection; 0: no limit")
    user_s: Duration = Field(0.0, description="TCP_USER_TIMEOUT, in place of tcpRetries; 0: not set")


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


class Hedge(Spec):
    """Send a request once more when no answer has come within a delay (gRPC's hedging policy, gRFC A6)."""

    delay_s: Duration = 0.1
    max: Annotated[int, Field(ge=0, le=4)] = Field(0, description="copies of an attempt; 0: no hedging")
    node: Literal["next", "same"] = "next"
    work: Literal["drawn", "shared"] = Field(
        "drawn", description="drawn: a copy may be quick where the first is slow; shared: the same work"
    )


class Clients(Spec):
    """A group of clients alike. Each has its own address, DNS cache and connection pool."""

    name: Name = "clients"
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    loop: Literal["open", "closed"] = "open"
    rate_rps: Rate = Field(200.0, description="of the whole group; open loop")
    arrivals: Literal["poisson", "fixed", "bursty", "trace"] = "poisson"
    burst: Positive = Field(10, description="bursty: requests that arrive together")
    trace_s: Many[Duration] = Field((), description="trace: the instants of all requests")
    trace_service_s: Many[Duration] = Field((), description="trace: their service times; default: drawn")
    think_time: Law = Law(dist="exponential", mean_s=1.0)
    entry: Entry = Entry()
    connections: Connections = Connections()
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    hedge: Hedge = Hedge()
    breaker: Breaker = Breaker()
    ejection: Ejection = Ejection()
    syn_schedule: Literal["linear", "doubling"] = Field(
        "linear", description="linear: kernels from 6.5; doubling: older ones"
    )
    source_ports: SourcePorts | None = Field(None, description="default: never short, never met again")
    zone: str | None = None

    @model_validator(mode="after")
    def _arrivals(self) -> Self:
        if (self.arrivals == "trace") != bool(self.trace_s):
            raise FieldError("belongs to arrivals: trace, and that needs it", "trace")
        if list(self.trace_s) != sorted(self.trace_s):
            raise FieldError("must be in order of time", "trace")
        if self.trace_service_s and len(self.trace_service_s) != len(self.trace_s):
            rule = f"must hold one for each of the {len(self.trace_s)} requests"
            raise FieldError(rule, "traceService", got=len(self.trace_service_s))
        return self

    @model_validator(mode="after")
    def _ports(self) -> Self:
        if self.source_ports is not None and self.entry.policy == "virtual-ip":
            raise FieldError("is not modelled towards a virtual IP, which moves", "sourcePorts")
        return self

    @model_validator(mode="after")
    def _one_race(self) -> Self:
        if self.hedge.max and self.entry.attempt_delay_s:
            rule = "cannot go with entry.attemptDelay: a copy goes to the next address by itself"
            raise FieldError(rule, "hedge", "max", got=self.hedge.max)
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
