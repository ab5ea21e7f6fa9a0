"""What a copy carries over from the cells that it leaves out: enough, in order, and no more."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workshop.anatomy import course_notebooks, read_notebook
from workshop.carry import carried, undefined_names


def carried_from(*left_out: str, kept: str, before: str = "") -> str:
    """What is carried of the cells between a first one and a last one."""
    cells = [new_code_cell(source) for source in (before, *left_out, kept)]
    found = carried(new_notebook(cells=cells), range(1, len(left_out) + 1))
    return "\n".join(found.values())


def test_nothing_is_carried_that_is_not_needed():
    assert carried_from("a = 1\nprint(a)", kept="b = 2") == ""


def test_a_value_is_carried_with_all_it_is_made_of():
    left_out = "a = 1\nc = 9\nb = a + 1  # why\nprint(b)\nassert b == 2"
    assert carried_from(left_out, kept="print(b)") == "a = 1\nb = a + 1  # why"


def test_only_the_names_of_an_import_that_are_needed_are_carried():
    left_out = "import os, re\nfrom math import cos, pi, sin\nfrom math import tau as turn"
    kept = "print(pi, sin(1), turn, re)"
    assert carried_from(left_out, kept=kept) == "from math import pi, sin, tau as turn\nimport re"


def test_a_function_is_carried_with_what_it_calls_and_its_decorator():
    left_out = (
        "from functools import cache\nfactor = 2\nunused = 3\n\n\n"
        "@cache\ndef double(x):\n    return factor * x\n\n\ny = double(1)"
    )
    source = carried_from(left_out, kept="def quadruple(x):\n    return double(double(x))")
    # Nothing calls it in the notebook, but a learner may.
    assert "@cache\ndef double(x):" in source
    source = carried_from(left_out, kept="print(double(2))")
    assert "factor = 2" in source
    assert "from functools import cache" in source
    assert "unused" not in source
    assert "y = double(1)" not in source


def test_a_global_of_a_function_has_the_value_of_its_call():
    """The function is kept, and the value it looks up was last changed in a left-out cell."""
    before = "rate = 1\ndef step():\n    return rate"
    assert carried_from("rate = 2", before=before, kept="print(step())") == "rate = 2"


def test_the_last_definition_before_the_use_counts():
    assert carried_from("a = 1", "a = 2", kept="print(a)") == "a = 2"
    assert carried_from("a = 1", kept="a = 2\nprint(a)") == ""
    assert carried_from("a = 1", before="a = 0", kept="print(a)") == "a = 1"


@pytest.mark.parametrize(
    "change",
    [
        "path.append(1)",
        "path[0] = 1",
        "path += [1]",
        "path.x = 1",
        "y = path.copy_(1)",
        "for i in range(3):\n    path.append(i)",
        "def grow(p, n):\n    p.append(n)\n\ngrow(path, 3)",
        "def grow(n, p):\n    q = p.x\n    q.step()\n\ngrow(p=path, n=3)",
        "from helpers import fit\nhistory = fit(path, 3)",
        "other = make(path)\nother.step()",
    ],
)
def test_what_changes_a_value_in_place_is_carried(change):
    source = carried_from(f"path = [0]\n{change}", kept="print(path)")
    assert source.endswith(change.split("\n")[-1].strip())


@pytest.mark.parametrize("use", ["print(path)", "show(path)", "y = len(path)", "assert path"])
def test_what_only_looks_at_a_value_is_not_carried(use):
    assert carried_from(f"path = [0]\n{use}", kept="print(path)") == "path = [0]"


def test_a_definition_that_may_not_happen_keeps_the_one_before():
    left_out = "a = 1\nif given:\n    a = 3"
    assert carried_from(left_out, before="given = input()", kept="print(a)") == left_out


def test_names_of_loops_and_comprehensions_are_their_own():
    left_out = "i = 5\nx = [i for i in range(3)]\nfor k in x:\n    j = k"
    assert carried_from(left_out, kept="print(x)") == "x = [i for i in range(3)]"
    assert carried_from("i = 5", kept="for i in range(3):\n    print(i)") == ""


def test_random_numbers_are_carried_with_their_seed():
    left_out = "torch.manual_seed(1)\na = torch.randn(2)\nb = torch.randn(2)\nprint(a)"
    source = carried_from(left_out, before="import torch", kept="print(b)")
    assert source == "torch.manual_seed(1)\na = torch.randn(2)\nb = torch.randn(2)"


def test_draws_with_their_own_generator_need_no_seed():
    left_out = "torch.manual_seed(1)\ng = torch.Generator()\nb = torch.randn(2, generator=g)"
    source = carried_from(left_out, before="import torch", kept="print(b)")
    assert source == "g = torch.Generator()\nb = torch.randn(2, generator=g)"


def test_a_seed_set_in_a_function_counts():
    left_out = "def draw():\n    torch.manual_seed(1)\n    return torch.rand(1)\n\na = draw()"
    kept = "b = torch.rand(1)"
    assert "a = draw()" in carried_from(left_out, before="import torch", kept=kept)


def test_carried_code_gives_kept_code_the_same_values():
    """A notebook planted with all of it, run whole and run cut."""
    left_out = (
        "from math import sqrt\nscale = 2\npath = []\n\n\n"
        "def walk(path, n):\n    for i in range(n):\n        path.append(sqrt(i) * scale)\n\n\n"
        "walk(path, 3)\nscale = 5\nwaste = 1 / 1\npair = {'a': path}",
    )
    kept = "result = [pair['a'], scale]\nbefore = []\nwalk(before, 2)"
    source = carried_from(*left_out, kept=kept)
    whole, cut = {}, {}
    exec(left_out[0] + "\n" + kept, whole)
    exec(source + "\n" + kept, cut)
    assert (cut["result"], cut["before"]) == (whole["result"], whole["before"])
    assert "waste" not in cut


def test_a_cell_that_is_not_python_is_refused():
    with pytest.raises(ValueError, match="notebook: expected Python in cell 1"):
        carried_from("a = = 1", kept="print(a)")


# Names that nothing defines --------------------------------------------------------------------


@pytest.mark.parametrize("path", course_notebooks(), ids=lambda path: path.stem)
def test_the_notebooks_use_no_undefined_name(path):
    assert undefined_names(read_notebook(path)) == []


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["print(a)", "a = 1"], ["a"]),
        (["def f():\n    return a", "a = 1", "f()"], []),
        (["def f():\n    return a", "f()"], ["a"]),
        (["x = [a for b in range(3)]"], ["a"]),
        (["class A:\n    b = 1\n\n    def f(self):\n        return super().f(), __name__"], []),
        (["try:\n    pass\nexcept ValueError as error:\n    print(error)"], []),
        (["with open('x') as file:\n    a = file\nprint(a)"], []),
        (["f = lambda x: x + y"], ["y"]),
        (["a += 1"], ["a"]),
        (["if len('a'):\n    a = 1\nelse:\n    print(a)"], ["a"]),
    ],
)
def test_an_undefined_name_is_found(sources, names):
    cells = [new_markdown_cell("text"), *map(new_code_cell, sources)]
    assert undefined_names(new_notebook(cells=cells)) == names
