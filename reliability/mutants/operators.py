"""Which small changes are made: operators of cosmic-ray, and some that mathematics needs besides.

Of cosmic-ray's operators these are used: each arithmetic operator becomes the one that is most
easily written in its place, a comparison loses or gains its limit and turns round, ``and`` becomes
``or``, a condition gains ``not``, a number becomes one more and one less, a minus or ``not`` goes,
a truth value turns round, ``break`` becomes ``continue``, a loop runs no time, a decorator goes,
an exception is not caught. Its other operators put a shift or a remainder for a sum, which stops
with a TypeError in the first line and says nothing about the tests.

cosmic-ray leaves alone what code on tensors consists of. The operators below take away a statement,
a keyword argument, a call without arguments or a transposition, swap the operands of ``@``, and put
a function for the one it is mistaken for. Strings stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cosmic_ray.operators.provider import OperatorProvider
from parso.tree import NodeOrLeaf

Position = tuple[int, int]


@dataclass(frozen=True)
class Edit:
    """A piece of source between two positions, and what is written there instead."""

    operator: str
    start: Position
    end: Position
    text: str


_ARITHMETIC = [
    ("Add", "Sub"),
    ("Sub", "Add"),
    ("Mul", "Div"),
    ("Div", "Mul"),
    ("FloorDiv", "Div"),
    ("Mod", "FloorDiv"),
    ("Pow", "Mul"),
    ("BitOr", "BitAnd"),
    ("BitAnd", "BitOr"),
]
_COMPARISONS = [
    ("Eq", "NotEq"),
    ("NotEq", "Eq"),
    ("Lt", "LtE"),
    ("Lt", "GtE"),
    ("LtE", "Lt"),
    ("LtE", "Gt"),
    ("Gt", "GtE"),
    ("Gt", "LtE"),
    ("GtE", "Gt"),
    ("GtE", "Lt"),
    ("Is", "IsNot"),
    ("IsNot", "Is"),
]
FROM_COSMIC_RAY = [
    *(f"ReplaceBinaryOperator_{old}_{new}" for old, new in _ARITHMETIC),
    *(f"ReplaceComparisonOperator_{old}_{new}" for old, new in _COMPARISONS),
    "ReplaceUnaryOperator_Delete_USub",
    "ReplaceUnaryOperator_Delete_Invert",
    "ReplaceUnaryOperator_Delete_Not",
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ZeroIterationForLoop",
]

# Functions of Python, torch and NumPy that are taken for one another.
_MISTAKEN = {
    "any": "all",
    "argmax": "argmin",
    "ceil": "floor",
    "cumprod": "cumsum",
    "eye": "ones_like",
    "log": "log1p",
    "max": "min",
    "maximum": "minimum",
    "mean": "sum",
    "ones": "zeros",
    "ones_like": "zeros_like",
    "prod": "sum",
    "tril": "triu",
    "var": "std",
}
MISTAKEN = _MISTAKEN | {new: old for old, new in _MISTAKEN.items() if new not in ("sum",)}
MISTAKEN["sum"] = "mean"
TRANSPOSITIONS = ("T", "mT", "H", "mH")


def _remembered(node: NodeOrLeaf) -> list[tuple[NodeOrLeaf, str, object]]:
    """What an operator may change in a piece of the tree."""
    children = getattr(node, "children", None)
    if children is None:
        return [(node, "value", node.value), (node, "prefix", node.prefix)]
    return [
        (node, "children", list(children)),
        *(one for each in children for one in _remembered(each)),
    ]


def _mutated_code(
    tree: NodeOrLeaf, node: NodeOrLeaf, change: Callable[[], NodeOrLeaf | None]
) -> str:
    """The code of the tree while `node` is changed; the tree itself is as before afterwards."""
    siblings = node.parent.children if node.parent is not None else [node]
    place = next(i for i, each in enumerate(siblings) if each is node)
    memory = _remembered(node)
    changed = change()
    siblings[place : place + 1] = [] if changed is None else [changed]
    code = tree.get_code()
    siblings[place : place + (changed is not None)] = [node]
    for piece, name, value in memory:
        setattr(piece, name, value)
    return code


def cosmic_ray_mutants(tree: NodeOrLeaf, node: NodeOrLeaf) -> Iterator[tuple[str, str]]:
    """Each operator of cosmic-ray that fits a node, with the code of the whole module after it."""
    for name, operator in _COSMIC_RAY.items():
        for index, _ in enumerate(list(operator.mutation_positions(node))):
            yield name, _mutated_code(tree, node, lambda i=index, o=operator: o.mutate(node, i))


_COSMIC_RAY = {name: OperatorProvider()[name]() for name in FROM_COSMIC_RAY}


def own_edits(node: NodeOrLeaf) -> Iterator[Edit]:
    """The edits of our own operators that fit a node."""
    for operator in OWN:
        for start, end, text in operator(node):
            yield Edit(operator.__name__, start, end, text)


Edits = Iterator[tuple[Position, Position, str]]


def RemoveStatement(node: NodeOrLeaf) -> Edits:
    """A bare call, ``x.y = z``, ``x[y] = z``, ``x += y`` or ``raise`` becomes ``pass``."""
    if node.parent is not None and node.parent.type == "simple_stmt" and _can_go(node):
        yield node.start_pos, node.end_pos, "pass"


def _can_go(node: NodeOrLeaf) -> bool:
    if node.type == "expr_stmt":
        target, sign = node.children[:2]
        is_augmented = sign.type == "operator" and len(sign.value) > 1
        return is_augmented or (target.type == "atom_expr" and sign.type == "operator")
    return node.type in ("atom_expr", "raise_stmt")


def RemoveKeyword(node: NodeOrLeaf) -> Edits:
    """``f(x, dim=1)`` becomes ``f(x)``."""
    if node.type != "argument" or node.children[1] != "=":
        return
    siblings = node.parent.children
    place = siblings.index(node)
    start, end = node.start_pos, node.end_pos
    if node.parent.type == "arglist":
        if place > 0:
            start = siblings[place - 1].start_pos
        elif len(siblings) > 1:
            end = siblings[place + 1].end_pos
    yield start, end, ""


def RemoveCall(node: NodeOrLeaf) -> Edits:
    """``x.abs()`` becomes ``x``."""
    if node.type != "atom_expr" or node.parent.type == "simple_stmt":
        return
    for name, call in zip(node.children[1:], node.children[2:], strict=False):
        if name.children[0] == "." and call.get_code() == "()":
            yield name.start_pos, call.end_pos, ""


def RemoveTransposition(node: NodeOrLeaf) -> Edits:
    """``x.mT`` becomes ``x``."""
    is_trailer = node.type == "trailer" and node.children[0] == "."
    if is_trailer and node.children[1].value in TRANSPOSITIONS:
        yield node.start_pos, node.end_pos, ""


def SwapFactors(node: NodeOrLeaf) -> Edits:
    """``a @ b`` becomes ``b @ a``."""
    if node.type == "operator" and node.value == "@" and node.parent.type == "term":
        siblings = node.parent.children
        place = siblings.index(node)
        left, right = siblings[place - 1], siblings[place + 1]
        swapped = f"{_code(right)} @ {_code(left)}"
        yield left.start_pos, right.end_pos, swapped


def TurnMembership(node: NodeOrLeaf) -> Edits:
    """``in`` becomes ``not in``, and the other way round."""
    if node.type != "comparison":
        return
    for sign in node.children[1::2]:
        if _code(sign) in ("in", "not in"):
            yield sign.start_pos, sign.end_pos, "not in" if _code(sign) == "in" else "in"


def MistakeFunction(node: NodeOrLeaf) -> Edits:
    """``any`` becomes ``all``, ``max`` becomes ``min``, and so on, where it is called."""
    if node.type != "name" or node.value not in MISTAKEN:
        return
    holder = node.parent if node.parent.type == "trailer" else node
    after = holder.get_next_sibling()
    if after is not None and after.type == "trailer" and after.children[0] == "(":
        yield node.start_pos, node.end_pos, MISTAKEN[node.value]


def _code(node: NodeOrLeaf) -> str:
    return node.get_code(include_prefix=False)


OWN = (
    RemoveStatement,
    RemoveKeyword,
    RemoveCall,
    RemoveTransposition,
    SwapFactors,
    TurnMembership,
    MistakeFunction,
)
