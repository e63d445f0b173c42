"""The world as the kernel receives it: one pointer, to a table of where each array lies.

A NamedTuple of arrays would be passed to every step as two hundred scalars, and compiling that takes
minutes. So the kernel gets the address of a small table (address, rows, columns of each field), and
`w.nodes` reads its row. The table does not change while the kernel runs, which the loads say
(``invariant.load``); growing a pool rewrites its row in between.

Numba's own arrays check every index for a negative one, which costs a load and a comparison each time.
Steps never count from the end, so here an array is an address with its lengths (`Rows`), and nothing more.
Numba's own records give narrow integers as they are, and compile a step once for every mixture of widths it
is called with; here a struct (`Row`) gives 64 bits whatever it keeps.
"""

from __future__ import annotations

import operator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.core.imputils import lower_builtin, lower_getattr_generic, lower_setattr_generic
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_global, signature
from numba.extending import NativeValue, infer_getattr, intrinsic, models, register_model, typeof_impl, unbox

if TYPE_CHECKING:
    from nodeportsim.engine.records import World

COLUMNS = 3  # address, rows, columns


class WorldType(types.Type):
    """Numba's type of a `Handle`: the names of the fields and what they are."""

    def __init__(self, fields: tuple[tuple[str, Any], ...]) -> None:
        self.fields = fields
        super().__init__(name=f"World({fields})")


class Row(types.Type):
    """A struct, by its address."""

    def __init__(self, record: types.Record) -> None:
        self.record = record
        super().__init__(name=f"Row({record})")

    def kept(self, name: str) -> Any:
        """Type of a field as it is stored."""
        return self.record.typeof(name)

    def given(self, name: str) -> Any:
        """Type of a field as steps see it, None where there is no such field."""
        if name not in self.record.fields:
            return None
        return types.int64 if isinstance(self.kept(name), types.Integer) else types.float64


class Rows(types.Type):
    """An array of one or two dimensions, in C order: `rows[i]` is an item, or a row of items."""

    def __init__(self, item: Any, ndim: int) -> None:
        self.item = item
        self.ndim = ndim
        super().__init__(name=f"Rows({item}, {ndim})")


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
        self.address = int(self.table.ctypes.data)
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


def _type(value: Any) -> Any:
    """Return the type of a field: rows of one struct are that struct."""
    if isinstance(value, np.record):
        return _kind(value.base.dtype, 0)
    return _kind(value.dtype, value.ndim)


@cache
def _kind(dtype: np.dtype[Any], ndim: int) -> Any:
    """Return the type of rows of this kind, 0 dimensions for one struct; every world asks for the same."""
    item = typeof(np.empty(1, dtype)).dtype
    if ndim == 0:
        return Row(item)
    return Rows(Row(item) if isinstance(item, types.Record) else item, ndim)


@typeof_impl.register(Handle)
def _typeof(handle, _context):
    return handle.type


@register_model(WorldType)
class _Pointer(models.OpaqueModel):
    """A world is passed as one pointer."""


@register_model(Row)
class _RowModel(models.OpaqueModel):
    """A struct is passed as its address."""


@register_model(Rows)
class _RowsModel(models.StructModel):
    """Address and lengths; what is not used is never loaded."""

    def __init__(self, manager, rows):
        members = [("data", types.voidptr), ("rows", types.intp), ("columns", types.intp)]
        super().__init__(manager, rows, members)


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
    if isinstance(kind, Row):
        return builder.inttoptr(_load_word(context, builder, table, row), cgutils.voidptr_t)
    address, rows, columns = (_load_word(context, builder, table, row + k) for k in range(COLUMNS))
    data = builder.inttoptr(address, cgutils.voidptr_t)
    return _make_rows(context, builder, kind, data=data, rows=rows, columns=columns)


def _load_word(context, builder, table, k):
    load = builder.load(builder.gep(table, [context.get_constant(types.intp, k)]))
    load.set_metadata("invariant.load", builder.module.add_metadata([]))
    return load


def _make_rows(context, builder, kind, **members):
    made = cgutils.create_struct_proxy(kind)(context, builder)
    for name, value in members.items():
        setattr(made, name, value)
    return made._getvalue()


@infer_getattr
class _RowFields(AttributeTemplate):
    key = Row

    def generic_resolve(self, row, name):
        return row.given(name)


@lower_getattr_generic(Row)
def _get(context, builder, row, pointer, name):
    value = context.unpack_value(builder, row.kept(name), _field(context, builder, row, pointer, name))
    return context.cast(builder, value, row.kept(name), row.given(name))


@lower_setattr_generic(Row)
def _set(context, builder, sig, args, name):
    row = sig.args[0]
    value = context.cast(builder, args[1], sig.args[1], row.kept(name))
    context.pack_value(builder, row.kept(name), value, _field(context, builder, row, args[0], name))


def _field(context, builder, row, pointer, name):
    """Find where a field lies."""
    place = builder.gep(pointer, [context.get_constant(types.intp, row.record.offset(name))])
    return builder.bitcast(place, context.get_data_type(row.kept(name)).as_pointer())


@infer_global(len)
class _Len(AbstractTemplate):
    def generic(self, args, _keywords):
        return signature(types.intp, *args) if isinstance(args[0], Rows) else None


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args, _keywords):
        rows, index = args
        if not isinstance(rows, Rows) or not isinstance(index, types.Integer):
            return None
        return signature(_item(rows), rows, index)


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, _keywords):
        rows, index, _value = args
        if not isinstance(rows, Rows) or not isinstance(index, types.Integer):
            return None
        return signature(types.none, rows, index, _item(rows))


def _item(rows):
    """Type of `rows[index]`, numbers as wide as steps see them."""
    if rows.ndim > 1:
        return Rows(rows.item, 1)
    if isinstance(rows.item, Row):
        return rows.item
    return types.int64 if isinstance(rows.item, types.Integer) else types.float64


@lower_builtin(len, Rows)
def _len(context, builder, sig, args):
    return cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0]).rows


@lower_builtin(operator.getitem, Rows, types.Integer)
def _getitem(context, builder, sig, args):
    kind, made, place = _place(context, builder, sig, args)
    if kind.ndim > 1:
        zero = context.get_constant(types.intp, 0)
        return _make_rows(context, builder, sig.return_type, data=place, rows=made.columns, columns=zero)
    if isinstance(kind.item, Row):
        return place
    value = context.unpack_value(builder, kind.item, _typed(context, builder, kind, place))
    return context.cast(builder, value, kind.item, sig.return_type)


@lower_builtin(operator.setitem, Rows, types.Integer, types.Any)
def _setitem(context, builder, sig, args):
    kind, _made, place = _place(context, builder, sig, args)
    value = context.cast(builder, args[2], sig.args[2], kind.item)
    context.pack_value(builder, kind.item, value, _typed(context, builder, kind, place))
    return context.get_dummy_value()


def _place(context, builder, sig, args):
    """Find where `rows[index]` lies."""
    kind, index_type = sig.args[:2]
    made = cgutils.create_struct_proxy(kind)(context, builder, args[0])
    index = context.cast(builder, args[1], index_type, types.intp)
    size = context.get_constant(types.intp, _size(context, kind.item))
    stride = size if kind.ndim == 1 else builder.mul(made.columns, size)
    return kind, made, builder.gep(made.data, [builder.mul(index, stride)])


def _typed(context, builder, kind, place):
    return builder.bitcast(place, context.get_data_type(kind.item).as_pointer())


def _size(context, item):
    if isinstance(item, Row):
        return item.record.size
    return context.get_abi_sizeof(context.get_data_type(item))


@intrinsic
def prefetch(_context, rows, index):
    """Fetch item or row `index` of `rows` into the cache (llvm.prefetch: to write, to be kept)."""

    def generate(context, builder, sig, args):
        _kind, _made, place = _place(context, builder, sig, args)
        word = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        call = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        builder.call(call, [place, word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.none(rows, index), generate
