"""Entry policies of the incident `fourteen-requests`: each group of clients enters by the node of its pod."""

from nodeportsim import policy


@policy
def first(memory, nodes, last, u1, u2, now_s):
    """Enter by the first node."""
    return 0


@policy
def second(memory, nodes, last, u1, u2, now_s):
    """Enter by the second node."""
    return 1


@policy
def third(memory, nodes, last, u1, u2, now_s):
    """Enter by the third node."""
    return 2


@policy
def fourth(memory, nodes, last, u1, u2, now_s):
    """Enter by the fourth node."""
    return 3


@policy
def fifth(memory, nodes, last, u1, u2, now_s):
    """Enter by the fifth node."""
    return 4
