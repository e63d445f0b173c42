"""Users' policies as machine code that the kernel calls by address; a new one leaves the kernel as it is.

A failing function (an index out of `memory`, a division by zero) gives -1, which no node is called.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from nodeportsim.errors import InputError

from .options import rare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodeportsim.engine.policy import Policy
    from nodeportsim.engine.records import World

_MEMORY = (types.CPointer(types.float64), types.int64)
CHOOSE = types.int64(*_MEMORY, types.int64, types.int64, types.float64, types.float64, types.float64)
LEARN = types.int64(*_MEMORY, types.int64, types.int64, types.float64, types.int64, types.float64)


def place(world: World, policies: Sequence[Policy | None]) -> None:
    """Compile the policies of all groups and write their addresses."""
    for group, policy in zip(world.groups, policies, strict=True):
        if policy is not None:
            group.choose_at, group.learn_at = (f.address if f else 0 for f in _compiled(policy))


@cache
def _compiled(policy: Policy) -> tuple[Any, Any]:
    """Compile a policy's functions, once, and keep them: the kernel holds no more than their addresses."""
    chosen = _inner(policy, policy.choose, CHOOSE)
    named = chosen.nopython_signatures[0].return_type
    if not isinstance(named, (types.Integer, types.Boolean)):  # C would cut 1.7 to 1; Python refuses it.
        raise InputError(
            f"names a node that is no whole number: {named}",
            field=f"policy {policy.name}",
            hint="let every way through it end in return int(...)",
        )
    if policy.learnt is None:
        return cfunc(CHOOSE)(_choose(chosen)), None
    return cfunc(CHOOSE)(_choose(chosen)), cfunc(LEARN)(_learn(_inner(policy, policy.learnt, LEARN)))


def _inner(policy: Policy, function: Any, kind: Any) -> Any:
    """Compile a user's function; an index outside `memory` is an error in it, as in Python."""
    inner = njit(boundscheck=True)(function)
    try:
        inner.compile((types.float64[::1], *kind.args[len(_MEMORY) :]))
    except NumbaError as error:
        raise InputError(
            f"cannot be compiled: {_reason(str(error), function.__code__.co_filename)}",
            field=f"policy {policy.name}",
            hint="use numbers and memory alone, or run it as Python with --engine simpy",
        ) from None
    return inner


def _reason(said: str, file: str) -> str:
    """Cut Numba's explanation, often a page, down to what and where."""
    lines = [line.strip() for line in said.splitlines()]
    what = next((line for line in lines if line and not line.startswith("Failed in nopython")), said)
    if what.endswith("signature:"):
        what += next((line.removeprefix(">>>") for line in lines if line.startswith(">>>")), "")
    place = re.search(rf'{re.escape(file)}(?:", line | \()(\d+)', said)
    return f"line {place[1]}: {what}" if place else what


def _choose(inner: Any) -> Any:
    def choose(pointer, size, nodes, last, u1, u2, now_s):
        try:
            node = inner(carray(pointer, (size,)), nodes, last, u1, u2, now_s)
        except Exception:  # noqa: BLE001 - Numba knows no other; the run is refused at its end.
            return -1
        return node if 0 <= node < nodes else -1

    return choose


def _learn(inner: Any) -> Any:
    def learn(pointer, size, nodes, node, took_s, answered, now_s):
        try:
            inner(carray(pointer, (size,)), nodes, node, took_s, answered, now_s)
        except Exception:  # noqa: BLE001 - Numba knows no other; the run is refused at its end.
            return -1
        return 0

    return learn


def _call(kind):
    """Make the code that calls the function of type `kind` at an address, its memory given as `Rows`."""

    def generate(context, builder, sig, values):
        address, memory, *rest = values
        rows = cgutils.create_struct_proxy(sig.args[1])(context, builder, memory)
        wanted = kind.args[len(_MEMORY) :]
        given = [builder.bitcast(rows.data, context.get_value_type(_MEMORY[0])), rows.rows]
        given += [context.cast(builder, *each) for each in zip(rest, sig.args[2:], wanted, strict=True)]
        shape = ir.FunctionType(context.get_value_type(kind.return_type), [value.type for value in given])
        return builder.call(builder.inttoptr(address, shape.as_pointer()), given)

    return generate


# Numba passes a context of its own as the first argument.
@intrinsic
def _call_choose(_context, address, memory, nodes, last, u1, u2, now_s):
    return CHOOSE.return_type(address, memory, nodes, last, u1, u2, now_s), _call(CHOOSE)


@intrinsic
def _call_learn(_context, address, memory, nodes, node, took_s, answered, now_s):
    return LEARN.return_type(address, memory, nodes, node, took_s, answered, now_s), _call(LEARN)


@rare
def ask(w, c, last, u1, u2, t):
    at = w.groups[w.clients[c].group].choose_at
    nodes = w.config.nodes
    return _call_choose(at, w.memory[c], nodes, last, u1, u2, t)  # type: ignore[call-arg]  # See above.


@rare
def tell(w, c, node, took_s, answered, t):
    at = w.groups[w.clients[c].group].learn_at
    if at == 0:
        return 0
    nodes = w.config.nodes
    return _call_learn(at, w.memory[c], nodes, node, took_s, answered, t)  # type: ignore[call-arg]
