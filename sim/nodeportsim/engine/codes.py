"""Codes and constants of the world: what can happen, states, policies, causes, stages, buckets."""

from __future__ import annotations

# What can happen, and to what (c client, r request, f flight). The common kinds come first, two and two:
# those of a pair lie about as far ahead when they are scheduled, which the kernel's lanes make use of.
(
    SYN_AT_NODE,  # f: first packet of a connection at its entry node
    DATA_AT_NODE,  # f: the request's bytes
    SYN_AT_PEER,  # f: at the pod's node, when that is another one
    DATA_AT_PEER,  # f
    SYN_AT_POD,  # f
    DATA_AT_POD,  # f
    ESTABLISHED,  # f: SYN-ACK at the client
    REPLY,  # f: the answer at the client
    POD_DONE,  # f: the worker is through
    POD_START,  # f: a worker takes a request that waited in the accept queue
    ARRIVE,  # c: a request is wanted
    RETRY,  # r: the back-off is over
    TIMER,  # r: the limit of what the request waits for
    REFUSED,  # f: RST or ICMP in answer to a SYN
    RESET,  # f: RST in answer to data
    REJECTED,  # f: the application's 503
    SYN_AGAIN,  # f: the client's TCP sends the SYN once more
    DATA_AGAIN,  # f: ... the data
    REPLY_AGAIN,  # f: the pod's TCP sends the answer once more
    NO_ROUTE,  # f: ICMP host unreachable at the client
    EXPIRE,  # pod * nodes + node: an ipvs connection leaves the inactive count
    COPY,  # f: nothing has come of its attempt within the delay, the next copy goes
    OUTRUN,  # r: another copy has won, this one lets go
    WATCH,  # connection: something of it may be due: its death, a probe, a stream for who waits
    FAULTY,  # f: the application's 500
    UNBOUND,  # f: no source port is free: connect() fails at once
) = range(26)

FREE, POOL_WAIT, CONNECTING, WAITING, BACKING_OFF, OVERTAKEN = range(6)  # request states
COPIES = 128  # Attempt number k + 128 j is the j-th copy of attempt k, with draws of its own.

# How a group's clients find their entry node.
DNS_ROUND_ROBIN, FIRST, PINNED, RANDOM, LIST, BALANCER, VIRTUAL_IP, OWN_NODE, CUSTOM = range(9)
POISSON, FIXED, BURSTY, TRACE = range(4)  # arrivals
NO_REUSE, LIFO, FIFO, ANY = range(4)  # which idle connection is taken
JITTER_NONE, JITTER_EQUAL, JITTER_FULL, JITTER_DECORRELATED = range(4)
NO_BUDGET, RATIO_BUDGET, TOKEN_BUDGET = range(3)  # what bounds the retries of a client
CLOSED, OPEN, HALF_OPEN = range(3)  # a circuit breaker
UNIFORM_CHOICE, RR, WRR, LC, WLC, SH = range(6)  # which endpoint a node takes
ANYWHERE, IN_TURN = range(2)  # where a client's search for a free port begins
# What a SYN becomes whose ports the node remembers: as conntrack has it, or ipvs by its conn_reuse_mode.
BY_CONNTRACK, IPVS_NEW, IPVS_DROP, IPVS_KEEP = range(4)
REFUSE, DROP = range(2)  # what a node does with a SYN it has no endpoint for
PASSING, DROPPING, REJECTING = range(3)  # what a firewall does with a SYN to the NodePort
FORGOTTEN = -1  # an epoch that no node and no pod is in
RECENT, EXACT = range(2)  # memory of an affinity: xt_recent, or a set with time-outs
DOWN, SERVING, DRAINING = range(3)  # a pod's process; one that drains takes no new connection
CONNTRACK_FULL, POD_EMPTY = range(2)  # what the control plane is told by the data plane

CAUSES = (
    "connect_timeout", "no_route", "refused", "reset", "request_timeout",
    "pool_timeout", "rejected", "total_timeout", "connection_lost", "server_error", "no_ports",
    "circuit_open",
)  # fmt: skip
(
    CONNECT_TIMEOUT, HOST_UNREACHABLE, CONNECTION_REFUSED, CONNECTION_RESET, REQUEST_TIMEOUT,
    POOL_TIMEOUT, OVERLOADED, TOTAL_TIMEOUT, CONNECTION_LOST, SERVER_ERROR, NO_PORTS,
    CIRCUIT_OPEN,
) = range(len(CAUSES))  # fmt: skip
SUCCEEDED = -1

STAGES = (
    "pool_wait", "syn_backoff", "wire", "rules", "node_queue", "pod_queue", "service",
    "failed_attempts", "backoff",
)  # fmt: skip
PHASES = ("before", "during", "after")
BEFORE, DURING, AFTER = range(len(PHASES))
FATES = ("closed", "reset", "timed_out")  # How a connection ended, as its client saw it.
STANDING, AS_USUAL, TORN, TIMED_OUT = range(-1, len(FATES))

NEVER_S = 1e200  # later than any instant of a run

SUB = 8  # 2**8 buckets an octave
BASE = (1023 - 24) << SUB
BUCKETS = 36 << SUB
EXPIRY_SLOTS = 256  # seconds a closing conntrack entry can be scheduled ahead
BUDGET_SLICES = 10  # of the window of a retry budget: twitter-util TokenBucket.newLeakyBucket
