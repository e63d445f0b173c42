"""What is to happen, in four structures, each the cheapest for its kind of instant.

- A *lane* is a ring of events that are scheduled nearly in the order in which they happen: hops whose delay is
  constant or nearly so. An event goes to the end, past at most `NEAR` later ones.
- The *heap* (binary) takes what no lane does: service times, back-offs, all that is far from the end of its lane.
- *Arrivals* of open-loop clients are a tournament: a leaf per client with the instant of its next request, the
  winner at the root (Knuth, The Art of Computer Programming 3, 5.4.1).
- *Timers* of constant delay are a list per delay, linked through the requests. They end in the order of their
  setting, and one that is void leaves its list at once: hardly any ever comes to its time.

`heads` holds the earliest instant of each, as the bits of the float: those of positive floats compare like the
floats. That of the timers is a lower bound. One sequence number runs over lanes, heap and timers, so ties keep
their order; arrivals go before all else.
"""

from __future__ import annotations

import numpy as np

from .options import rare, step

EVENT = np.dtype([("t", "f8"), ("number", "i8"), ("kind", "i4"), ("i", "i4")], align=True)
STATE = np.dtype([("pending", "i8"), ("number", "i8"), ("events", "i8"), ("credit", "i8")], align=True)
LANE = np.dtype([("head", "i8"), ("tail", "i8"), ("mask", "i8")], align=True)
LEAF = np.dtype([("bits", "i8"), ("c", "i8")], align=True)
LIST = np.dtype([("delay_s", "f8"), ("head", "i4"), ("tail", "i4")], align=True)

LANES = 5  # of two kinds each, see records.py
HEAP, ARRIVALS, TIMERS = LANES, LANES + 1, LANES + 2
SOURCES = LANES + 3
NEAR = 8
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


@step
def push(w, t, number, kind, i):
    """Put an event into the heap, ordered by time, then by number."""
    h = w.heap
    n = w.state.pending
    w.state.pending = n + 1
    while n > 0:
        up = (n - 1) >> 1
        # A new number is the largest, so at equal instants the older event stays above.
        if h[up].t <= t:
            break
        copy(h[n], h[up])
        n = up
    write(h[n], t, number, kind, i)
    w.heads[HEAP] = bits_of(h[0].t)


@step
def drop_top(w):
    """Remove the heap's earliest event."""
    h = w.heap
    n = w.state.pending - 1
    w.state.pending = n
    if n == 0:
        w.heads[HEAP] = NEVER
        return
    t, number, kind, i = h[n].t, h[n].number, h[n].kind, h[n].i
    hole, child = 0, 1
    while child < n:
        if child + 1 < n:
            child += int(before(h[child + 1].t, h[child + 1].number, h[child].t, h[child].number))
        if before(t, number, h[child].t, h[child].number):
            break
        copy(h[hole], h[child])
        hole = child
        child = 2 * hole + 1
    write(h[hole], t, number, kind, i)
    w.heads[HEAP] = bits_of(h[0].t)


@step
def before(t, number, other_t, other_number):
    """Tell whether one event is earlier than another."""
    return (t < other_t) | ((t == other_t) & (number < other_number))


@step
def write(event, t, number, kind, i):
    """Fill in an event."""
    event.t = t
    event.number = number
    event.kind = kind
    event.i = i


@step
def copy(event, other):
    """Make an event like another."""
    event.t = other.t
    event.number = other.number
    event.kind = other.kind
    event.i = other.i


@step
def join(w, k, t, number, kind, i):
    """Put an event into lane `k`, or into the heap if it belongs far from the lane's end."""
    lane, ring = w.lanes[k], w.ring[k]
    mask, place = lane.mask, lane.tail
    if place - lane.head > NEAR and ring[(place - NEAR) & mask].t > t:
        push(w, t, number, kind, i)
        return
    lane.tail = place + 1
    ring[(place + 1) & mask].t = np.inf  # What `leave` finds behind the last one.
    while place > lane.head and ring[(place - 1) & mask].t > t:
        copy(ring[place & mask], ring[(place - 1) & mask])
        place -= 1
    write(ring[place & mask], t, number, kind, i)
    w.heads[k] = bits_of(ring[lane.head & mask].t)


@step
def leave(w, k):
    """Remove the first event of lane `k`."""
    lane = w.lanes[k]
    lane.head += 1
    w.heads[k] = bits_of(w.ring[k][lane.head & lane.mask].t)


@step
def replay(w, c, bits):
    """Give client `c` a new instant and let the tournament find its winner."""
    tree = w.tree
    node = c + (len(tree) >> 1)
    tree[node].bits = bits
    while node > 1:
        other = tree[node ^ 1]
        wins = (other.bits < bits) | ((other.bits == bits) & (other.c < c))
        bits = other.bits if wins else bits
        c = other.c if wins else c
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
def link(w, k, t, r):
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
        w.heads[TIMERS] = min(w.heads[TIMERS], bits_of(t))
    timers.tail = r


@step
def unlink(w, r):
    """Take the timer of request `r` out of its list; `heads` stays the bound it was."""
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


@rare
def first_timer(w):
    """Find the request whose timer ends first, -1 where there is none, and make the bound exact."""
    first, t, number = -1, np.inf, 0
    for k in range(1, len(w.lists)):
        r = w.lists[k].head
        if r >= 0 and before(w.requests[r].timer_s, w.requests[r].timer, t, number):
            first, t, number = r, w.requests[r].timer_s, w.requests[r].timer
    w.heads[TIMERS] = bits_of(t)
    return first


@rare
def first_of_equals(w, least):
    """Find the source of the event that goes first at an instant that several share."""
    timer = first_timer(w)  # Now the bound is exact.
    best, number = TIMERS, 0
    for k in range(SOURCES):
        if w.heads[k] == least:
            n = number_of(w, k, timer)
            if w.heads[best] != least or n < number:
                best, number = k, n
    return best


@rare
def number_of(w, k, timer):
    """Tell the number of a source's earliest event; arrivals go before all."""
    if k == ARRIVALS:
        return -1
    if k == HEAP:
        return w.heap[0].number
    if k == TIMERS:
        return w.requests[timer].timer
    return w.ring[k][w.lanes[k].head & w.lanes[k].mask].number


@step
def earliest(w):
    """Find the source of the next event, and its instant as bits; without branches, which could not be foreseen."""
    h = w.heads
    best, least, tied = 0, h[0], 0
    for k in range(1, SOURCES):
        x = h[k]
        tied = int(x == least) | (tied & int(x > least))
        best = k if x < least else best
        least = min(least, x)
    return best, least, tied
