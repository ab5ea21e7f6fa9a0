"""Re-execute the notebooks and store their outputs and figures; an unchanged tree stays unchanged.

Usage: ``python tests/store_notebooks.py [--fresh] [NAME ...]``, where a NAME such as ``01`` begins
a notebook's file name; without one, all are run.

A notebook is stored only if every cell has run. Outputs of cells tagged ``nbval-ignore-output``,
such as timings, differ from run to run; the stored ones stay as long as no code and no other
output has changed, or until ``--fresh`` is given.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import ipykernel.kernelspec
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbval_rules import WIDGET, without_machine

ROOT = Path(__file__).parents[1]
PROCESSES = 2
CELL_TIMEOUT_SECONDS = 120
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
IGNORED = "nbval-ignore-output"
NOT_SAVED = "is shown but not saved"  # as helpers.save_figure warns


class ThisInterpreter(KernelSpecManager):
    """Starts kernels with the interpreter that runs this file, whatever else is installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        described = ipykernel.kernelspec.get_kernel_dict()
        return KernelSpec(resource_dir=ipykernel.kernelspec.RESOURCES, **described)


class ThisKernel(AsyncKernelManager):
    """A kernel of this interpreter."""

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return ThisInterpreter(parent=self)


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def merged_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with neighbouring pieces of one stream joined: where it is cut depends on timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        is_stream = output.output_type == "stream"
        if is_stream and last and last.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            merged.append(deepcopy(output))
    return merged


def without_widgets(output: NotebookNode) -> NotebookNode:
    """The output less its widget, whose name is another at every run; its text stays."""
    if "data" in output:
        output.data.pop(WIDGET, None)
    return output


def normalised(notebook: NotebookNode) -> NotebookNode:
    """A copy without anything that depends on the machine, the editor or the moment."""
    notebook = deepcopy(notebook)
    notebook.metadata = NotebookNode(kernelspec=KERNELSPEC, language_info={"name": "python"})
    for cell in notebook.cells:
        kept = {"tags": tags(cell)} if tags(cell) else {}
        if cell.cell_type == "code":
            # A bar appears where the machine is slow, and says how slow; a cache may have no home.
            calm = map(nbformat.from_dict, without_machine(cell.outputs))
            cell.outputs = merged_streams([without_widgets(output) for output in calm])
            if "solution" in tags(cell):
                kept["jupyter"] = {"source_hidden": True}
        cell.metadata = NotebookNode(kept)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_unchanged(new: NotebookNode, old: NotebookNode) -> bool:
    """Whether all code, and all outputs that repeat from run to run, are as they were."""

    def repeating(notebook: NotebookNode) -> list[tuple]:
        return [
            (cell.source, tags(cell), cell.execution_count, IGNORED in tags(cell) or cell.outputs)
            for cell in code_cells(notebook)
        ]

    return repeating(new) == repeating(old)


def with_ignored_outputs(new: NotebookNode, old: NotebookNode) -> NotebookNode:
    """A copy of the new notebook, with the old outputs in the cells that differ at every run."""
    kept = deepcopy(new)
    for cell, before in zip(code_cells(kept), code_cells(old), strict=True):
        if IGNORED in tags(cell):
            cell.outputs = deepcopy(before.outputs)
    return kept


def images(cell: NotebookNode) -> list[bytes]:
    """The PNG outputs of a cell, in order."""
    data = [output.get("data", {}) for output in cell.outputs]
    return [base64.b64decode(each["image/png"]) for each in data if "image/png" in each]


def execute(notebook: NotebookNode, folder: Path, figures: Path) -> None:
    """Run all cells and put their outputs in place; figures are drawn into a folder of their own.

    Raises
    ------
    CellExecutionError, CellTimeoutError, DeadKernelError
        If a cell fails that is not tagged ``raises-exception``, takes too long, or ends the kernel.
    """
    for cell in code_cells(notebook):
        cell.execution_count, cell.outputs = None, []
    client = NotebookClient(
        notebook,
        # Given as a class: nbclient ends only those kernels that it has started itself.
        kernel_manager_class=ThisKernel,
        kernel_name=KERNELSPEC["name"],
        timeout=CELL_TIMEOUT_SECONDS,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    own = {
        "OMP_NUM_THREADS": "1",
        "COVARIANCE_FIGURES": str(figures),
        # The solutions pass here; that is no progress of whoever works in this checkout.
        "COVARIANCE_PROGRESS": str(figures / "kept" / "progress.json"),
    }
    # The kernel's own messages are about its sockets; what a cell writes arrives as its output.
    client.execute(env={**os.environ, **own}, stderr=subprocess.DEVNULL)


def where_it_failed(notebook: NotebookNode, error: Exception) -> str:
    """The last code cell that was reached, and what went wrong there."""
    reached = [n for n, cell in enumerate(code_cells(notebook), 1) if cell.execution_count]
    if isinstance(error, CellExecutionError):
        return f"code cell {reached[-1]}: {error.ename}: {error.evalue}"
    return f"code cell {len(reached) + 1}: {type(error).__name__}"


def not_saved(notebook: NotebookNode) -> str:
    """What `save_figure` warned of, if it could not write a figure: the stored one is old then."""
    texts = [
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    lines = [line for line in "".join(texts).splitlines() if NOT_SAVED in line]
    return lines[0].strip() if lines else ""


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file as a whole or not at all, should this process be ended meanwhile."""
    if path.exists() and path.read_bytes() == content:
        return False
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
    return True


def store_figures(drawn: Path, figures: Path, run: NotebookNode, kept: NotebookNode) -> list[str]:
    """Write the figures that were drawn, those of a kept output as they are there; name the new."""
    pairs = zip(code_cells(run), code_cells(kept), strict=True)
    as_kept = {new: old for a, b in pairs for new, old in zip(images(a), images(b), strict=False)}
    contents = {path.name: path.read_bytes() for path in sorted(drawn.glob("*.png"))}
    return [
        name
        for name, content in contents.items()
        if write_if_changed(figures / name, as_kept.get(content, content))
    ]


def remove_figures(drawn: Path, figures: Path, number: str) -> list[str]:
    """Remove the figures of a notebook that it draws no more; name them."""
    lost = [path for path in figures.glob(f"{number}_*.png") if not (drawn / path.name).exists()]
    for path in lost:
        path.unlink()
    return [f"{path.name} (removed)" for path in lost]


def store(path: Path, figures: Path, fresh: bool = False) -> tuple[bool, str]:
    """Execute one notebook and store it with its figures.

    Parameters
    ----------
    path : Path
        The notebook.
    figures : Path
        The folder of the committed figures.
    fresh : bool
        Whether to store new outputs of the cells tagged ``nbval-ignore-output``, too.

    Returns
    -------
    stored : bool
        False if a cell failed or a figure could not be saved; then no file has changed.
    message : str
        What happened, in one line.
    """
    old = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="figures-") as drawn:
        run = normalised(old)
        try:
            execute(run, path.parent, Path(drawn))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            return False, f"{path.name}: {where_it_failed(run, error)}; nothing is stored"
        if warning := not_saved(run):
            return False, f"{path.name}: {warning}; nothing is stored"
        run = normalised(run)
        keeps = not fresh and is_unchanged(run, old)
        kept = with_ignored_outputs(run, old) if keeps else run
        changed = store_figures(Path(drawn), figures, run, kept)
        changed += remove_figures(Path(drawn), figures, path.name.partition("_")[0])
    text = nbformat.writes(kept, version=nbformat.NO_CONVERT) + "\n"
    if write_if_changed(path, text.encode()):
        changed.insert(0, path.name)
    return True, f"{path.name}: {'stored ' + ', '.join(changed) if changed else 'unchanged'}"


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Store the notebooks that are named; the exit code is 1 if one failed, 2 if none is there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="how a file name begins, as 01")
    parser.add_argument("--fresh", action="store_true", help="store new timings as well")
    options = parser.parse_args(arguments)
    found = sorted((root / "notebooks").glob("*.ipynb"))
    chosen = [path for path in found if path.name.startswith(tuple(options.names or [""]))]
    if not chosen:
        print(f"no notebook begins with {' or '.join(options.names) or 'anything'}")
        return 2
    figures = root / "figures"
    figures.mkdir(exist_ok=True)
    job = partial(store, figures=figures, fresh=options.fresh)
    # spawn: a forked process would share the event loop that nbclient needs for itself.
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        outcomes = []
        for outcome in pool.map(job, chosen):
            print(outcome[1], flush=True)
            outcomes.append(outcome[0])
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
