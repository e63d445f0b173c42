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
    EXPIRE,  # node * pods + pod: an ipvs connection leaves the inactive count
) = range(21)

FREE, POOL_WAIT, CONNECTING, WAITING, BACKING_OFF = range(5)  # request states

# How a group's clients find their entry node.
DNS_ROUND_ROBIN, FIRST, PINNED, RANDOM, LIST, BALANCER, VIRTUAL_IP, OWN_NODE, CUSTOM = range(9)
POISSON, FIXED, BURSTY, TRACE = range(4)  # arrivals
NO_REUSE, LIFO, FIFO, ANY = range(4)  # which idle connection is taken
JITTER_NONE, JITTER_EQUAL, JITTER_FULL = range(3)
UNIFORM_CHOICE, RR, WRR, LC, WLC, SH = range(6)  # which endpoint a node takes
REFUSE, DROP = range(2)  # what a node does with a SYN it has no endpoint for
RECENT, EXACT = range(2)  # memory of an affinity: xt_recent, or a set with time-outs
(CONNTRACK_FULL,) = range(1)  # what the control plane is told by the data plane

CAUSES = (
    "connect_timeout", "no_route", "refused", "reset", "request_timeout",
    "pool_timeout", "rejected", "total_timeout",
)  # fmt: skip
(
    CONNECT_TIMEOUT, HOST_UNREACHABLE, CONNECTION_REFUSED, CONNECTION_RESET, REQUEST_TIMEOUT,
    POOL_TIMEOUT, OVERLOADED, TOTAL_TIMEOUT,
) = range(len(CAUSES))  # fmt: skip
SUCCEEDED = -1

STAGES = (
    "pool_wait", "syn_backoff", "wire", "rules", "node_queue", "pod_queue", "service",
    "failed_attempts", "backoff",
)  # fmt: skip
PHASES = ("before", "during", "after")
BEFORE, DURING, AFTER = range(len(PHASES))
FATES = ("closed", "reset", "timed_out")  # How a connection ended, as its client saw it.
STANDING, CLOSED, TORN, TIMED_OUT = range(-1, len(FATES))

NEVER_S = 1e200  # later than any instant of a run

SUB = 8  # 2**8 buckets an octave
BASE = (1023 - 24) << SUB
BUCKETS = 36 << SUB
EXPIRY_SLOTS = 256  # seconds a closing conntrack entry can be scheduled ahead
