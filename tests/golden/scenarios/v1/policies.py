from nodeportsim import policy


@policy(cells=1)
def alternate(memory, nodes, last, u1, u2, now_s):
    memory[0] += 1
    return int(memory[0]) % nodes
