"""The API reference: pages for the public names of `helpers`, floor by floor.

The floors are read from the docstring of the package, the text from those of the names themselves.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

from docstrings import translate

import helpers

# Page and title of each floor that has public names.
FLOORS = {
    1: ("mathematics", "Mathematics"),
    2: ("parametrizations", "Parametrizations"),
    3: ("training", "Models and training"),
    4: ("distributed", "Many files and processes"),
    5: ("notebooks", "For the notebooks"),
    0: ("devices", "Devices and number formats"),
}


def modules() -> dict[int, list[str]]:
    """Modules of the package on each floor, from its docstring."""
    lines = re.findall(r"^(\d)\. ([a-z_,\s]+)", helpers.__doc__, re.MULTILINE)
    return {int(floor): [name.strip() for name in names.split(",")] for floor, names in lines}


def names_of() -> dict[str, list[str]]:
    """Public names by module: `"gaussian"` or `"plotting"`."""
    found: dict[str, list[str]] = {}
    for name in helpers.__all__:
        found.setdefault(_home(name).split(".")[1], []).append(name)
    return {module: sorted(names, key=str.lower) for module, names in found.items()}


def pages() -> dict[str, str]:
    """Text of the pages, by file name."""
    written = {f"{page}.rst": _page(floor) for floor, (page, _) in FLOORS.items()}
    return {"index.rst": _index(), **written}


def summary(value: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def _home(name: str) -> str:
    """Full name of the module that a public name comes from."""
    value = getattr(helpers, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__module__
    return f"helpers.{helpers._MODULE_OF[name]}"


def _is_constant(name: str) -> bool:
    value = getattr(helpers, name)
    return not (inspect.isclass(value) or inspect.isfunction(value))


def _definition(constant: str) -> str:
    """Full name of a constant where it is written, since its description stands there."""
    package = import_module(_home(constant))
    inside = [v for v in vars(package).values() if inspect.ismodule(v)]
    parts = [package, *(part for part in inside if part.__name__.startswith("helpers."))]
    homes = [part.__name__ for part in parts if f"\n{constant} = " in inspect.getsource(part)]
    return f"{homes[0]}.{constant}"


def _directive(name: str) -> str:
    if _is_constant(name):
        return f".. autodata:: {_definition(name)}\n   :no-value:\n"
    kind = "class" if inspect.isclass(getattr(helpers, name)) else "function"
    # What comes from our own bases is shown, what comes from torch and Python is not.
    members = "   :members:\n   :inherited-members: Module, tuple\n" if kind == "class" else ""
    return f".. auto{kind}:: helpers.{name}\n{members}"


def _heading(title: str, mark: str) -> str:
    return f"{title}\n{mark * len(title)}\n"


def _page(floor: int) -> str:
    parts = [_heading(FLOORS[floor][1], "=")]
    for module in modules()[floor]:
        if names := names_of().get(module):
            parts.append(_heading(f"``helpers.{module}``", "-"))
            parts.append(translate(summary(import_module(f"helpers.{module}"))) + "\n")
            parts += map(_directive, names)
    return "\n".join(parts)


def _entry(name: str) -> str:
    if _is_constant(name):
        return f"``{name}``\n   {_constants_summary(name)}\n"
    return f":py:obj:`~helpers.{name}`\n   {translate(summary(getattr(helpers, name)))}\n"


def _constants_summary(name: str) -> str:
    module, _, short = _definition(name).rpartition(".")
    source = inspect.getsource(import_module(module))
    text = re.search(rf'^{short} = .*?\n"""(.*?)"""', source, re.DOTALL | re.MULTILINE)
    return " ".join(text[1].split()) if text else ""


def _index() -> str:
    parts = [
        _heading("The helpers", "="),
        "The code that the notebooks share. Every name below comes from the package itself,\n"
        "whatever module it is written in::\n\n"
        "   from helpers import GaussianLikelihood, fit\n",
    ]
    for floor, (page, title) in FLOORS.items():
        parts.append(_heading(f":doc:`{title} <{page}>`", "-"))
        parts.append(".. rst-class:: names\n")
        listed = [name for module in modules()[floor] for name in names_of().get(module, [])]
        parts.append("".join(map(_entry, listed)))
    return "\n".join(parts)
