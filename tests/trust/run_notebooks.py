"""Run notebooks one after the other, with kernels that are spoken to through files, not sockets.

python run_notebooks.py FOLDER NOTEBOOK...: the kernels start with PYTHONPATH as KERNEL_PATH says.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config


def run(notebook: Path) -> None:
    """Run every cell; an error of a cell that is not meant to give one is ours."""
    with tempfile.TemporaryDirectory(prefix="k-") as folder:  # the path of a Unix socket is short
        through_files = {"transport": "ipc", "ip": os.path.join(folder, "ipc")}
        client = NotebookClient(
            nbformat.read(notebook, as_version=4),
            config=Config(AsyncKernelManager=through_files),
            timeout=120,
            startup_timeout=120,
            resources={"metadata": {"path": str(notebook.parent)}},
        )
        client.execute(env={**os.environ, "PYTHONPATH": os.environ["KERNEL_PATH"]})


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name))
        print(Path(name).name)
