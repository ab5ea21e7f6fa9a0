"""What a lesson shows: the helpers' own code, which is what is tested, and errors in short."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from helpers.validation import require_flag


def source_of(thing: Any, *, docstring: bool = False) -> str:
    """Source of a function or class.

    Parameters
    ----------
    thing : function, method or class
    docstring : bool
        Whether to keep docstrings, of methods too.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If `thing` has no Python source.
    """
    if isinstance(thing, property):
        thing = thing.fget
    try:
        source = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise TypeError(f"things: expected functions or classes, got {thing!r}"[:200]) from error
    if docstring:
        return source.rstrip()
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or not ast.get_docstring(node):
            continue
        text = node.body[0]
        for number in range(text.lineno - 1, text.end_lineno):
            lines[number] = None
        after = text.end_lineno  # the blank line that parted the docstring from the code
        if after < len(lines) and lines[after] == "":
            lines[after] = None
    return "\n".join(line for line in lines if line is not None)


def show_source(*things: Any, docstring: bool = False) -> None:
    """Display the source of functions or classes in a notebook, highlighted.

    Parameters
    ----------
    *things : function, method, property or class
    docstring : bool
        Whether to show docstrings, which hold shapes and references.

    Raises
    ------
    TypeError
        If nothing is given, or something that has no Python source.
    """
    from IPython.display import Markdown, display

    require_flag(docstring, "docstring")
    if not things:
        raise TypeError("things: expected at least one function or class, got none")
    code = "\n\n\n".join(source_of(thing, docstring=docstring) for thing in things)
    display(Markdown(f"```python\n{code}\n```"))


def shorten_errors() -> None:
    """Show each error of this notebook by its type and message, without the traceback.

    For lessons in which errors are meant: what is left is the same on every machine. The magic
    ``%xmode Context`` brings tracebacks back; restarting the kernel does so, too. Outside of
    IPython nothing is changed.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.InteractiveTB.set_mode("Minimal")
