"""The runner of the mutants makes the right ones, and tells what dies from what lives."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="make mutants installs what makes the mutants")

from reliability.mutants import contexts, judge, summary, workers
from reliability.mutants.codes import AT_IMPORT, changed_functions
from reliability.mutants.generate import Mutant, mutants_of
from reliability.mutants.run import Results, is_settled, source_digest, stages_of
from reliability.mutants.suite import IGNORED
from reliability.mutants.summary import Summary, entry_text, explained, name_of, stale

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")
SOURCE = '''"""A module."""

from __future__ import annotations

import math

__all__ = ["count" + "", "half"]
LIMIT: int | None = 3
TABLE = [lambda x: x + 1, lambda x: x + 2]


def half(x: float | None, *, up: bool = False) -> float:
    """Half of x."""
    if up and x in (1, 2):
        return math.ceil(x / 2)
    return x / 2


def count(text: str) -> int:
    """The words of a text."""
    number = 0
    while number < len(text.split()):
        number += 1
    return number


def cached(x: float) -> float:
    """The same, sooner."""
    if x == 0:
        return 0.0
    return x * 1.0


class Pair:
    """Two."""

    @property
    def first(self) -> int:
        return self.both[0]


def maker(y: int):
    """A function that adds."""

    def made(x: int) -> int:
        return x + y

    return made


MADE_AT_IMPORT = maker(2)
'''
TESTS = """
import subprocess, sys

import pytest

from helpers.small import LIMIT, MADE_AT_IMPORT, TABLE, cached, count, half


def test_half():
    assert half(3) == 1.5
    assert half(3, up=True) == 1.5


def test_count():
    assert count("a b c") == 3


def test_limit():
    assert LIMIT == 3


def test_table():
    assert [f(0) for f in TABLE] == [1, 2]


def test_made():
    assert MADE_AT_IMPORT(3) == 5


def test_cached():
    assert cached(0) == 0
    assert cached(2.0) == 2.0


def test_elsewhere():
    code = "from helpers.small import half; print(half(1, up=True))"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout == "1\\n"
"""


@pytest.fixture(scope="module")
def mutants() -> list[Mutant]:
    return mutants_of(SOURCE, "small.py")


def find(mutants: list[Mutant], before: str, after: str) -> Mutant:
    (found,) = [one for one in mutants if (one.before, one.after) == (before, after)]
    return found


@pytest.mark.parametrize(
    ("before", "after", "operator"),
    [
        ("return x / 2", "return x * 2", "ReplaceBinaryOperator_Div_Mul"),
        ("return x / 2", "return x / 3", "NumberReplacer"),
        ("if up and x in (1, 2):", "if up or x in (1, 2):", "ReplaceAndWithOr"),
        ("if up and x in (1, 2):", "if up and x not in (1, 2):", "TurnMembership"),
        ("return math.ceil(x / 2)", "return math.floor(x / 2)", "MistakeFunction"),
        ("number += 1", "pass", "RemoveStatement"),
        ("while number < len(text.split()):", "while number < len(text):", "RemoveCall"),
        ("LIMIT: int | None = 3", "LIMIT: int | None = 4", "NumberReplacer"),
        ("@property def first(self) -> int:", "def first(self) -> int:", "RemoveDecorator"),
    ],
)
def test_the_mutants_are_those_one_would_make(mutants, before, after, operator):
    assert operator in {
        one.operator for one in mutants if (one.before, one.after.strip()) == (before, after)
    }


@pytest.mark.parametrize("text", ["a @ b", "f(x, dim=1)", "f(dim=1, y=2)", "f(dim=1)", "x.mT @ y"])
def test_our_own_operators_make_python(text):
    source = f"def g(a, b, f, x, y):\n    return {text}\n"
    after = {one.after for one in mutants_of(source, "small.py")}
    expected = {
        "a @ b": {"return b @ a"},
        "f(x, dim=1)": {"return f(x)"},
        "f(dim=1, y=2)": {"return f( y=2)", "return f(dim=1)"},
        "f(dim=1)": {"return f()"},
        "x.mT @ y": {"return x @ y", "return y @ x.mT"},
    }[text]
    assert expected <= after


def test_what_never_runs_is_not_changed(mutants):
    before_all = {one.before for one in mutants}
    assert not [line for line in before_all if "__all__" in line or "import" in line]
    assert not [one for one in mutants if "|" in one.before and one.operator.endswith("BitAnd")]
    assert not [one for one in mutants if "/, up" in one.after]
    assert not mutants_of("def f(g):\n    return g(validate_args=False)\n", "small.py")
    assert mutants_of("def f(g, *, validate_args=False):\n    return g(y=1)\n", "small.py")


def test_every_mutant_compiles_has_its_own_name_and_comes_back_by_its_edit(mutants):
    assert len({one.key for one in mutants}) == len(mutants) > 30
    for one in mutants:
        compile(one.mutated(SOURCE), "small.py", "exec")
        assert one.mutated(SOURCE) != SOURCE


def test_a_mutant_keeps_its_name_when_lines_above_it_change(mutants):
    moved = mutants_of(SOURCE.replace("LIMIT", "# new\nLIMIT"), "small.py")
    assert {one.key for one in mutants} == {one.key for one in moved}
    numbers = {one.key: one.lines[0] for one in moved}
    assert any(numbers[one.key] == one.lines[0] + 1 for one in mutants)


def test_what_acts_at_import_is_told_from_what_acts_in_a_function(mutants):
    by_line = {one.before: one.swapped for one in mutants}
    assert by_line["LIMIT: int | None = 3"] == AT_IMPORT
    assert by_line["def half(x: float | None, *, up: bool = False) -> float:"] == AT_IMPORT
    assert by_line["return x / 2"] == "/half"
    assert by_line["return self.both[0]"] == "/Pair/first"
    assert by_line["TABLE = [lambda x: x + 1, lambda x: x + 2]"].startswith("/<lambda>")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A small checkout."""
    folder = tmp_path_factory.mktemp("judged") / "a copy with spaces"
    for name, text in {
        "helpers/__init__.py": "",
        "helpers/small.py": SOURCE,
        "tests/test_small.py": TESTS,
        "pyproject.toml": "[tool.pytest.ini_options]\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    # The judge is this checkout's own.
    (folder / "reliability").symlink_to(workers.ROOT / "reliability")
    return folder


@pytest.fixture(scope="module", params=["swap", "fresh"])
def asked(request, copy):
    judging = workers.Judge(request.param, copy, ["tests/test_small.py"])
    yield judging
    judging.stop()


HALF, COUNT, LIMIT, TABLE, MADE, CACHED, ELSEWHERE = (
    f"tests/test_small.py::test_{name}"
    for name in ("half", "count", "limit", "table", "made", "cached", "elsewhere")
)
QUICK = dict.fromkeys([HALF, COUNT, LIMIT, TABLE, MADE, CACHED], 0.01)


def test_the_judge_tells_killed_from_surviving_and_from_endless(mutants, asked, monkeypatch):
    if asked.how == "swap":
        assert asked.control(QUICK)["outcome"] == judge.SURVIVED
    wrong = find(mutants, "return x / 2", "return x * 2")
    assert asked.ask(wrong, SOURCE, QUICK) == {"outcome": judge.KILLED, "by": HALF}
    same = find(mutants, "return x * 1.0", "return x / 1.0")
    assert asked.ask(same, SOURCE, QUICK)["outcome"] == judge.SURVIVED
    line = "TABLE = [lambda x: x + 1, lambda x: x + 2]"
    second = find(mutants, line, "TABLE = [lambda x: x + 1, lambda x: x + 3]")
    assert asked.ask(second, SOURCE, QUICK) == {"outcome": judge.KILLED, "by": TABLE}
    inner = find(mutants, "return x + y", "return x - y")
    assert asked.ask(inner, SOURCE, QUICK) == {"outcome": judge.KILLED, "by": MADE}
    endless = find(mutants, "number += 1", "pass")
    assert asked.ask(endless, SOURCE, QUICK) == {"outcome": judge.TIMEOUT, "by": COUNT}
    # What was tried before leaves no trace.
    assert asked.ask(same, SOURCE, QUICK)["outcome"] == judge.SURVIVED


def test_only_an_import_shows_what_acts_at_import(mutants, asked):
    change = find(mutants, "LIMIT: int | None = 3", "LIMIT: int | None = 4")
    answer = asked.ask(change, SOURCE, QUICK)
    expected = {"swap": (judge.IMPOSSIBLE, ""), "fresh": (judge.KILLED, LIMIT)}[asked.how]
    assert (answer["outcome"], answer["by"]) == expected


def test_a_process_that_a_test_starts_sees_what_is_planted(mutants, asked):
    change = find(mutants, "return math.ceil(x / 2)", "return math.floor(x / 2)")
    outcome = asked.ask(change, SOURCE, {ELSEWHERE: 1.0})["outcome"]
    assert outcome == {"swap": judge.SURVIVED, "fresh": judge.KILLED}[asked.how]


def test_the_lines_of_each_test_are_known(copy, tmp_path):
    workers.run_with_contexts(copy, ["tests/test_small.py"], tmp_path)
    found = contexts.read(tmp_path, copy / "helpers")
    line = SOURCE.splitlines().index("        return math.ceil(x / 2)") + 1

    lines = contexts.by_line(found)

    def hit(place: str) -> set[str]:
        return contexts.covering(lines, "small.py", (line, line), [place])

    assert hit("here") == set()
    assert hit("elsewhere") == {ELSEWHERE}
    count = SOURCE.splitlines().index("        number += 1") + 1
    assert contexts.covering(lines, "small.py", (count, count), ["here"]) == {COUNT}


def test_results_are_kept_and_those_of_a_changed_function_are_not(mutants, tmp_path):
    results = Results(tmp_path / "results.jsonl")
    results.add({"key": "a", "tests": judge.SURVIVED})
    results.add({"key": "a", "tests": judge.KILLED})
    assert Results(tmp_path / "results.jsonl").known == {"a": {"key": "a", "tests": judge.KILLED}}
    one = find(mutants, "number += 1", "pass")
    elsewhere = SOURCE.replace("x * 1.0", "x * 1.00")
    inside = SOURCE.replace("number = 0", "number = -0")
    assert source_digest(one, SOURCE) == source_digest(one, elsewhere)
    assert source_digest(one, SOURCE) != source_digest(one, inside)


def test_a_comprehension_of_a_module_acts_at_import():
    one, other = (
        compile(f"X = {{k: k + {n} for k in (1, 2)}}\ndef f():\n    return X", "x", "exec")
        for n in (1, 2)
    )
    assert changed_functions(one, other) == {AT_IMPORT}


def test_a_survivor_is_settled_only_after_the_notebooks():
    stages = ("tests", "nbval")
    assert is_settled({"tests": judge.KILLED}, stages)
    assert not is_settled({}, stages)
    assert not is_settled({"tests": judge.SURVIVED}, stages)
    assert is_settled({"tests": judge.SURVIVED}, ["tests"])
    assert is_settled({"tests": judge.SURVIVED, "nbval": judge.SURVIVED}, stages)


def test_the_notebooks_are_not_asked_about_what_changes_nothing(mutants):
    one, other = mutants[:2]
    excused = {name_of(one)}
    assert stages_of(one, ("tests", "nbval"), excused) == ("tests",)
    assert stages_of(other, ("tests", "nbval"), excused) == ("tests", "nbval")
    assert stages_of(one, ("nbval",), excused) == ("nbval",)  # of a sample they are


def test_the_rate_is_of_those_that_change_behaviour(mutants, tmp_path, monkeypatch):
    five = mutants[:5]
    outcomes = [("killed",), ("timeout",), ("survived", "killed"), ("survived", "survived")] * 2
    results = {
        one.key: dict(zip(("tests", "nbval", "notebook"), [*told, "01.ipynb"], strict=False))
        for one, told in zip(five, [*outcomes[:4], outcomes[3]], strict=True)
    }
    listed = {name: getattr(five[3], name) for name in summary.FIELDS}
    path = tmp_path / "survivors.toml"
    path.write_text(
        entry_text({**listed, "kind": "equivalent", "reason": 'It is "the" same.'}), "utf-8"
    )
    entries = explained(path)
    monkeypatch.setattr(summary, "explained", lambda: entries)
    told = Summary(five, results)
    assert told.rows()[-1] == ["all", 5, 2, 1, 1, 1, 75.0]
    assert told.unlisted == [five[4]]
    assert told.record({}, "make mutants")["tables"]["only_nbval"]["rows"][0][-1] == "01"
    assert stale(entries, five) == []
    assert stale(entries, five[4:]) == [tuple(listed.values())]


@pytest.mark.skipif(MAKE is None, reason="there is no make")
def test_mutants_are_judged_by_what_make_test_runs():
    said = subprocess.run([MAKE, "-n", "test"], cwd=ROOT, capture_output=True, check=True)
    left_out = re.findall(r"--ignore=(\S+)", said.stdout.decode())
    assert sorted(left_out) == sorted(IGNORED)
