"""Entry policies of clients that watch their own answers, and of one that needs not to."""

from nodeportsim import policy


@policy(cells=1)
def power_of_two(memory, nodes, last, u1, u2, now_s):
    """Of two random nodes, take the one with fewer requests under way; memory: requests under way."""
    a = int(u1 * nodes)
    b = (a + 1 + int(u2 * (nodes - 1))) % nodes
    node = a if memory[a] <= memory[b] else b
    memory[node] += 1.0
    return node


@power_of_two.learn
def arrived(memory, nodes, node, took_s, answered, now_s):
    """One fewer is under way."""
    memory[node] -= 1.0


@policy(cells=1)
def latency_aware(memory, nodes, last, u1, u2, now_s):
    """Take the node that has been fastest of late, and every tenth time any; memory: smoothed seconds."""
    if u1 < 0.1:
        return int(u2 * nodes)
    best = int(u2 * nodes)
    for node in range(nodes):
        if memory[node] < memory[best]:
            best = node
    return best


@latency_aware.learn
def smoothed(memory, nodes, node, took_s, answered, now_s):
    """A lost attempt counts as the time it was waited for."""
    memory[node] += 0.1 * (took_s - memory[node])


@policy
def all_knowing(memory, nodes, last, u1, u2, now_s):
    """Any node but the first, which is the one that dies: what no client can do better."""
    return 1 + int(u1 * (nodes - 1))
