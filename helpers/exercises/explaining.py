"""What an error in a learner's code usually means, and where in that code it happened.

A rule knows a type of error and a pattern in its message, as torch and Python write it; the first
rule that fits speaks. An error that no rule knows is given as it is, type and message.
"""

from __future__ import annotations

import linecache
import os
import re
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

LONGEST_MESSAGE = 200  # torch prints whole matrices into some of them
LONGEST_LINE = 80

# Code that is not the learner's. What runs in a notebook lies in no file, or in a temporary one.
_FOREIGN = tuple(
    os.path.normcase(os.path.join(path, ""))
    for path in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(torch.__file__).parents[1]),
        str(Path(__file__).parents[1]),
    }
)
# Names that numpy's arrays have and tensors lack.
_NAMES_IN_TORCH = {
    "astype": "`.to(dtype)`",
    "copy": "`.clone()`",
    "eigh": "`torch.linalg.eigh`",
    "inv": "`torch.linalg.inv`",
    "linalg": "a function of `torch.linalg` that takes the tensor",
    "solve": "`torch.linalg.solve`",
}


def _shape(tensor: Tensor) -> str:
    return f"of shape {tuple(tensor.shape)}"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _device(tensor: Tensor) -> str:
    return f"on {tensor.device}"


@dataclass(frozen=True)
class _Rule:
    """What is said about an error of this type whose message holds this pattern.

    `{0}` in the sentence stands for what the first group of the pattern matched; `shown` is what
    is told about each tensor in the line where the error happened.
    """

    error: type[Exception]
    pattern: str
    sentence: str
    shown: Callable[[Tensor], str] | None = None


_RULES = (
    _Rule(
        UnboundLocalError,
        r"variable '(\w+)'",
        "`{0}` is used in your function before it gets a value there.",
    ),
    _Rule(
        NameError,
        r"name '(\w+)' is not defined",
        "Python knows no `{0}`: look for a typing error, an import that is missing, or a cell "
        "further up that has not been run.",
    ),
    _Rule(
        ZeroDivisionError,
        "",
        "For some arguments the divisor is zero. Decide what to return there before you divide.",
    ),
    _Rule(
        RecursionError,
        "",
        "Your function calls itself without end. Has it got the name of a function that you "
        "wanted to call inside it?",
    ),
    # Something other than a tensor where one is needed.
    _Rule(
        TypeError,
        "'ellipsis'",
        "A `...` is still standing where a value is needed.",
    ),
    _Rule(
        TypeError,
        "'NoneType'",
        "One of the values is None: a function has returned nothing.",
    ),
    _Rule(
        TypeError,
        "(?:builtin_function_or_method|'function'|'method')",
        "A function stands where its result is needed: the parentheses of a call are missing.",
    ),
    _Rule(
        TypeError,
        "numpy.ndarray",
        "An array of numpy meets a tensor. `torch.as_tensor` turns it into a tensor.",
    ),
    _Rule(
        TypeError,
        r"must be Tensor, not (?:int|float)\b",
        "A function of torch got a plain number: for one number take that of `math`, or make a "
        "tensor of it.",
    ),
    _Rule(
        TypeError,
        "'Tensor' object is not callable",
        "A tensor stands in front of parentheses, as if it were a function: a `*` may be missing, "
        "or a name is used twice.",
    ),
    _Rule(
        TypeError,
        "torch.return_types|'tuple'",
        "A function has returned several results; take them apart, as in `a, b = ...`.",
    ),
    _Rule(
        TypeError,
        "unexpected keyword argument '(ddof|axes|keepdims)'",
        "`{0}` is numpy's name. In torch it is `correction`, `dim` or `keepdim`.",
    ),
    _Rule(
        TypeError,
        r"solve_triangular\(\) missing .*upper",
        "`solve_triangular` must be told which triangle of its matrix to read: `upper=False` for "
        "the lower one.",
    ),
    _Rule(
        TypeError,
        "'list'|only integer tensors of a single element",
        "A list or a text meets a tensor. `torch.tensor` makes a tensor of a list of numbers.",
    ),
    _Rule(
        TypeError,
        "unsupported operand",
        "The two sides of this sign do not go together: one of them is not what you expect.",
    ),
    _Rule(
        Exception,
        "only one element tensors|cannot be converted to Scalar",
        "Many numbers stand where one is needed. The functions of `math` take one number; those "
        "of torch take tensors.",
        _shape,
    ),
    _Rule(
        RuntimeError,
        "Boolean value of Tensor",
        "A condition has to be one truth value, and a comparison of tensors gives many. "
        "`torch.where` chooses entry by entry; `.all()` and `.any()` make one of them.",
        _shape,
    ),
    # A name that is not there.
    *(
        _Rule(
            AttributeError,
            rf"'Tensor' object has no attribute '{name}'",
            f"`{name}` is numpy's; with tensors it is {in_torch}.",
        )
        for name, in_torch in _NAMES_IN_TORCH.items()
    ),
    _Rule(
        AttributeError,
        "(?:builtin_function_or_method|'function'|'method')",
        "The parentheses of a call are missing, as in `.diagonal` for `.diagonal()`.",
    ),
    _Rule(
        AttributeError,
        r"'numpy.ndarray' object has no attribute '(\w+)'",
        "An array of numpy has no `{0}`. `torch.as_tensor` turns it into a tensor.",
    ),
    _Rule(
        AttributeError,
        r"'(?:float|int)' object has no attribute '(\w+)'",
        "A plain number has no `.{0}`; the functions of `math` take numbers.",
    ),
    _Rule(
        AttributeError,
        r"'NoneType' object has no attribute",
        "Something is None here: a function has returned nothing.",
    ),
    _Rule(
        AttributeError,
        "torch.return_types|'tuple'|'list'",
        "This is several results in one. Take the one you want, or take them apart, as in "
        "`a, b = ...`.",
    ),
    _Rule(
        AttributeError,
        r"module '([\w.]+)' has no attribute '(\w+)'",
        "`{0}` has no `{1}`. Most of linear algebra is in `torch.linalg`, and numpy's names are "
        "not always those of torch.",
    ),
    _Rule(
        AttributeError,
        r"'Tensor' object has no attribute '(\w+)'",
        "Tensors have no `{0}`: look for a typing error, or for a function of torch of that name.",
    ),
    # Matrices that cannot be decomposed.
    _Rule(
        torch.linalg.LinAlgError,
        "positive-definite",
        "Only a positive definite matrix has a Cholesky factor. Is this the covariance itself, "
        "and not its factor, its inverse or a difference?",
        _shape,
    ),
    _Rule(
        torch.linalg.LinAlgError,
        "singular",
        "This matrix has no inverse: it is flat in some direction. Is it the one you meant?",
        _shape,
    ),
    # Where tensors live, and what they are made of.
    _Rule(
        RuntimeError,
        "dtype|expected scalar type",
        "These tensors differ in precision, or hold integers. Make new ones alike: "
        "`dtype=x.dtype` in `torch.eye` and its kin, with `x` for an argument of your function.",
        _dtype,
    ),
    _Rule(
        RuntimeError,
        "same device",
        "These tensors are on different devices. Make new ones where the arguments are: "
        "`device=x.device`, with `x` for an argument of your function.",
        _device,
    ),
    # In place, and gradients.
    _Rule(
        RuntimeError,
        "in-?place operation",
        "A tensor that takes part in a gradient is changed in place. Write the result to a new "
        "tensor, or start from `.clone()`.",
    ),
    _Rule(
        RuntimeError,
        "single memory location",
        "This tensor shows the same memory several times, as `expand` makes it, and cannot be "
        "written to. Start from `.clone()`.",
    ),
    _Rule(
        RuntimeError,
        "on Tensor that requires grad",
        "Numpy knows no gradients. Stay with the functions of torch; no exercise needs numpy.",
    ),
    _Rule(
        RuntimeError,
        "does not require grad",
        "Nothing in this needs a gradient, so `backward` has nowhere to go. This exercise asks "
        "for values only.",
    ),
    # Shapes.
    _Rule(
        IndexError,
        "Dimension out of range|too many indices",
        "This tensor has fewer axes than you count.",
        _shape,
    ),
    _Rule(
        IndexError,
        "out of bounds|out of range",
        "You count further than there are entries. The first has the index 0.",
        _shape,
    ),
    _Rule(
        IndexError,
        "used as indices|valid indices",
        "An index has to be an integer.",
        _dtype,
    ),
    _Rule(
        RuntimeError,
        r"Got 1-D tensor",
        "A vector has no transpose. `x[:, None]` makes a column of it, `x[None, :]` a row.",
        _shape,
    ),
    _Rule(
        RuntimeError,
        "cannot be multiplied|Incompatible shapes|two dimensions of batch|matmul",
        "In a product the last axis on the left and the last but one on the right have the same "
        "length, and a system of equations has the same number of rows on both sides. Is a "
        "transpose missing, or the order wrong?",
        _shape,
    ),
    _Rule(
        RuntimeError,
        "non-singleton dimension",
        "Shapes are matched from the right: two axes fit if they have the same length, or one of "
        "them has length one.",
        _shape,
    ),
    _Rule(
        RuntimeError,
        "square matri",
        "This needs a square matrix.",
        _shape,
    ),
    _Rule(
        RuntimeError,
        r"shape|[Ss]izes?\b|dimension|\d-?D\b|subscript",
        "These shapes do not go together.",
        _shape,
    ),
)


def explain(error: Exception, own: Mapping[type[Exception], str] | None = None) -> str:
    """An error as a learner should read it.

    Parameters
    ----------
    error : Exception
        As caught, with its traceback.
    own : mapping of error type to str, optional
        Sentences that come before the general ones.

    Returns
    -------
    str
        The type and the message; where it is known, a line with the place in the learner's code;
        where there is one, a line with what the error usually means.
    """
    place = _place(error)
    lines = [f"your code raises {_name(error)}: {_message(error)}"]
    if place:
        lines.append(f"    line {place[1]}: {_source_line(*place)}".rstrip(" :"))
    lines.append(_meaning(error, place, own or {}))
    return "\n".join(filter(None, lines))


def explain_call(error: TypeError, names: list[str]) -> str:
    """What is wrong with a function that cannot be called with the arguments of the exercise."""
    told = f"The check calls it with {len(names)}: {', '.join(names)}."
    if "'self'" in str(error) or "unbound method" in str(error):
        told += " A method of a class does not do; write a plain function."
    return f"your code raises {_name(error)}: {_message(error)}\n{told}"


def is_raised_by_call(error: Exception) -> bool:
    """Whether an error comes from the call of the learner's function, not from inside it."""
    is_about_arguments = isinstance(error, TypeError) and "argument" in str(error)
    return is_about_arguments and _place(error) is None


def _name(error: Exception) -> str:
    return type(error).__name__.lstrip("_")  # torch hides its LinAlgError behind an underscore


def _message(error: Exception) -> str:
    first, *_ = str(error).splitlines() or [""]
    return textwrap.shorten(first, LONGEST_MESSAGE, placeholder=" ...")


def _place(error: Exception) -> tuple[FrameType, int] | None:
    """The innermost frame of the learner's own code, and the number of its line."""
    frames = traceback.walk_tb(error.__traceback__)
    own = [(frame, line) for frame, line in frames if _is_own(frame.f_code.co_filename)]
    return own[-1] if own else None


def _is_own(filename: str) -> bool:
    if filename.startswith("<"):  # frozen modules and code that torch makes up; IPython's is ours
        return filename.startswith("<ipython-input")
    return not os.path.normcase(filename).startswith(_FOREIGN)


def _source_line(frame: FrameType, line: int) -> str:
    text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
    return textwrap.shorten(text, LONGEST_LINE, placeholder=" ...")


def _meaning(
    error: Exception,
    place: tuple[FrameType, int] | None,
    own: Mapping[type[Exception], str],
) -> str:
    for kind, sentence in own.items():
        if isinstance(error, kind):
            return sentence
    for rule in _RULES:
        found = re.search(rule.pattern, str(error)) if isinstance(error, rule.error) else None
        if found:
            shown = _tensors_told(place, rule.shown) if place and rule.shown else ""
            return f"{rule.sentence.format(*found.groups())} {shown}".rstrip()
    return ""


def _tensors_told(place: tuple[FrameType, int], tell: Callable[[Tensor], str]) -> str:
    told = [f"`{name}` is {tell(tensor)}" for name, tensor in _tensors_in_line(*place)]
    if not told:
        return ""
    *first, last = told
    return f"Here {', '.join(first)}{' and ' if first else ''}{last}."


def _tensors_in_line(frame: FrameType, line: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors that are named in a line, in order."""
    source = linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
    known: Mapping[str, Any] = {**frame.f_globals, **frame.f_locals}
    for name in dict.fromkeys(re.findall(r"(?<![\w.])[A-Za-z_]\w*", source)):
        if isinstance(known.get(name), Tensor):
            yield name, known[name]
