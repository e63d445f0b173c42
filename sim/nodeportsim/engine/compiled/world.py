"""The world as the kernel receives it: one pointer, to a table of where each array lies.

A NamedTuple of arrays would be passed to every step as two hundred scalars, and compiling that takes
minutes. So the kernel gets the address of a small table (address, rows, columns of each field), and
`w.nodes` reads its row: an array of C structs, or a single struct. The table does not change while the
kernel runs, which the loads say (``invariant.load``); growing a pool rewrites its row in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import typeof, types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed, lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, models, register_model, typeof_impl, unbox
from numba.np import arrayobj

if TYPE_CHECKING:
    from nodeportsim.engine.records import World

COLUMNS = 3  # address, rows, columns


class WorldType(types.Type):
    """Numba's type of a `Handle`: the names of the fields and what they are."""

    def __init__(self, fields: tuple[tuple[str, Any], ...]) -> None:
        self.fields = fields
        super().__init__(name=f"World({fields})")


class Handle:
    """Keeps a world's arrays alive and their table up to date.

    Parameters
    ----------
    world
        The arrays and structs, by name; fields that are None are left out.
    extra
        Further ones: the scheduler's own.
    """

    def __init__(self, world: World, **extra: Any) -> None:
        self.arrays = {name: value for name, value in world._asdict().items() if value is not None} | extra
        self.table = np.zeros((len(self.arrays), COLUMNS), np.int64)
        for name, value in self.arrays.items():
            self.place(name, value)
        self.type = WorldType(tuple((name, _type(value)) for name, value in self.arrays.items()))

    def place(self, name: str, value: Any) -> None:
        """Put an array where the kernel finds it."""
        self.arrays[name] = value
        # A struct is the first of its rows.
        rows: Any = value.base if isinstance(value, np.record) else value
        assert rows.flags.c_contiguous
        shape = (*rows.shape, 1, 1)[: COLUMNS - 1]
        self.table[list(self.arrays).index(name)] = (rows.ctypes.data, *shape)

    @property
    def address(self) -> int:
        """Where the table lies."""
        return int(self.table.ctypes.data)


def _type(value: Any) -> Any:
    """Return the type of a field: rows of one struct are that struct."""
    return typeof(value.base).dtype if isinstance(value, np.record) else typeof(np.asarray(value))


@typeof_impl.register(Handle)
def _typeof(handle, _context):
    return handle.type


@register_model(WorldType)
class _Pointer(models.OpaqueModel):
    """A world is passed as one pointer."""


@unbox(WorldType)
def _unbox(_type, handle, c):
    number = c.pyapi.object_getattr_string(handle, "address")
    address = c.pyapi.long_as_longlong(number)
    c.pyapi.decref(number)
    return NativeValue(c.builder.inttoptr(address, cgutils.voidptr_t))


@infer_getattr
class _Fields(AttributeTemplate):
    key = WorldType

    def generic_resolve(self, world, name):
        return dict(world.fields).get(name)


@lower_getattr_generic(WorldType)
def _load(context, builder, world, pointer, name):
    kind = dict(world.fields)[name]
    row = [field for field, _ in world.fields].index(name) * COLUMNS
    word = context.get_value_type(types.int64)
    table = builder.bitcast(pointer, word.as_pointer())
    address, *shape = (
        _load_word(context, builder, table, row + k) for k in range(1 + getattr(kind, "ndim", 0))
    )
    if isinstance(kind, types.Record):
        return builder.inttoptr(address, context.get_value_type(kind))
    array = context.make_array(kind)(context, builder)
    size = context.get_constant(types.intp, _size(context, kind.dtype))
    strides = [size] if len(shape) == 1 else [builder.mul(shape[1], size), size]
    arrayobj.populate_array(
        array,
        data=builder.inttoptr(address, array.data.type),
        shape=shape,
        strides=strides,
        itemsize=size,
        meminfo=None,
    )
    return impl_ret_borrowed(context, builder, kind, array._getvalue())


def _load_word(context, builder, table, k):
    load = builder.load(builder.gep(table, [context.get_constant(types.intp, k)]))
    load.set_metadata("invariant.load", builder.module.add_metadata([]))
    return load


def _size(context, dtype):
    return (
        dtype.size
        if isinstance(dtype, types.Record)
        else context.get_abi_sizeof(context.get_data_type(dtype))
    )
