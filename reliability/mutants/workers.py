"""The copies of the checkout in which mutants are tried, and the processes that try them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from reliability.mutants import contexts, judge
from reliability.mutants.generate import Mutant

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".venv", ".git", "build", "__pycache__", "*.egg-info", ".pytest_cache", ".ruff_cache",
    ".hypothesis", ".ipynb_checkpoints", "node_modules", "shared",
)  # fmt: skip
NBVAL = [
    "--nbval", "--nbval-current-env", "--nbval-cell-timeout=120",
    "--nbval-kernel-startup-timeout=120",
]  # fmt: skip


def copy_checkout(folder: Path) -> Path:
    """A fresh copy of everything that is not built."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """One thread, the copy's helpers before the installed ones, and nothing of an outer run."""
    foreign = ("PYTEST_", "COVERAGE_", "COVARIANCE_", "PYTHONPYCACHE")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**outer, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}


class Judge:
    """A process of `judge`, started when it is first asked."""

    def __init__(self, how: str, copy: Path, files: list[str]):
        self.how, self.copy, self.files = how, copy, files
        self.process: subprocess.Popen | None = None

    def _start(self) -> None:
        reading, ours_out = os.pipe()
        ours_in, writing = os.pipe()
        temporary = self.copy.with_name(f"{self.copy.name}-{self.how}-temporary")
        log = self.copy.with_name(f"{self.copy.name}-{self.how}.log").open("w", encoding="utf-8")
        numbers = [str(reading), str(writing)]
        command = [sys.executable, "-m", judge.__name__, self.how, *numbers, str(temporary)]
        with log:
            self.process = subprocess.Popen(
                [*command, *self.files],
                cwd=self.copy,
                env=environment(self.copy),
                pass_fds=(reading, writing),
                stdout=log,
                stderr=log,
            )
        os.close(reading)
        os.close(writing)
        self.channel = judge.Channel(ours_in, ours_out)
        self._read()

    def _read(self) -> dict:
        answer = next(self.channel.requests(), None)
        if answer is None:
            log = self.copy.with_name(f"{self.copy.name}-{self.how}.log")
            raise RuntimeError(f"the judge ({self.how}) ended: {log.read_text()[-2000:]}")
        return answer

    def ask(self, mutant: Mutant, source: str, tests: dict[str, float]) -> dict:
        """What becomes of a mutant in some tests, given with their seconds, in that order."""
        return self._ask(tests, mutant.module, mutant.swapped, mutant.mutated(source))

    def control(self, tests: dict[str, float]) -> dict:
        """What becomes of the helpers as they are."""
        return self._ask(tests, "", "", "")

    def _ask(self, tests: dict[str, float], module: str, swapped: str, source: str) -> dict:
        if self.process is None:
            self._start()
        request = {"module": module, "swapped": swapped, "source": source}
        self.channel.answer({**request, "tests": list(tests), "seconds": tests})
        return self._read()

    def stop(self) -> None:
        if self.process is not None:
            self.channel.writer.close()
            self.process.wait(timeout=30)
            self.channel.reader.close()


class Worker:
    """One copy of the checkout, with all that judges in it."""

    def __init__(self, copy: Path, files: list[str]):
        self.copy = copy
        self.swap = Judge("swap", copy, files)
        self.fresh = Judge("fresh", copy, [])

    def by_notebook(self, mutant: Mutant, source: str, notebook: str, seconds: float) -> dict:
        """What becomes of a mutant when nbval runs a notebook."""
        temporary = self.copy.with_name(f"{self.copy.name}-nbval-temporary")
        command = [sys.executable, "-m", "pytest", "-x", *judge.OPTIONS, *NBVAL]
        limit = judge.STARTING + judge.SLOWNESS * seconds
        with judge.planted(self.copy / "helpers", mutant.module, mutant.mutated(source)):
            process = subprocess.Popen(
                [*command, f"--basetemp={temporary}", notebook],
                cwd=self.copy,
                env=environment(self.copy),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
                return {"outcome": judge.TIMEOUT, "by": notebook}
        return {"outcome": judge.KILLED if code else judge.SURVIVED, "by": notebook if code else ""}

    def stop(self) -> None:
        self.swap.stop()
        self.fresh.stop()


def run_with_contexts(copy: Path, arguments: list[str], folder: Path) -> int:
    """Run tests and notebooks in a copy as `make test` does, and note which run which lines."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"]
    options = ["--no-loadscope-reorder", "-p", "no:cacheprovider", "-p", contexts.__name__, *NBVAL]
    started = contexts.prepare(folder, copy / "helpers")
    with (folder / "log").open("w", encoding="utf-8") as log:
        return subprocess.run(
            [*command, *options, *arguments],
            cwd=copy,
            env={**environment(copy), **started},
            stdout=log,
            stderr=log,
            check=False,
        ).returncode


def told(path: Path) -> dict:
    """The contents of a file of JSON; empty where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
