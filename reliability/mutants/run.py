"""`make mutants`: make the mutants, try them, and say which are left and who noticed the rest."""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from reliability import records
from reliability.mutants import STAGES, contexts, judge, workers
from reliability.mutants.generate import Mutant, modules_of, mutants_of
from reliability.mutants.suite import BUILD, MATHEMATICS, Suite, digest, suite_of
from reliability.mutants.summary import (
    ALIVE,
    UNTRIED,
    Name,
    Summary,
    equivalents,
    explained,
    name_of,
)

ALONE = BUILD / "notebooks-alone.json"


class Results:
    """What became of each mutant, kept in a file from run to run."""

    def __init__(self, path: Path, *, anew: bool = False):
        self.path, self.lock = path, threading.Lock()
        self.known: dict[str, dict] = {}
        if anew:
            path.unlink(missing_ok=True)
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            self.known = {one["key"]: one for one in map(json.loads, lines)}

    def add(self, result: dict) -> None:
        """Keep a result, here and in the file."""
        with self.lock:
            self.known[result["key"]] = result
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")


@dataclass
class Trial:
    """Tries mutants in one worker's copy of the checkout."""

    suite: Suite
    sources: dict[str, str]
    worker: workers.Worker

    def by_tests(self, mutant: Mutant) -> dict:
        """What becomes of a mutant in the tests: by a swap, then where it is imported anew.

        A swap is enough for a test that runs the statement in its own process. Anew means for
        tests that run it in another process, for changes that act at import, and where a module
        of tests runs the statement when it is collected.
        """
        here, elsewhere = self._of_tests(mutant, "here"), self._of_tests(mutant, "elsewhere")
        answer = {"outcome": judge.IMPOSSIBLE, "by": ""}
        if mutant.swapped and here:
            answer = self._ask(self.worker.swap, mutant, here)
        if answer["outcome"] not in ALIVE:
            return answer
        if answer["outcome"] == judge.IMPOSSIBLE or self.suite.runs_at_collection(mutant):
            elsewhere = [*here, *elsewhere]
        if not mutant.swapped:
            elsewhere = [*elsewhere, *self.suite.reading(mutant)]
        return self._ask(self.worker.fresh, mutant, elsewhere) if elsewhere else answer

    def by_notebooks(self, mutant: Mutant) -> dict:
        """What becomes of a mutant with nbval, in every notebook that runs the statement."""
        for name in filter(contexts.is_notebook, self.suite.covering(mutant, "elsewhere")):
            seconds = self.suite.tests[name]["seconds"]
            answer = self.worker.by_notebook(mutant, self.sources[mutant.module], name, seconds)
            if answer["outcome"] not in ALIVE:
                return answer
        return {"outcome": judge.SURVIVED, "by": ""}

    def result(self, mutant: Mutant, stages: Sequence[str], known: dict | None) -> dict:
        """What becomes of a mutant, as a line of the results."""
        began = time.monotonic()
        result = {"key": mutant.key, "module": mutant.module, **(known or {})}
        if "tests" in stages and "tests" not in result:
            answer = self.by_tests(mutant)
            result["tests"], result["by"] = answer["outcome"], answer["by"]
            self.suite.has_killed(mutant, answer["by"])
        if "nbval" in stages and "nbval" not in result and result.get("tests") in (*ALIVE, None):
            answer = self.by_notebooks(mutant)
            result["nbval"], result["notebook"] = answer["outcome"], answer["by"]
        result["seconds"] = round(result.get("seconds", 0) + time.monotonic() - began, 2)
        result["source"] = source_digest(mutant, self.sources[mutant.module])
        result["suite"] = suite_digest(self.suite, mutant, result)
        return result

    def _of_tests(self, mutant: Mutant, place: str) -> list[str]:
        return [n for n in self.suite.covering(mutant, place) if not contexts.is_notebook(n)]

    def _ask(self, asked: workers.Judge, mutant: Mutant, tests: list[str]) -> dict:
        return asked.ask(mutant, self.sources[mutant.module], self.suite.seconds(tests))


def source_digest(mutant: Mutant, source: str) -> str:
    """Of the outermost definition that the mutant is in; of its module where it acts at import."""
    if not mutant.swapped:
        return digest(mutant.key, source)
    lines = source.splitlines()
    first, last = mutant.lines[0] - 1, mutant.lines[1]
    while first > 0 and _is_inside(lines[first]):
        first -= 1
    while last < len(lines) and _is_inside(lines[last]):
        last += 1
    return digest(mutant.key, "\n".join(lines[first:last]))


def _is_inside(line: str) -> bool:
    """Whether a line goes on with the definition before it."""
    return line[:1] in ("", " ", ")", "]", "}", "#")


def suite_digest(suite: Suite, mutant: Mutant, result: dict) -> str:
    """Of the file that killed it; of all files that reach it where none did."""
    killer = contexts.file_of(result.get("by", "") or result.get("notebook", ""))
    if killer and (suite.copy / killer).is_file():
        return suite.digest([killer])
    reading = [] if mutant.swapped else suite.reading(mutant)
    return suite.digest([*suite.covering(mutant, "here", "elsewhere"), *reading])


def still_holds(suite: Suite, mutant: Mutant, source: str, result: dict) -> bool:
    """Whether a result of an earlier run would come out again."""
    same_source = result["source"] == source_digest(mutant, source)
    return same_source and result["suite"] == suite_digest(suite, mutant, result)


def stages_of(mutant: Mutant, asked: Sequence[str], equivalent: set[Name]) -> Sequence[str]:
    """Who is asked about a mutant: not the notebooks, a minute each, where it changes nothing."""
    return ("tests",) if "tests" in asked and name_of(mutant) in equivalent else asked


def is_settled(result: dict, stages: Sequence[str]) -> bool:
    """Whether no stage is left to try."""
    if "tests" in stages and "tests" not in result:
        return False
    return "nbval" not in stages or result.get("tests") not in (*ALIVE, None) or "nbval" in result


def chosen_modules(helpers: Path, names: list[str]) -> list[str]:
    """The modules that are asked for, those of the mathematics first.

    Raises
    ------
    ValueError
        If there is no module of a name.
    """
    modules = modules_of(helpers)
    wanted = {f"{name.removesuffix('.py')}.py" for name in names} or set(modules)
    if unknown := sorted(wanted - set(modules)):
        raise ValueError(f"module: expected one below helpers/, got {', '.join(unknown)}")
    rest = [name for name in modules if name not in MATHEMATICS]
    return [name for name in [*MATHEMATICS, *rest] if name in wanted]


def main(options: argparse.Namespace, command: str) -> int:
    """Try the mutants; 1 where one is left that survivors.toml does not know."""
    BUILD.mkdir(parents=True, exist_ok=True)
    copy = workers.copy_checkout(BUILD / "copy-0")
    helpers = copy / "helpers"
    names = options.module or ([*MATHEMATICS] if options.notebooks_alone else [])
    modules = chosen_modules(helpers, names)
    sources = {name: (helpers / name).read_text(encoding="utf-8") for name in modules}
    mutants = [mutant for name in modules for mutant in mutants_of(sources[name], name)]
    suite = suite_of(copy)
    if options.notebooks_alone:
        drawn = drawn_by_key(mutants, options.notebooks_alone)
        return ask_notebooks(drawn, suite, sources, options)
    results = Results(BUILD / "results.jsonl", anew=options.anew)
    try_all(mutants, suite, sources, results, options)
    summary = Summary(mutants, results.known)
    summary.show()
    summary.write_survivors(suite, BUILD / "survivors")
    if not (options.module or summary.of(UNTRIED)):
        record = summary.record(workers.told(ALONE), command)
        records.keep("mutants", record, options.record)
    return int(bool(summary.unlisted))


def ask_notebooks(
    mutants: Sequence[Mutant], suite: Suite, sources: dict[str, str], options: argparse.Namespace
) -> int:
    """How many of some mutants the notebooks notice with nbval, whatever the tests say."""
    results = Results(BUILD / "results-of-notebooks.jsonl", anew=options.anew)
    options.only = "nbval"
    try_all(mutants, suite, sources, results, options)
    found = [results.known[one.key] for one in mutants if one.key in results.known]
    killed = sum(one["nbval"] not in ALIVE for one in found)
    print(f"of {len(found)} mutants the notebooks alone notice {killed}")
    told = {"sample": len(found), "sample_killed_by_nbval": killed}
    ALONE.write_text(json.dumps(told), encoding="utf-8")
    return 0


def drawn_by_key(mutants: Sequence[Mutant], number: int) -> list[Mutant]:
    """Some of the mutants, as good as at random, and the same at every run."""
    return sorted(mutants, key=lambda one: one.key)[:number]


def try_all(
    mutants: Sequence[Mutant],
    suite: Suite,
    sources: dict[str, str],
    results: Results,
    options: argparse.Namespace,
) -> None:
    """Let each worker take one mutant after another, but for those whose result still holds."""
    equivalent = equivalents(explained())
    for mutant in mutants:
        known = results.known.get(mutant.key)
        if known and not still_holds(suite, mutant, sources[mutant.module], known):
            del results.known[mutant.key]
    asked = (options.only,) if options.only else STAGES
    stages = {mutant.key: stages_of(mutant, asked, equivalent) for mutant in mutants}
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    # A swap takes a moment, so a run that is cut short has tried most of them. What changes
    # nothing comes last: every test that runs it has to be asked, and the rate leaves it out.
    for mutant in sorted(mutants, key=lambda one: (name_of(one) in equivalent, not one.swapped)):
        if not is_settled(results.known.get(mutant.key, {}), stages[mutant.key]):
            waiting.put(mutant)
    end = time.monotonic() + 60 * options.minutes
    with tqdm(total=waiting.qsize(), unit="mutant", mininterval=5.0) as bar:

        def work(copy: Path) -> None:
            worker = workers.Worker(copy, suite.files())
            trial = Trial(suite, sources, worker)
            try:
                while time.monotonic() < end:
                    mutant = waiting.get_nowait()
                    known = results.known.get(mutant.key)
                    results.add(trial.result(mutant, stages[mutant.key], known))
                    bar.update()
            except queue.Empty:
                pass
            finally:
                worker.stop()

        copies = [suite.copy, *more_copies(suite.copy, options.workers - 1)]
        threads = [threading.Thread(target=work, args=(copy,)) for copy in copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def more_copies(copy: Path, number: int) -> list[Path]:
    """A copy of the copy for each further worker."""
    copies = [copy.with_name(f"copy-{i}") for i in range(1, number + 1)]
    for other in copies:
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(copy, other)
    return copies
