"""The code objects within a module by the path of their names, and which of them differ."""

from __future__ import annotations

from collections import Counter
from types import CodeType

AT_IMPORT = ""
_HAS_LOCAL_NAMES = 0x02  # CO_NEWLOCALS: a function, and no body of a class
_RUN_WHERE_THEY_STAND = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


def codes_within(code: CodeType, path: str = AT_IMPORT) -> dict[str, CodeType]:
    """A code object and all within it, by their path; those of one name are numbered."""
    codes, count = {path: code}, Counter()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            count[constant.co_name] += 1
            number = count[constant.co_name]
            name = constant.co_name if number == 1 else f"{constant.co_name}#{number}"
            codes |= codes_within(constant, f"{path}/{name}")
    return codes


def changed_functions(original: CodeType, mutated: CodeType) -> set[str]:
    """The paths of the outermost functions whose bytecode differs, or AT_IMPORT for a module's."""
    here, there = codes_within(original), codes_within(mutated)
    if here.keys() != there.keys():
        return {AT_IMPORT}
    changed = {path for path in here if _content(here[path]) != _content(there[path])}
    return {_outermost(path, here) for path in changed}


def _content(code: CodeType) -> tuple:
    """What a code object does, apart from the code objects in it."""
    constants = tuple(
        "code" if isinstance(one, CodeType) else (type(one).__name__, repr(one))
        for one in code.co_consts
    )
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_code, constants, names, code.co_exceptiontable, code.co_flags


def _outermost(path: str, codes: dict[str, CodeType]) -> str:
    """The first function on the way down to a code object."""
    steps = path.split("/")
    for number in range(2, len(steps) + 1):
        outer = "/".join(steps[:number])
        code = codes[outer]
        if code.co_name in _RUN_WHERE_THEY_STAND:
            return AT_IMPORT
        if code.co_flags & _HAS_LOCAL_NAMES:
            return outer
    return AT_IMPORT
