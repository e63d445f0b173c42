"""How a client finds its entry node, written by a user in Python.

Real clients balance for themselves: gRPC and service meshes pick the less loaded of two random hosts
(Mitzenmacher 2001, doi:10.1109/71.963420), or the one that answered fastest of late. A policy is a function
that names a node for every new connection, and perhaps a second one that learns how an attempt ended::

    @policy(cells=1)  # one number a node, for every client
    def power_of_two(memory, nodes, last, u1, u2, now_s):
        a = int(u1 * nodes)
        b = (a + 1 + int(u2 * (nodes - 1))) % nodes
        node = a if memory[a] <= memory[b] else b
        memory[node] += 1.0
        return node

    @power_of_two.learn
    def ended(memory, nodes, node, took_s, answered, now_s):
        memory[node] -= 1.0

The kernel calls the compiled function by its address, so a new policy compiles in a moment and the kernel not
at all; under SimPy the same function runs as the Python it is. It is made of numbers and of `memory` alone,
which is what both can run (docs/policies.md). Left out: what one client could learn from another.
"""

from __future__ import annotations

import linecache
import operator
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, overload

from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nodeportsim.scenario.clients import Entry

    from .records import World

    Function = Callable[..., Any]


@dataclass(eq=False)
class Policy:
    """A user's choice of entry nodes; made by `policy`.

    Parameters
    ----------
    choose
        ``choose(memory, nodes, last, u1, u2, now_s) -> node``: the entry node, 0 to nodes - 1, of a new
        connection. `memory` holds nodes * cells floats of this client, zero at first; `last` is the node of
        the request's last attempt, -1 for a first one; `u1` and `u2` are uniform in (0, 1).
    cells
        Floats a client keeps of every node.
    learnt
        ``learn(memory, nodes, node, took_s, answered, now_s)``: an attempt over `node` has ended after
        `took_s`, with an answer (1) or without (0).
    """

    choose: Function
    cells: int = 0
    learnt: Function | None = None

    def __post_init__(self) -> None:
        if not callable(self.choose):
            rule = "must be a function: write @policy, or @policy(cells=1)"
            raise InputError(rule, field="policy", got=self.choose)
        if not isinstance(self.cells, int) or self.cells < 0:
            rule = "must be a whole number that is not negative"
            raise InputError(rule, field=f"policy {self.name} cells", got=self.cells)

    @property
    def name(self) -> str:
        """Its function's name."""
        return self.choose.__name__

    def learn(self, function: Function) -> Function:
        """Let `function` be told how attempts ended."""
        self.learnt = function
        return function

    @property
    def entry(self) -> Entry:
        """What a scenario written in Python needs: ``Clients(entry=power_of_two.entry)``.

        The whole file goes along, or the whole cell of a notebook, since the function may use what stands
        beside it.

        Raises
        ------
        InputError
            It was not written in a file or a cell.
        """
        import inspect
        from pathlib import PurePath

        from nodeportsim.scenario.clients import Entry

        try:
            lines, _ = inspect.findsource(self.choose)
        except (OSError, TypeError):
            raise InputError(
                "has no source to take along", field=f"policy {self.name}", hint="write it into a file"
            ) from None
        stem = PurePath(self.choose.__code__.co_filename).stem
        return Entry(policy="custom", function=f"{stem}.py:{self.name}", code="".join(lines))


@overload
def policy(function: Function) -> Policy: ...
@overload
def policy(*, cells: int = 0) -> Callable[[Function], Policy]: ...
def policy(function: Function | None = None, *, cells: int = 0) -> Any:
    """Make a policy of a function; `cells` floats a node are kept for every client."""
    return Policy(function) if function is not None else lambda f: Policy(f, cells)


def policy_of(entry: Entry) -> Policy:
    """Take the policy of a custom entry.

    Raises
    ------
    InputError
        Its code fails, or has no such policy.
    """
    return _policy(str(entry.code), str(entry.function))


@cache
def _policy(code: str, function: str) -> Policy:
    """Take a policy from the code, run once: a policy has no state of its own."""
    file, _, name = function.partition(":")
    scope = _run(code, file)
    found = scope.get(name)
    if not isinstance(found, Policy):
        known = [key for key, value in scope.items() if isinstance(value, Policy)]
        hint = f"it holds {', '.join(known)}" if known else "decorate a function with @nodeportsim.policy"
        raise InputError("has no such policy", field=f"entry.function {function}", hint=hint)
    return found


_running: set[str] = set()


def _run(code: str, file: str) -> dict[str, Any]:
    """Run a file of policies; what it defines."""
    field = f"entry.function {file}"
    if code in _running:  # A script took its own policy and simulates at once: run again, it would for ever.
        hint = "put what simulates below: if __name__ == '__main__':"
        raise InputError("simulates as soon as it is imported", field=field, hint=hint)
    scope: dict[str, Any] = {"__name__": file.removesuffix(".py")}
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)  # For debuggers to show.
    _running.add(code)
    try:
        exec(compile(code, file, "exec", dont_inherit=True), scope)  # noqa: S102 - the user's own code.
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it does wrong, the user is told.
        raise InputError(f"fails: {type(error).__name__}: {error}", field=field) from None
    finally:
        _running.discard(code)
    return scope


def choose(w: World, policy: Policy, c: int, last: int, u1: float, u2: float, t: float) -> int:
    """Ask a policy for a node, as Python.

    Raises
    ------
    InputError
        It fails, or names no node.
    """
    nodes = w.config.nodes
    with _blamed(policy, t):
        node = operator.index(policy.choose(w.memory[c], nodes, last, u1, u2, t))
    if not 0 <= node < nodes:
        rule = f"names node {node} at {t:.6g} s, and there are 0 to {nodes - 1}"
        raise InputError(rule, field=f"policy {policy.name}")
    return node


def learn(w: World, policy: Policy, c: int, node: int, took_s: float, answered: int, t: float) -> int:
    """Let a policy learn, as Python.

    Raises
    ------
    InputError
        It fails.
    """
    if policy.learnt is not None:
        with _blamed(policy, t):
            policy.learnt(w.memory[c], w.config.nodes, node, took_s, answered, t)
    return 0


@contextmanager
def _blamed(policy: Policy, t: float) -> Iterator[None]:
    """Turn whatever goes wrong in a user's function into words for the user."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - as above.
        line = _line(policy, error)
        rule = f"fails at {t:.6g} s, in line {line}: {type(error).__name__}: {error}"
        raise InputError(rule, field=f"policy {policy.name}") from None


def _line(policy: Policy, error: Exception) -> int:
    """Find the last line of the user's file on the way to an error; that of the policy if it came after."""
    code = policy.choose.__code__
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == code.co_filename]
    return lines[-1] if lines else code.co_firstlineno
