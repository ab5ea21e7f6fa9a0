"""How pytest treats the notebooks: nbval runs each cell, tests/nbval_rules.py compares."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile
from nbval_rules import LOG, output_differences

# nbval waits 5 s for a cell's outputs after the cell has ended, too short for a busy machine.
OUTPUT_TIMEOUT_SECONDS = 60


def pytest_configure(config: pytest.Config) -> None:
    """Let kernels draw, and keep what passed, in a folder of their own, never in the checkout."""
    folder = tempfile.TemporaryDirectory(prefix="figures-")
    config.add_cleanup(folder.cleanup)
    os.environ["COVARIANCE_FIGURES"] = folder.name
    os.environ["COVARIANCE_PROGRESS"] = os.path.join(folder.name, "kept", "progress.json")
    if measured := os.environ.get("COVARIANCE_MEASURED"):
        write_measured(Path(measured))


def write_measured(file: Path) -> None:
    """Write down of each number and figure how far it is from the stored one."""
    LOG.addHandler(logging.FileHandler(file, encoding="utf-8"))
    LOG.setLevel(logging.DEBUG)


class NotebookCell(IPyNbCell):
    """A cell whose outputs are compared with the tolerances of this project."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.output_timeout = OUTPUT_TIMEOUT_SECONDS

    def compare_outputs(self, test, ref, skip_compare=None) -> bool:
        tags = self.cell.metadata.get("tags", ())
        self.comparison_traceback = output_differences(test, ref, tags)
        return not self.comparison_traceback


class NotebookFile(IPyNbFile):
    """A notebook whose kernel keeps a history, without which a trailing ``;`` is not obeyed."""

    def setup(self) -> None:
        super().setup()
        execute = self.kernel.kc.execute
        self.kernel.kc.execute = lambda code, **how: execute(code, **{**how, "store_history": True})

    def collect(self):
        for cell in super().collect():
            yield NotebookCell.from_parent(
                self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
            )


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    """Put our notebook file in the place of nbval's."""
    collectors = yield
    return [
        NotebookFile.from_parent(parent, path=file_path) if type(each) is IPyNbFile else each
        for each in collectors
    ]
