"""What several test modules share: where things are, small notebooks, and a place to run them."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import nbformat
import pytest

ROOT = Path(__file__).parents[1]

# Drawing needs no window.
matplotlib.use("agg")

NO_BROWSER = "no Chromium"  # begins the reason of every test that is skipped for want of one


def pytest_collection_finish() -> None:
    """Leave all that is imported out of garbage collections, which else look at it each time."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line how much was skipped for want of a browser."""
    skipped = terminalreporter.stats.get("skipped", [])
    number = sum(NO_BROWSER in str(report.longrepr) for report in skipped)
    if number:
        terminalreporter.write_line(
            f"{NO_BROWSER} or Chrome on this machine: {number} tests were skipped, and make "
            "test-browser skips its own. Install chromium, or name a browser in CHROMIUM.",
            yellow=True,
        )


@pytest.fixture
def python_handles_ctrl_c() -> Iterator[None]:
    """As in a terminal: a shell that starts the tests in the background lets them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Sandbox:
    """A small copy of the checkout, in which notebooks are run as ``make test`` runs them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.helpers = folder / "helpers"
        self.notebooks = folder / "notebooks"
        self.figures = folder / "figures"
        for name in ("notebooks", "figures", "tests"):
            (folder / name).mkdir(parents=True)
        for name in ("conftest.py", "pyproject.toml", "tests/nbval_rules.py"):
            shutil.copy(ROOT / name, folder / name)

    def copy_helpers(self) -> None:
        """Put a copy of helpers/ here; kernels import it instead of the installed one."""
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "helpers", self.helpers, ignore=ignored, dirs_exist_ok=True)

    def environment(self) -> dict[str, str]:
        """One thread, our helpers before the installed ones, and nothing of an outer run."""
        foreign = ("PYTEST_", "COVARIANCE_", "PYTHONPYCACHE")
        outer = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return {**outer, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.folder)}

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run this interpreter here; what it said and its exit code."""
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=300,
        )

    def nbval(self, cells: list[str | Path], *options: str) -> subprocess.CompletedProcess[str]:
        """Run notebooks, or cells of one, with nbval as ``make test`` does."""
        plugins = ["-p", "no:cacheprovider", "-p", "no:xdist"]
        how = [*plugins, "--nbval", "--nbval-current-env", "--color=no", *options]
        return self.python("-m", "pytest", *how, *cells)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """An empty copy of the checkout, with the machinery that runs notebooks and no notebook."""
    return Sandbox(tmp_path / "a copy with spaces")


@pytest.fixture
def write_notebook() -> Callable[..., Path]:
    """Write a notebook of the given cells, each with a fixed id; return its path."""

    def write(path: Path, *cells: nbformat.NotebookNode) -> Path:
        for number, cell in enumerate(cells):
            cell["id"] = f"cell-{number}"
        notebook = nbformat.v4.new_notebook(cells=list(cells))
        notebook.metadata["kernelspec"] = {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        }
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)
        return path

    return write
