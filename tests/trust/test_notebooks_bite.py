"""A wrong helper makes a notebook fail: `make test` would notice.

A mistake is planted in a copy of helpers/, and one notebook is run with nbval against that copy.
The copy keeps its right source beside wrong bytecode, as some notebooks show the source of what
they teach: the run must fail for what a helper computes, and not for how it reads.
"""

from __future__ import annotations

import importlib.util
import py_compile
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """A mistake: the module it is in, what is right there, and what is wrong."""

    name: str
    module: str
    right: str
    wrong: str


EXPONENTIAL = Mutant(
    "the exponential missing from the diagonal",
    "parametrizations.py",
    "torch.diag_embed(log_diagonal.exp())",
    "torch.diag_embed(log_diagonal)",
)
ELLIPSE = Mutant(
    "an ellipse from the transposed factor",
    "plotting/ellipses.py",
    "circle @ scale_tril.T",
    "circle @ scale_tril",
)
DIVISOR = Mutant(
    "1/(N-1) for 1/N",
    "estimators.py",
    "statistics.covariance_matrix(correction=0)",
    "statistics.covariance_matrix(correction=1)",
)
SIGN = Mutant(
    "a sign in the log-probability",
    "gaussian.py",
    "[..., None] + distance)",
    "[..., None] - distance)",
)
# Which notebook is to notice which mistakes.
NOTICED_BY = {
    "01_cholesky_theory.ipynb": [EXPONENTIAL, ELLIPSE],
    "03_likelihood_fitting.ipynb": [DIVISOR, SIGN],
}


def plant(mutant: Mutant, helpers: Path) -> None:
    """Give a module of this copy the bytecode of a wrong one, and leave its source alone."""
    source = helpers / mutant.module
    text = source.read_text(encoding="utf-8")
    assert text.count(mutant.right) == 1, f"{mutant.right!r} is to stand once in {mutant.module}"
    wrong = helpers.parent / f"wrong_{source.name}"
    wrong.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
    py_compile.compile(
        str(wrong),
        cfile=importlib.util.cache_from_source(str(source)),
        dfile=str(source),
        doraise=True,
        # Python takes this bytecode without a look at the source.
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def remove_bytecode(helpers: Path) -> None:
    for folder in helpers.rglob("__pycache__"):
        shutil.rmtree(folder)


def first_failure(sandbox, notebook: Path, mutant: Mutant) -> int:
    """Number of the first cell that fails with the mutant planted."""
    plant(mutant, sandbox.helpers)
    said = sandbox.nbval([notebook], "-x", "-rf").stdout
    remove_bytecode(sandbox.helpers)
    failed = re.findall(r"^FAILED .*::Cell (\d+)", said, re.MULTILINE)
    assert len(failed) == 1, f"nobody noticed {mutant.name}:\n{said}"
    return int(failed[0])


def test_a_planted_mistake_is_computed_and_not_shown(sandbox):
    """The copy is what is imported; its source reads as ever, and its results differ."""
    code = (
        "import inspect, torch, helpers as h\n"
        "print(h.__file__, inspect.getsource(h.log_cholesky), sep='\\n')\n"
        "print('trace', h.log_cholesky(torch.zeros(2), torch.zeros(1)).trace().item())"
    )
    sandbox.copy_helpers()
    right = sandbox.python("-c", code).stdout.split("trace")
    plant(EXPONENTIAL, sandbox.helpers)
    wrong = sandbox.python("-c", code).stdout.split("trace")
    assert Path(right[0].splitlines()[0]) == sandbox.helpers / "__init__.py"
    assert right[0] == wrong[0]
    assert (float(right[1]), float(wrong[1])) == (2.0, 0.0)


@pytest.mark.parametrize("name", NOTICED_BY)
def test_a_wrong_helper_makes_the_notebook_fail(sandbox, name):
    sandbox.copy_helpers()
    notebook = sandbox.notebooks / name
    shutil.copy(ROOT / "notebooks" / name, notebook)
    failures = [first_failure(sandbox, notebook, mutant) for mutant in NOTICED_BY[name]]

    # Without a mutant the same cells pass in the same place: they fail for the right reason.
    up_to_there = [f"{notebook}::Cell {number}" for number in range(max(failures) + 1)]
    control = sandbox.nbval(up_to_there)
    assert control.returncode == 0, f"fails without a mutant, too:\n{control.stdout}"
