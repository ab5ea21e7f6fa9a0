"""The helpers are built in floors, are light to import, and say what each public name does."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import helpers
import workshop

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "helpers"
WORKSHOP = sorted((ROOT / "workshop").glob("*.py"))
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
# Where an imported name differs from the name of what is installed.
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "markdown_it": "markdown-it-py",
    "mdit_py_plugins": "mdit-py-plugins",
}
# What comes with JupyterLab, seaborn, scikit-learn and ipywidgets whatever their version.
IMPLIED = {
    "IPython": "jupyterlab",
    "pandas": "seaborn",
    "scipy": "scikit-learn",
    "traitlets": "ipywidgets",
}
HEAVY = {
    "pandas",
    "seaborn",
    "sklearn",
    "matplotlib",
    "IPython",
    "tqdm",
    "scipy",
    "ipywidgets",
    "PIL",
}


def floors(text: str) -> dict[str, tuple[int, int]]:
    """Floor and place on it of each module, from the list in the docstring of the package."""
    lines = re.findall(r"^(\d)\. ([a-z_,\s]+)", text, re.MULTILINE)
    return {
        name.strip(): (int(floor), place)
        for floor, names in lines
        for place, name in enumerate(names.split(","))
    }


def part_of(path: Path) -> str:
    """The module or subpackage of helpers that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(source: str) -> set[str]:
    """Full names of the modules that a source imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = f"{'.' * node.level}{node.module or ''}"
            names |= {with_submodule(source, alias.name) for alias in node.names}
    return names


def with_submodule(module: str, name: str) -> str:
    """The full name of what is imported by name from a module, if that is a module too."""
    is_module = (ROOT / module.replace(".", "/") / f"{name}.py").is_file()
    return f"{module}.{name}" if is_module else module


def wrong_imports(
    name: str, source: str, table: dict[str, tuple[int, int]], package: str = "helpers"
) -> list[str]:
    """Imports in a package that are not from a lower floor, nor from further left on the same."""
    found = []
    for module in imported(source):
        if module.startswith("."):
            found.append(f"{name} imports {module}: write it out")
        elif module.split(".")[0] == package:
            other = module.partition(".")[2].split(".")[0]
            if other != name and table.get(other, (99, 0)) >= table[name]:
                found.append(f"{name} imports {module}")
    return found


def test_every_module_has_its_place_in_the_docstring():
    assert set(floors(helpers.__doc__)) == {part_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path):
    source = path.read_text(encoding="utf-8")
    assert not wrong_imports(part_of(path), source, floors(helpers.__doc__))


@pytest.mark.parametrize(
    "source",
    [
        "from helpers.models import A",
        "import helpers.models",
        "from helpers import A",
        "from .ground import A",
        "def f():\n    from helpers.neighbour import A",
    ],
)
def test_an_import_from_above_is_noticed(source):
    table = floors("0. ground, middle, neighbour: x\n1. models: y")
    assert wrong_imports("middle", source, table)
    assert not wrong_imports("middle", "from helpers.ground import A\nimport torch", table)
    assert not wrong_imports("models", "from helpers.neighbour import A", table)


def test_the_workshop_is_built_in_floors():
    table = floors(workshop.__doc__)
    modules = {path.stem: path for path in WORKSHOP if not path.stem.startswith("__")}
    assert set(table) == set(modules)
    for name, path in modules.items():
        source = path.read_text(encoding="utf-8")
        assert wrong_imports(name, source, table, "workshop") == []


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def packages_of(paths: list[Path]) -> set[str]:
    """Under which names the packages are declared that the files import."""
    names = {
        module.split(".")[0]
        for path in paths
        for module in imported(path.read_text(encoding="utf-8"))
    } - {"helpers", "workshop", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(name, IMPLIED.get(name, name)) for name in names}


def test_every_package_imported_is_declared():
    declared = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert packages_of([*MODULES, PACKAGE / "__init__.py"]) <= declared


def test_every_package_that_the_workshop_imports_is_declared():
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    assert packages_of(WORKSHOP) <= {Requirement(line).name for line in lines}


def test_importing_helpers_imports_nothing_heavy():
    """What torch itself brings along is allowed, so what is there is listed before and after."""
    show = "print(*{name.split('.')[0] for name in sys.modules})"
    code = f"import sys, torch; {show}; import helpers; {show}"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    torch_alone, with_helpers = (set(line.split()) for line in said.stdout.decode().splitlines())
    assert "helpers" in with_helpers
    assert not (with_helpers - torch_alone) & HEAVY


@pytest.mark.parametrize("name", sorted(HEAVY))
def test_the_heavy_packages_are_those_that_the_notebooks_have(name):
    """A misspelt name would never be found among the imported modules."""
    __import__(name)


# What is public ------------------------------------------------------------------------------


def sections(docstring: str) -> set[str]:
    return set(re.findall(r"^([A-Z][a-z ]+)\n-{3,}$", inspect.cleandoc(docstring), re.MULTILINE))


def undocumented(name: str, value: object) -> list[str]:
    """What the docstring of a public name does not say."""
    docstring = inspect.getdoc(value) or ""
    if not docstring:
        return [f"{name} has no docstring"]
    if not inspect.isfunction(value):
        return []
    signature = inspect.signature(value)
    found = []
    if signature.parameters and "Parameters" not in sections(docstring):
        found.append(f"{name} does not describe its parameters")
    if signature.return_annotation not in (None, "None") and "Returns" not in sections(docstring):
        found.append(f"{name} does not describe what it returns")
    described = set(re.findall(r"^\*{0,2}([\w, *]+?)(?: :.*)?$", docstring, re.MULTILINE))
    told = {word.strip(" *") for names in described for word in names.split(",")}
    return found + [f"{name} does not describe {p}" for p in signature.parameters if p not in told]


def test_the_public_names_are_those_that_can_be_listed():
    assert len(helpers.__all__) == len(set(helpers.__all__))
    assert set(helpers.__all__) <= set(dir(helpers))


def test_lazy_names_stand_alike_for_type_checkers_and_at_run_time():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        imported.module.removeprefix("helpers."): tuple(alias.name for alias in imported.names)
        for imported in block.body
    }
    assert seen == helpers._LAZY
    assert {name for names in seen.values() for name in names} <= set(helpers.__all__)


@pytest.mark.parametrize("name", ["two_correlated", "plot_ellipse"])
def test_a_lazy_name_is_looked_for_once(name):
    vars(helpers).pop(name, None)
    value = getattr(helpers, name)
    assert vars(helpers)[name] is value


def test_a_name_that_is_not_there_is_told():
    with pytest.raises(AttributeError, match=r"^module 'helpers' has no attribute 'plot_elipse'$"):
        helpers.plot_elipse  # noqa: B018


@pytest.mark.parametrize("name", helpers.__all__)
def test_a_public_name_exists_and_is_described(name):
    value = getattr(helpers, name)
    # A constant cannot carry a docstring.
    if inspect.isclass(value) or callable(value):
        assert not undocumented(name, value)


def test_a_missing_description_is_noticed():
    def bare(x):
        return x

    def partial(x: int, y: int) -> int:
        """Add.

        Parameters
        ----------
        x : int
        """
        return x + y

    def whole(x: int, *rest: int) -> int:
        """Add.

        Parameters
        ----------
        x : int
        *rest : int

        Returns
        -------
        int
        """
        return x + sum(rest)

    assert undocumented("bare", bare) == ["bare has no docstring"]
    assert undocumented("partial", partial) == [
        "partial does not describe what it returns",
        "partial does not describe y",
    ]
    assert undocumented("whole", whole) == []
