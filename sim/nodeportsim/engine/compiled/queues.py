"""What is to happen, in four structures, each the cheapest for its kind of instant.

- A *lane* is a ring of events scheduled nearly in the order in which they happen: hops of constant or nearly
  constant delay. An event goes to the end, past at most `NEAR` later ones.
- The *heap* (binary) takes what no lane does: service times, back-offs, what is far from the end of its lane.
- *Arrivals* of open-loop clients are a tournament: a leaf per client with the instant of its next request,
  the winner at the root (Knuth, The Art of Computer Programming 3, 5.4.1).
- *Timers* of constant delay are a list per delay, linked through the requests. They end in the order of their
  setting, and one that is void leaves its list at once.

`heads` holds the earliest instant of each, as the bits of the float: those of positive floats compare like
the floats. For the timers a lower bound is enough (`state.timer`), since hardly one comes to its time. One
sequence number runs over lanes, heap and timers, so ties keep their order; arrivals go before all else.
"""

from __future__ import annotations

import numpy as np

from .options import rare, step

EVENT = np.dtype([("bits", "i8"), ("number", "i8"), ("what", "i8")])  # what: i * KINDS + kind
STATE = np.dtype(
    [
        ("pending", "i8"),
        ("number", "i8"),
        ("events", "i8"),
        ("credit", "i8"),
        ("end", "i8"),
        ("timer", "i8"),
        ("noticed", "i8"),
    ],
    align=True,
)
LANE = np.dtype([("head", "i8"), ("tail", "i8"), ("mask", "i8")], align=True)
NOTICE = np.dtype([("t", "f8"), ("what", "i8"), ("i", "i8")])
LEAF = np.dtype([("bits", "i8"), ("c", "i8")], align=True)
LIST = np.dtype([("delay_s", "f8"), ("head", "i4"), ("tail", "i4")], align=True)

LANES = 4  # of two kinds each, see codes.py
HEAP, ARRIVALS = LANES, LANES + 1
SOURCES = LANES + 2
NEAR = 8
SHIFT = 5
KINDS = 1 << SHIFT
VOID = KINDS - 1  # a timer whose request waits for something else by now
NEVER = 0x7FF0000000000000  # bits of infinity


@step
def bits_of(t):
    """Read a float as an integer."""
    return np.float64(t).view(np.int64)


@step
def time_of(bits):
    """Read it back."""
    return np.int64(bits).view(np.float64)


@step
def next_number(w):
    """Number the next event."""
    number = w.state.number
    w.state.number = number + 1
    return number


@rare
def push(w, bits, number, what):
    """Put an event into the heap, ordered by time, then by number."""
    n = w.state.pending
    w.state.pending = n + 1
    rise(w, n, bits, number, what)


@step
def rise(w, n, bits, number, what):
    """Put an event at place `n` of the heap, or above."""
    h = w.heap
    while n > 0:
        up = (n - 1) >> 1
        if before(h[up].bits, h[up].number, bits, number):
            break
        h[n].bits = h[up].bits
        h[n].number = h[up].number
        h[n].what = h[up].what
        n = up
    h[n].bits = bits
    h[n].number = number
    h[n].what = what
    w.heads[HEAP] = h[0].bits


@step
def drop_top(w):
    """Remove the heap's earliest event: the hole sinks to the bottom, and the last event rises from there."""
    h = w.heap
    n = w.state.pending - 1
    w.state.pending = n
    bits, number, what = h[n].bits, h[n].number, h[n].what
    h[n].bits = NEVER  # So that every child has a sibling.
    hole, child = 0, 1
    while child < n:
        ahead = h[child + 1].bits - h[child].bits
        if ahead == 0:
            ahead = h[child + 1].number - h[child].number
        child -= ahead >> 63  # The smaller child, without a branch that could not be foreseen.
        h[hole].bits = h[child].bits
        h[hole].number = h[child].number
        h[hole].what = h[child].what
        hole = child
        child = 2 * hole + 1
    if n > 0:
        rise(w, hole, bits, number, what)
    else:
        w.heads[HEAP] = NEVER


@step
def before(bits, number, other_bits, other_number):
    """Tell whether one event is earlier than another."""
    return (bits < other_bits) | ((bits == other_bits) & (number < other_number))


@step
def join(w, k, bits, number, what):
    """Put an event into lane `k`, or into the heap if it belongs far from the lane's end."""
    lane, ring = w.lanes[k], w.ring[k]
    mask, place = lane.mask, lane.tail
    if place - lane.head > NEAR and ring[(place - NEAR) & mask].bits > bits:
        push(w, bits, number, what)
        return
    lane.tail = place + 1
    ring[(place + 1) & mask].bits = NEVER  # What `leave` finds behind the last one.
    while place > lane.head and ring[(place - 1) & mask].bits > bits:
        event, other = ring[place & mask], ring[(place - 1) & mask]
        event.bits = other.bits
        event.number = other.number
        event.what = other.what
        place -= 1
    event = ring[place & mask]
    event.bits = bits
    event.number = number
    event.what = what
    w.heads[k] = ring[lane.head & mask].bits


@step
def leave(w, k):
    """Remove the first event of lane `k`."""
    lane = w.lanes[k]
    lane.head += 1
    w.heads[k] = w.ring[k][lane.head & lane.mask].bits


@step
def replay(w, c, bits):
    """Give client `c` a new instant and let the tournament find its winner."""
    tree = w.tree
    node = c + (len(tree) >> 1)
    tree[node].bits = bits
    while node > 1:
        other = tree[node ^ 1]
        ahead = other.bits - bits
        if ahead == 0:
            ahead = other.c - c
        # All ones where the other wins. Who does cannot be foreseen, so there is no branch on it.
        wins = ahead >> 63
        bits ^= (bits ^ other.bits) & wins
        c ^= (c ^ other.c) & wins
        node >>= 1
        tree[node].bits = bits
        tree[node].c = c
    w.heads[ARRIVALS] = bits


@step
def list_of(w, delay_s):
    """Find the list of timers of a delay, 0 where there is none."""
    for k in range(1, len(w.lists)):
        if w.lists[k].delay_s == delay_s:
            return k
    return 0


@step
def enlist(w, k, t, r):
    """Put the timer of request `r` at the end of list `k`."""
    request, timers = w.requests[r], w.lists[k]
    request.timer_s = t
    request.timer_list = k
    request.timer_before = timers.tail
    request.timer_after = -1
    if timers.tail >= 0:
        w.requests[timers.tail].timer_after = r
    else:
        timers.head = r
        bound(w, bits_of(t))
    timers.tail = r


@step
def delist(w, r):
    """Take the timer of request `r` out of its list; the loop goes on to stop at the old bound."""
    request = w.requests[r]
    timers = w.lists[request.timer_list]
    request.timer_list = 0
    if request.timer_before >= 0:
        w.requests[request.timer_before].timer_after = request.timer_after
    else:
        timers.head = request.timer_after
    if request.timer_after >= 0:
        w.requests[request.timer_after].timer_before = request.timer_before
    else:
        timers.tail = request.timer_before


@step
def bound(w, bits):
    """Let the loop stop at a timer's end, if that comes before what it stops at already."""
    w.state.timer = min(w.state.timer, bits)
    w.state.end = min(w.state.end, bits)


@rare
def first_timer(w):
    """Find the request whose timer ends first, -1 where there is none."""
    first, bits, number = -1, NEVER, 0
    for k in range(1, len(w.lists)):
        r = w.lists[k].head
        if r >= 0:
            its, its_number = bits_of(w.requests[r].timer_s), w.requests[r].timer
            if first < 0 or before(its, its_number, bits, number):
                first, bits, number = r, its, its_number
    return first


@rare
def first_of_equals(w, least):
    """Find the source of the event that goes first at an instant that several share."""
    best, number = -1, 0
    for k in range(SOURCES):
        if w.heads[k] == least:
            n = number_of(w, k)
            if best < 0 or n < number:
                best, number = k, n
    return best


@rare
def number_of(w, k):
    """Tell the number of a source's earliest event; arrivals go before all."""
    if k == ARRIVALS:
        return -1
    if k == HEAP:
        return w.heap[0].number
    return w.ring[k][w.lanes[k].head & w.lanes[k].mask].number


@step
def earliest(w):
    """Find the source of the next event, and its instant; without branches, which could not be foreseen."""
    h = w.heads
    best, least, tied = 0, h[0], 0
    for k in range(1, SOURCES):
        x = h[k]
        tied = int(x == least) | (tied & int(x > least))
        best = k if x < least else best
        least = min(least, x)
    return best, least, tied
