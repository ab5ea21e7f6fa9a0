"""What kept cells need from those that are left out: imports, functions and values.

A statement at the top level of a cell is followed back to the statements that give it its names, to
those that change what these names hold, and to the seed of its random numbers. The answer errs on
the side of too much: a statement that may matter is carried.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from nbformat import NotebookNode

from workshop.anatomy import is_code

RANDOM = "<random numbers>"  # the state of torch's generator, treated as a name
SEEDS = {"manual_seed"}
DRAWS = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "normal", "bernoulli"}
DRAWS |= {"multinomial", "sample", "rsample"}
# Methods that change what their object was made from, as an optimiser its parameters.
REACHES_FURTHER = {"step", "backward", "zero_grad"}


@dataclass
class Statement:
    """One statement at the top level of a cell.

    Attributes
    ----------
    cell : int
        Place of its cell in the notebook.
    node : ast.stmt
    source : str
        As it stands in the cell.
    binds, loads, late, changes : set of str
        Names it gives a value; names it needs when it runs; names its functions need when they are
        called; names whose value it may change in place.
    """

    cell: int
    node: ast.stmt
    source: str
    binds: set[str]
    loads: set[str]
    late: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)

    @property
    def may_not_bind(self) -> bool:
        """Whether it can leave its names as they were, as a loop over nothing does."""
        return isinstance(self.node, (ast.If, ast.For, ast.While, ast.Try, ast.AugAssign))

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, (ast.Import, ast.ImportFrom))


def carried(notebook: NotebookNode, left_out: Sequence[int]) -> dict[int, str]:
    """Source that kept cells need from cells that are left out.

    Parameters
    ----------
    notebook : NotebookNode
    left_out : sequence of int
        Places in the notebook of the cells that are left out.

    Returns
    -------
    dict of int to str
        By the place of the cell it comes from; cells of which nothing is needed have no entry.

    Raises
    ------
    ValueError
        If a cell cannot be parsed.
    """
    statements = read_statements(notebook)
    needed = _Needs(statements, set(left_out)).follow()
    by_cell: dict[int, list[Statement]] = {}
    for place in sorted(needed):
        by_cell.setdefault(statements[place].cell, []).append(statements[place])
    return {cell: _written(found) for cell, found in by_cell.items()}


def undefined_names(notebook: NotebookNode) -> list[str]:
    """Names that a cell needs and none before it defines; empty for a sound notebook."""
    known = {*dir(builtins), "get_ipython", RANDOM}
    statements = read_statements(notebook)
    everywhere = known.union(*(statement.binds for statement in statements))
    found = []
    for statement in statements:
        found += sorted((statement.loads - known) | (statement.late - everywhere))
        known |= statement.binds
    return found


def read_statements(notebook: NotebookNode) -> list[Statement]:
    """The statements of all code cells, in order; an import of two names makes two statements."""
    code = ((place, cell.source) for place, cell in enumerate(notebook.cells) if is_code(cell))
    return list(_statements_of_all(tuple(code)))


@lru_cache(maxsize=16)  # a notebook is asked again for each of its copies
def _statements_of_all(code: tuple[tuple[int, str], ...]) -> tuple[Statement, ...]:
    """The statements of code cells, given by their places and sources."""
    statements = [found for place, source in code for found in _statements_of(source, place)]
    _note_changes(statements)
    return tuple(statements)


def _statements_of(source: str, place: int) -> Iterator[Statement]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"notebook: expected Python in cell {place}, got {error}") from error
    lines = source.splitlines()
    for node in tree.body:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        text = "\n".join(lines[first - 1 : node.end_lineno])
        for piece in _single_imports(node):
            yield _statement(place, piece, text)


def _single_imports(node: ast.stmt) -> list[ast.stmt]:
    if isinstance(node, ast.ImportFrom):
        return [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
    if isinstance(node, ast.Import):
        return [ast.Import([alias]) for alias in node.names]
    return [node]


def _statement(place: int, node: ast.stmt, text: str) -> Statement:
    is_import = isinstance(node, (ast.Import, ast.ImportFrom))
    table = symtable.symtable(ast.unparse(node) if is_import else text, "cell", "exec")
    binds = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    uses = _Uses()
    uses.visit(node)
    return Statement(place, node, text, binds, uses.now, uses.late)


class _Uses(ast.NodeVisitor):
    """Names that a statement needs from before it, in the order in which Python evaluates it."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.now: set[str] = set()
        self.late: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.now |= {node.id} - self.bound
        else:
            self.bound.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._visit_all([node.value, *node.targets])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.now |= set(_root(node.target)) - self.bound
        self._visit_all([node.value, node.target])

    def visit_For(self, node: ast.For) -> None:
        self._visit_all([node.iter, node.target, *node.body, *node.orelse])

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        before = set(self.bound)
        self._visit_all(node.body)
        after_body, self.bound = self.bound, before
        self._visit_all(node.orelse)
        self.bound &= after_body

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.bound |= {node.name} - {None}
        self.generic_visit(node)

    def _visit_comprehension(self, node: ast.expr) -> None:
        before = set(self.bound)
        for generator in node.generators:
            self._visit_all([generator.iter, generator.target, *generator.ifs])
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._visit_all(results)
        self.bound = before

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
        self.late |= _names_in_functions(ast.unparse(node)) - self.bound

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        self._visit_all([*node.decorator_list, *defaults])
        self.late |= _names_in_functions(ast.unparse(node))
        self.bound.add(node.name)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases])
        before = set(self.bound)
        self._visit_all(node.body)
        self.bound = before | {node.name}

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)


def _names_in_functions(source: str) -> set[str]:
    """Global names that functions in a source need when they are called."""

    def inside(table: symtable.SymbolTable) -> set[str]:
        own = {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        own -= {"__class__"}
        return own.union(*map(inside, table.get_children()))

    table = symtable.symtable(source, "cell", "exec")
    return set().union(*map(inside, table.get_children()))


# What a statement changes ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Effect:
    """Which of its parameters a function may change."""

    parameters: tuple[str, ...]
    changed: frozenset[str]

    def on(self, call: ast.Call) -> Iterator[str]:
        """The names in a call whose values may change."""
        named = [(keyword.arg, keyword.value) for keyword in call.keywords]
        for parameter, value in [*zip(self.parameters, call.args, strict=False), *named]:
            if parameter in self.changed:
                yield from _names([value])


# The functions of the course that change what they are given.
HELPERS = {"fit": _Effect(("model",), frozenset({"model", "optimizer"}))}


def _note_changes(statements: list[Statement]) -> None:
    """Fill in what each statement changes, and its dealings with random numbers."""
    imports = {name for s in statements if s.is_import for name in s.binds}
    effects, seeding, drawing = dict(HELPERS), set(SEEDS), set(DRAWS)
    made_from: dict[str, set[str]] = {}
    for statement in statements:
        node = statement.node
        seeds = _calls(node, seeding)
        draws = not seeds and _calls(node, drawing)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            seeding |= {node.name} if seeds else set()
            drawing |= {node.name} if draws else set()
            if isinstance(node, ast.FunctionDef):
                effects[node.name] = _effect_of(node, effects)
            continue
        changed, through = _changed(node, effects)
        statement.changes = (changed | _with_origins(through, made_from)) - imports
        if seeds:
            statement.binds.add(RANDOM)
        elif draws:
            statement.loads.add(RANDOM)
            statement.changes.add(RANDOM)
        made_from |= _origins(node)


def _with_origins(names: set[str], made_from: dict[str, set[str]]) -> set[str]:
    """With what each was made from, since it may change too, as parameters by their optimiser."""
    found: set[str] = set()
    while names - found:
        found |= names
        names = names.union(*(made_from.get(name, ()) for name in names))
    return found


def _effect_of(function: ast.FunctionDef, effects: dict[str, _Effect]) -> _Effect:
    """Which parameters a function may change, directly or through what it makes of them."""
    changed, through = _changed(function, effects)
    found = changed | _with_origins(through, _origins(function))
    arguments = function.args
    ordered = [a.arg for a in [*arguments.posonlyargs, *arguments.args]]
    every = {*ordered, *(a.arg for a in arguments.kwonlyargs)}
    return _Effect(tuple(ordered), frozenset(found & every))


def _origins(node: ast.AST) -> dict[str, set[str]]:
    """The names from which each name is made that a statement or function binds."""
    made_from: dict[str, set[str]] = {}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign):
            source, targets = inner.value, inner.targets
        elif isinstance(inner, ast.For):
            source, targets = inner.iter, [inner.target]
        elif isinstance(inner, ast.withitem) and inner.optional_vars:
            source, targets = inner.context_expr, [inner.optional_vars]
        else:
            continue
        for name in _names(targets):
            made_from.setdefault(name, set()).update(_names([source]))
    return made_from


def _calls(node: ast.stmt, names: set[str]) -> bool:
    """Whether the statement calls one of them without a generator of its own."""
    return any(
        isinstance(inner, ast.Call)
        and _called(inner) in names
        and not any(keyword.arg == "generator" for keyword in inner.keywords)
        for inner in ast.walk(node)
    )


def _called(call: ast.Call) -> str:
    """The last part of the name that is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _changed(node: ast.stmt, effects: dict[str, _Effect]) -> tuple[set[str], set[str]]:
    """Names whose values a statement may change in place; and through which it changes others."""
    found: set[str] = set()
    through: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Attribute, ast.Subscript)) and isinstance(inner.ctx, ast.Store):
            found |= set(_root(inner))
        if isinstance(inner, ast.Expr) and _is_method_call(inner.value):
            # Whoever drops a result wants its effect.
            roots = set(_root(inner.value.func))
            found |= roots
            through |= roots if inner.value.func.attr in REACHES_FURTHER else set()
        if _is_method_call(inner) and re.fullmatch(r"[a-z]\w*_", inner.func.attr):
            found |= set(_root(inner.func))
        if isinstance(inner, ast.Call) and _called(inner) in effects:
            found |= set(effects[_called(inner)].on(inner))
    return found, through


def _is_method_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)


def _root(node: ast.expr) -> Iterator[str]:
    """The name in which a chain of attributes, indices and calls begins."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id


def _names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        yield from (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))


# What a statement needs ------------------------------------------------------------------------


class _Needs:
    """Follows names back from the kept statements to those in cells that are left out."""

    def __init__(self, statements: list[Statement], left_out: set[int]):
        self.statements = statements
        self.is_left_out = [statement.cell in left_out for statement in statements]
        self.needed: set[int] = set()
        self.waiting: list[tuple[str, int]] = []
        self.seen: set[tuple[str, int]] = set()

    def follow(self) -> set[int]:
        """Places of the left-out statements that are needed."""
        kept = [place for place, left_out in enumerate(self.is_left_out) if not left_out]
        bound = set().union(*(self.statements[place].binds for place in kept))
        for place in kept:
            self._ask_for(self.statements[place], place)
            # A function that no cell calls may be called by a learner.
            for name in self.statements[place].late - bound:
                self._ask(name, len(self.statements))
        while self.waiting:
            self._find(*self.waiting.pop())
        return self.needed

    def _ask_for(self, statement: Statement, place: int) -> None:
        names = statement.loads | (statement.changes & {RANDOM})
        if not isinstance(statement.node, (ast.FunctionDef, ast.ClassDef)):
            names |= statement.late
        for name in names:
            self._ask(name, place)

    def _ask(self, name: str, place: int) -> None:
        if (name, place) not in self.seen:
            self.seen.add((name, place))
            self.waiting.append((name, place))

    def _find(self, name: str, place: int) -> None:
        """Take the statements before `place` that give the name its value there."""
        for before in range(place - 1, -1, -1):
            statement = self.statements[before]
            if name in statement.changes:
                self._take(before)
            if name in statement.binds:
                self._take(before)
                # Functions look their names up when they are called.
                for late in statement.late:
                    self._ask(late, place)
                if not statement.may_not_bind:
                    return

    def _take(self, place: int) -> None:
        if self.is_left_out[place] and place not in self.needed:
            self.needed.add(place)
            self._ask_for(self.statements[place], place)


def _written(statements: list[Statement]) -> str:
    """The statements as source, with the names of one import together."""
    imports: dict[tuple[str | None, int], list[ast.alias]] = {}
    blocks: list[str] = []
    for statement in statements:
        node = statement.node
        if isinstance(node, ast.ImportFrom):
            imports.setdefault((node.module, node.level), []).extend(node.names)
        elif isinstance(node, ast.Import):
            blocks.append(ast.unparse(node))
        else:
            is_function = isinstance(node, (ast.FunctionDef, ast.ClassDef))
            blocks.append(f"\n{statement.source}\n" if is_function else statement.source)
    first = [
        ast.unparse(ast.ImportFrom(module, names, level))
        for (module, level), names in imports.items()
    ]
    return "\n".join(first + blocks).strip()
