"""Every notebook as a reader meets it: opened in JupyterLab, run from top to bottom, looked at.

`make test-browser` runs this; `make test` does not, for the sake of its time.
"""

from __future__ import annotations

import pytest
from faults import faults
from lab import ROOT
from reader import reading

PICTURES = ROOT / "build" / "browser"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_reads_well(browser, lab, notebook):
    """Every stub is answered kindly, and no solution that ran counts as a pass of the reader's."""
    lab.progress.unlink(missing_ok=True)
    with reading(browser, lab, lab.folder / "notebooks" / notebook.name) as reader:
        reader.run_all()
        found = faults(reader)
        reader.photograph(PICTURES)
    assert found == []
    assert not lab.progress.exists()
