"""Whose code is optimised where: rare functions once, in the function that Python calls.

Numba copies what a function calls into that function's module and optimises the whole, at every level of the
calls: of a tree of functions the leaves are optimised and translated as often as there are levels above
them. Here a function that is compiled for the sake of another only *declares* the rare functions it calls;
the outermost one takes them all in, and is the one that is optimised as a whole, translated and cached. A
step is copied wherever it is called, as ever: it is there to be inlined.

Numba has no option for this. It is done where a library (``numba.core.codegen.JITCodeLibrary``) is told what
to link, and concerns only libraries that were made here.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock

_link, _finalize = JITCodeLibrary.add_linking_library, JITCodeLibrary.finalize
_depth = 0


def declared(function: Any, *, is_rare: bool) -> Any:
    """Let a dispatcher know, while it compiles, whether Python asked for it or another function did."""
    compile_ = function.compile

    def compiled(signature: Any) -> Any:
        global _depth  # noqa: PLW0603  (one function is compiled at a time, under Numba's lock)
        with global_compiler_lock:
            _depth += 1
            try:
                entry = compile_(signature)
            finally:
                _depth -= 1
            for each in function.overloads.values():
                each.library.is_rare = is_rare
        return entry

    function.compile = compiled
    return function


def _needs(library: Any) -> dict[Any, None]:
    """Rare functions that this one only declares, and those that they do: what is called before who calls."""
    needs: dict[Any, None] = library.__dict__.setdefault("needs", {})
    return needs


def _add(self: Any, library: Any) -> None:
    """Note what is called; take it in now where it is to be inlined."""
    needs = _needs(self)
    needs.update(_needs(library))
    if getattr(library, "is_rare", False):
        needs[library] = None
    else:
        _link(self, library)


def _end(self: Any) -> None:
    """Take in what is only declared, callers first: a definition that nobody has asked for yet is dropped."""
    if _depth <= 1:
        for library in reversed(_needs(self)):
            _link(self, library)
    _finalize(self)


JITCodeLibrary.add_linking_library = _add  # type: ignore[method-assign]  # There is no option for it.
JITCodeLibrary.finalize = _end  # type: ignore[method-assign]
