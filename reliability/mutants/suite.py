"""What `make test` runs, and which lines of the helpers each test and notebook reaches."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from reliability.mutants import contexts, judge, workers
from reliability.mutants.generate import Mutant

BUILD = workers.ROOT / "build" / "mutants"
MATHEMATICS = (
    "validation.py",
    "gaussian.py",
    "statistics.py",
    "estimators.py",
    "uncertainty.py",
    "parametrizations.py",
    "objectives.py",
    "optimizers.py",
    "models.py",
    "training.py",
    "history.py",
    "checkpoints.py",
    "cholesky_failure.py",
    "maps.py",
    "diagnostics.py",
    "shrinkage.py",
    "low_rank.py",
    "structured.py",
    "structured_fit.py",
)
# As `make test` leaves them out.
IGNORED = (
    "tests/test_site_in_browser.py",
    "tests/browser",
    "tests/many_ranks",
    "tests/trust",
    "tests/test_sheets_in_browser.py",
    "tests/test_slides_in_browser.py",
    "tests/test_workshop_copies.py",
    "tests/test_student_copies.py",
)


@dataclass
class Suite:
    """Each test and notebook in a copy of the checkout, with its time and its lines of helpers."""

    tests: dict[str, dict]
    copy: Path
    digests: dict[str, str] = field(default_factory=dict)
    kills: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @cached_property
    def lines(self) -> contexts.Lines:
        """The tests by the lines they run."""
        return contexts.by_line(self.tests)

    def covering(self, mutant: Mutant, *places: str) -> list[str]:
        """What runs the mutant's statement, in the order in which it is likely to notice soon.

        First what killed other mutants of the function, then the tests of the module, then the
        fast ones.
        """
        lines = mutant.lines if mutant.swapped else None
        found = contexts.covering(self.lines, mutant.module, lines, places)
        stem = f"test_{Path(mutant.module).stem}"

        def order(name: str) -> tuple:
            kills = self.kills[mutant.module, mutant.function, name]
            return -kills, stem not in name, self.tests[name]["seconds"], name

        return sorted(found & self.tests.keys(), key=order)

    def reading(self, mutant: Mutant) -> list[str]:
        """The files that may look at what a module has made at import, and run no line of it."""
        names = (f"tests/test_{Path(mutant.module).stem}.py", "tests/test_edges.py")
        return [name for name in names if (self.copy / name).is_file()]

    def has_killed(self, mutant: Mutant, test: str) -> None:
        """Remember a test that killed a mutant."""
        self.kills[mutant.module, mutant.function, test] += 1

    def runs_at_collection(self, mutant: Mutant) -> bool:
        """Whether a test module runs the mutant's statement when it is imported."""
        run = self.tests[contexts.COLLECTION]["elsewhere"].get(mutant.module, ())
        return any(mutant.lines[0] <= line <= mutant.lines[1] for line in run)

    def seconds(self, names: Iterable[str]) -> dict[str, float]:
        """How long some tests take, in the order given; a file takes as long as is not known."""
        return {name: self.tests.get(name, {}).get("seconds", judge.UNKNOWN) for name in names}

    def in_process(self) -> list[str]:
        """The tests that run the helpers in their own process."""
        return [name for name, test in self.tests.items() if test["here"] and name]

    def files(self) -> list[str]:
        """The files of those tests."""
        return sorted(set(map(contexts.file_of, self.in_process())))

    def digest(self, names: Iterable[str]) -> str:
        """Of the contents of the files that some tests are in."""
        files = sorted(set(map(contexts.file_of, names)))
        return digest(*map(self._digest_of_file, files))

    def _digest_of_file(self, file: str) -> str:
        if file not in self.digests:
            self.digests[file] = digest((self.copy / file).read_bytes())
        return self.digests[file]


def digest(*pieces: str | bytes) -> str:
    """A short hash of some texts."""
    joined = hashlib.sha256()
    for piece in pieces:
        joined.update(piece if isinstance(piece, bytes) else piece.encode())
        joined.update(b"\0")
    return joined.hexdigest()[:16]


def suite_of(copy: Path) -> Suite:
    """Which test runs which line: looked up anew for the files that changed since the last time.

    Where a helper has changed, lines have moved, and everything is looked up anew.
    """
    stored = workers.told(BUILD / "map.json")
    helpers = digest(*(path.read_bytes() for path in sorted((copy / "helpers").rglob("*.py"))))
    known = stored if stored.get("helpers") == helpers else {"files": {}, "tests": {}}
    files = digests_of_files(copy)
    changed = [file for file, value in files.items() if known["files"].get(file) != value]
    kept = {
        name: test
        for name, test in known["tests"].items()
        if contexts.file_of(name) in files.keys() - set(changed)
    }
    suite = Suite(kept, copy)
    if changed:
        print(f"looking up which lines the tests of {len(changed)} files run", flush=True)
        suite.tests |= look_up(copy, changed, known["tests"].get(contexts.COLLECTION))
        drop_unfit(suite)
    else:
        suite.tests[contexts.COLLECTION] = known["tests"][contexts.COLLECTION]
    told = {"helpers": helpers, "files": files, "tests": suite.tests}
    (BUILD / "map.json").write_text(json.dumps(told), encoding="utf-8")
    return suite


def look_up(copy: Path, files: list[str], collection: dict | None) -> dict[str, dict]:
    """Run some test files and notebooks, and read which lines they ran."""
    folder = BUILD / "map"
    shutil.rmtree(folder, ignore_errors=True)
    workers.run_with_contexts(copy, files, folder)
    found = contexts.read(folder, copy / "helpers")
    if collection is not None:
        contexts.add_lines(found[contexts.COLLECTION], collection)
    return found


def digests_of_files(copy: Path) -> dict[str, str]:
    """Of each test module and notebook of `make test`, with what test modules share."""
    tests = sorted((copy / "tests").glob("*.py"))
    shared = digest(*(path.read_bytes() for path in tests if not path.name.startswith("test_")))
    found = [*(copy / "tests").rglob("test_*.py"), *(copy / "notebooks").glob("*.ipynb")]
    names = sorted(path.relative_to(copy).as_posix() for path in found)
    judging = [name for name in names if not name.startswith(IGNORED)]
    return {name: digest(shared, (copy / name).read_bytes()) for name in judging}


def drop_unfit(suite: Suite) -> None:
    """Leave out the tests that fail in a fork without any mutant: they can judge nothing."""
    asked = workers.Judge("swap", suite.copy, suite.files())
    while waiting := suite.in_process():
        answer = asked.control(suite.seconds(waiting))
        if answer["outcome"] == judge.SURVIVED:
            break
        print(f"fails without a mutant, and judges none: {answer['by']}", flush=True)
        del suite.tests[answer["by"]]
    asked.stop()
