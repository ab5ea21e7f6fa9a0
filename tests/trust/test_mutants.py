"""A sample of the mutants dies, and the list of those that survive is about mutants there are.

`make mutants` tries all of them. Here a few of each module of the mathematics are tried, always
the same as long as their lines stay as they are.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="make mutants installs what makes the mutants")

from reliability.mutants import judge, workers
from reliability.mutants.generate import Mutant, modules_of, mutants_of
from reliability.mutants.suite import MATHEMATICS
from reliability.mutants.summary import explained, name_of, stale

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "helpers"
OF_EACH_MODULE = 3
# The tests of the mathematics; the others take long, and see little of it.
OTHERS = ("test_crossover.py", "test_datasets.py")


def source_of(module: str) -> str:
    return (HELPERS / module).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mutants() -> list[Mutant]:
    listed = {entry["module"] for entry in explained()}
    modules = [name for name in modules_of(HELPERS) if name in {*MATHEMATICS, *listed}]
    return [one for name in modules for one in mutants_of(source_of(name), name)]


def test_no_survivor_is_listed_that_is_no_more(mutants):
    assert stale(explained(), mutants) == []


def test_every_survivor_has_a_reason():
    for entry in explained():
        assert entry["reason"].endswith("."), entry
        assert len(entry["reason"].split()) > 3, entry


def sample(mutants: list[Mutant]) -> list[Mutant]:
    """Some mutants of each module, by their keys, which move with nothing but their own lines."""
    spared = set(map(name_of, explained()))
    tried = [one for one in mutants if one.swapped and name_of(one) not in spared]
    return [
        one
        for module in MATHEMATICS
        for one in sorted(
            (each for each in tried if each.module == module), key=lambda each: each.key
        )[:OF_EACH_MODULE]
    ]


def test_a_sample_of_the_mutants_is_killed_by_the_tests(mutants, tmp_path):
    copy = workers.copy_checkout(tmp_path / "a copy with spaces")
    files = [f"tests/test_{Path(module).stem}.py" for module in MATHEMATICS]
    files = [name for name in files if (copy / name).exists()]
    asked = workers.Judge("swap", copy, files)
    alive = []
    for mutant in sample(mutants):
        # Those of structured_fit.py are among those of structured.py.
        own = [name for name in files if name[len("tests/test_") : -3] in mutant.module]
        order = dict.fromkeys([*own, *files], judge.UNKNOWN)
        answer = asked.ask(mutant, source_of(mutant.module), order)
        if answer["outcome"] not in (judge.KILLED, judge.TIMEOUT):
            alive.append((mutant.module, mutant.function, mutant.before, mutant.after))
    asked.stop()
    assert not alive
