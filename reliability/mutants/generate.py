"""The mutants of a module: small changes of its source, each with a name that stays.

Left out by rule, since they change nothing that runs: annotations (``from __future__ import
annotations`` leaves them unread), imports, ``__all__``, the star before keyword-only parameters,
which is no product, and changes after which the compiler gives the same bytecode. A change that
does not compile is no mutant either. ``validate_args=False`` says that arguments were checked
before; without it they are checked twice, which takes time and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType

from cosmic_ray.ast import get_ast
from parso.tree import NodeOrLeaf

from reliability.mutants.codes import AT_IMPORT, changed_functions
from reliability.mutants.operators import cosmic_ray_mutants, own_edits

COMPOUND = ("if_stmt", "while_stmt", "for_stmt", "with_stmt", "try_stmt", "funcdef", "classdef")


@dataclass(frozen=True)
class Mutant:
    """A small change of a module.

    ``key`` names it as long as its line and its function keep their text. ``swapped`` is the path
    of the function whose code alone differs, empty where the change acts at the module's import.
    ``start`` and ``end`` are where the source changes, ``text`` is what stands there instead.
    """

    key: str
    module: str
    function: str
    operator: str
    before: str
    after: str
    lines: tuple[int, int]
    swapped: str
    start: int
    end: int
    text: str

    def mutated(self, source: str) -> str:
        """The source of the module with the change."""
        return source[: self.start] + self.text + source[self.end :]

    def as_dict(self) -> dict:
        return asdict(self)


def modules_of(helpers: Path) -> list[str]:
    """The paths of all modules below helpers/, as texts relative to it."""
    return sorted(path.relative_to(helpers).as_posix() for path in helpers.rglob("*.py"))


def mutants_of(source: str, module: str) -> list[Mutant]:
    """All mutants of a module's source, in the order of its lines.

    Parameters
    ----------
    source : str
    module : str
        The path of the module below helpers/.

    Returns
    -------
    list of Mutant
    """
    tree = get_ast(source)
    original = compile(source, module, "exec")
    seen, names, found = {source}, Counter(), []
    for node in _nodes(tree):
        for operator, code in _mutated_sources(tree, node, source):
            if code in seen:
                continue
            seen.add(code)
            mutated = _compiled(code, module)
            if mutated is None:
                continue
            changed = changed_functions(original, mutated)
            if changed:
                found.append(_mutant(node, operator, source, code, module, changed, names))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.operator, mutant.text))


def _mutated_sources(tree: NodeOrLeaf, node: NodeOrLeaf, source: str) -> Iterator[tuple[str, str]]:
    yield from cosmic_ray_mutants(tree, node)
    starts = _line_starts(source)
    for edit in own_edits(node):
        start = starts[edit.start[0] - 1] + edit.start[1]
        end = starts[edit.end[0] - 1] + edit.end[1]
        yield edit.operator, source[:start] + edit.text + source[end:]


def _line_starts(source: str) -> list[int]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def _nodes(node: NodeOrLeaf) -> Iterator[NodeOrLeaf]:
    """Every node in which a change could act."""
    for child in getattr(node, "children", ()):
        if not _never_runs(child):
            yield child
            yield from _nodes(child)


def _never_runs(node: NodeOrLeaf) -> bool:
    parent = node.parent
    if node.type in ("import_name", "import_from"):
        return True
    if node.type == "expr_stmt" and node.children[0].get_code().strip() == "__all__":
        return True
    if parent.type == "annassign":
        return node is parent.children[1]
    if parent.type == "tfpdef":
        return node is not parent.children[0]
    if node.type == "argument" and node.get_code(include_prefix=False) == "validate_args=False":
        return True
    if node.type == "operator" and parent.type in ("parameters", "lambdef"):
        return True
    return parent.type == "funcdef" and node is parent.annotation


def _compiled(code: str, module: str) -> CodeType | None:
    try:
        return compile(code, module, "exec")
    except (SyntaxError, ValueError):
        return None


def _mutant(
    node: NodeOrLeaf,
    operator: str,
    source: str,
    code: str,
    module: str,
    changed: set[str],
    names: Counter,
) -> Mutant:
    start, end, text = _difference(source, code)
    before, after = _around(source, start, end), _around(code, start, start + len(text))
    function = _function_of(node)
    line = (module, function, operator, before, after)
    names[line] += 1
    name = "\n".join([*line, str(names[line])])
    return Mutant(
        key=hashlib.sha256(name.encode()).hexdigest()[:12],
        module=module,
        function=function,
        operator=operator,
        before=before,
        after=after,
        lines=_lines_of(node),
        swapped=next(iter(changed)) if len(changed) == 1 else AT_IMPORT,
        start=start,
        end=end,
        text=text,
    )


def _difference(source: str, code: str) -> tuple[int, int, str]:
    """Where the source changes, and what stands there instead."""
    shortest = min(len(source), len(code))
    start = next((i for i in range(shortest) if source[i] != code[i]), shortest)
    same = 0
    while same < shortest - start and source[-1 - same] == code[-1 - same]:
        same += 1
    return start, len(source) - same, code[start : len(code) - same]


def _around(source: str, start: int, end: int) -> str:
    """The lines that a piece of source lies in, in one line."""
    first = source.rfind("\n", 0, start) + 1
    last = source.find("\n", end)
    return " ".join(source[first : last if last >= 0 else len(source)].split())


def _function_of(node: NodeOrLeaf) -> str:
    """The qualified name of the function or class around a node; empty at the top of a module."""
    names = []
    while node is not None:
        if node.type in ("funcdef", "classdef"):
            names.append(node.name.value)
        node = node.parent
    return ".".join(reversed(names))


def _lines_of(node: NodeOrLeaf) -> tuple[int, int]:
    """The first and last line of the statement, or of the head of the compound statement."""
    inner = node
    while node.parent is not None and node.type not in (*COMPOUND, "simple_stmt", "decorator"):
        inner, node = node, node.parent
    if node.type in COMPOUND:
        if inner is node:
            return node.start_pos[0], node.children[1].end_pos[0]
        return inner.start_pos[0], inner.end_pos[0]
    return node.start_pos[0], node.end_pos[0] - (node.end_pos[1] == 0)
