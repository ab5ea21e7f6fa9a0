"""Runs a student copy as a learner would: every stub as it stands, then a solution in its place."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from nbval_rules import output_differences
from store_notebooks import ThisKernel, code_cells, merged_streams, tags

from workshop.anatomy import course_notebooks, read_notebook
from workshop.archive import pack
from workshop.copies import build_student
from workshop.plans import Plan

CELL_TIMEOUT_SECONDS = 120
SOURCES = {path.stem: read_notebook(path) for path in course_notebooks()}


@dataclass
class Run:
    """A student copy that was executed, with a cell for each solution after its stub."""

    folder: Path
    notebook: NotebookNode

    def said(self, tag: str) -> list[str]:
        """What was printed below each cell with that tag."""
        return [text(cell) for cell in code_cells(self.notebook) if tag in tags(cell)]

    def errors(self) -> list[str]:
        """Errors in cells that do not teach one."""
        return [
            f"{output.ename}: {output.evalue}"
            for cell in code_cells(self.notebook)
            for output in cell.outputs
            if output.output_type == "error" and "raises-exception" not in tags(cell)
        ]

    def unstored_figures(self) -> list[str]:
        """Names of figures that the cells save and that are not in the folder of the zip."""
        sources = "\n".join(cell.source for cell in code_cells(self.notebook))
        names = set(re.findall(r"save_figure\(\w+, \"(\w+)\"\)", sources))
        return sorted(name for name in names if not (self.folder / f"figures/{name}.png").exists())


def problems(executed: Run, stem: str) -> list[str]:
    """Errors; stubs not answered kindly; solutions that fail; what is not as it is stored."""
    stubs, solved = executed.said("exercise"), executed.said("solved")
    found = executed.errors()
    found += [f"stub: {line}" for line in stubs if " open: nothing to check yet" not in line]
    found += [f"solution: {line}" for line in solved if " passed: " not in line]
    found += [f"{figure} was not saved" for figure in executed.unstored_figures()]
    if not stubs or len(solved) != len(stubs):
        found.append(f"{len(stubs)} stubs, {len(solved)} solutions")
    return found + differences(executed, stem)


def unpacked_student_zip(plan: Plan, folder: Path) -> Path:
    """The folder in which a learner works, from the zip that is handed out."""
    built = build_student(plan, course_notebooks(), folder / "built" / "student")
    with ZipFile(pack(built, folder / "student.zip")) as packed:
        packed.extractall(folder)
    return folder / "student"


def run(folder: Path, stem: str) -> Run:
    """Execute a notebook of an unpacked zip, with the helpers that came in it."""
    notebook = read_notebook(folder / "notebooks" / f"{stem}.ipynb")
    notebook.cells = with_answers(notebook, SOURCES[stem])
    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisKernel,
        timeout=CELL_TIMEOUT_SECONDS,
        allow_errors=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder / "notebooks")}},
    )
    # Neither figures nor passes are led elsewhere: they belong beside the helpers of the zip.
    outer = {k: v for k, v in os.environ.items() if not k.startswith("COVARIANCE_")}
    environment = {**outer, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    client.execute(env=environment, stderr=subprocess.DEVNULL)
    return Run(folder, notebook)


def with_answers(copied: NotebookNode, source: NotebookNode) -> list[NotebookNode]:
    """The cells of a copy, and after each stub the solution of the source."""
    cells = code_cells(source)
    solution_of = {
        stub.id: solution.source
        for stub, solution in itertools.pairwise(cells)
        if "solution" in tags(solution)
    }
    answered = []
    for cell in copied.cells:
        answered.append(cell)
        if "exercise" in tags(cell):
            answer = new_code_cell(solution_of[cell.id], metadata={"tags": ["solved"]})
            answered.append(answer)
    return answered


def text(cell: NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def differences(executed: Run, stem: str) -> list[str]:
    """Where kept cells of the lesson gave other outputs than are stored in the course."""
    stored = {cell.id: cell for cell in code_cells(SOURCES[stem])}
    exempt = {"exercise", "solved", "carried", "nbval-ignore-output"}
    found = []
    for cell in code_cells(executed.notebook):
        if not exempt & set(tags(cell)):
            outputs = merged_streams(cell.outputs)
            told = output_differences(outputs, stored[cell.id].outputs)
            found += [f"cell {cell.id}: {line}" for line in told]
    return found
