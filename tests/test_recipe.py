"""The recipe of docs/recipe.md does on real data what its page says, without the helpers."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_breast_cancer, load_wine

RECIPE = (Path(__file__).parents[1] / "docs" / "recipe.md").read_text(encoding="utf-8")
DATA = {"wine": load_wine, "breast_cancer": load_breast_cancer}
# Runs the recipe as it stands, where there are no helpers, and writes down what it found.
DRIVER = """
import runpy, sys
import numpy as np

sys.modules["helpers"] = None
found = runpy.run_path("recipe.py", run_name="__main__")
gaussian = found["gaussian"]
np.savez(
    "found.npz",
    train=found["train"],
    test=found["test"],
    loc=gaussian.loc.detach(),
    covariance=gaussian.covariance_matrix.detach(),
    samples=gaussian.sample((20_000,)).detach(),
)
"""


def block() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", RECIPE, re.DOTALL)
    return code


def write(folder: Path, code: str, data: np.ndarray) -> None:
    header = ",".join(f"column {i}" for i in range(data.shape[1]))
    np.savetxt(folder / "data.csv", data, delimiter=",", header=header, comments="")
    (folder / "recipe.py").write_text(code, encoding="utf-8")


def run(folder: Path, code: str, data: np.ndarray) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as a reader does."""
    write(folder, code, data)
    command = [sys.executable, "-c", DRIVER]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def run_here(folder: Path, code: str, data: np.ndarray) -> str:
    """In this process, which has imported torch already: what it prints."""
    write(folder, code, data)
    said = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(said),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setitem(sys.modules, "helpers", None)  # and back again, after the driver did the same
        exec(DRIVER, {})
    return said.getvalue()


@pytest.fixture(scope="module", params=DATA)
def fitted(request, tmp_path_factory):
    """The data, what the recipe said and what it found; one of them in a process of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    data = DATA[request.param]().data
    if request.param == "wine":
        process = run(folder, block(), data)
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        said = process.stdout
    else:
        said = run_here(folder, block(), data)
    assert (folder / "gaussian.pt").is_file()
    return data, said, np.load(folder / "found.npz")


def test_it_arrives_at_the_covariance_of_scikit_learn(fitted):
    _, _, found = fitted
    exact = EmpiricalCovariance().fit(found["train"])
    n = len(found["train"])
    variance = exact.covariance_.diagonal()
    error = np.sqrt((np.outer(variance, variance) + exact.covariance_**2) / n)
    # A hundredth of a standard error: nobody could see it in the data.
    assert np.abs((found["covariance"] - exact.covariance_) / error).max() < 0.01
    assert np.abs((found["loc"] - exact.location_) / np.sqrt(variance / n)).max() < 0.01


def test_its_verdict_is_right(fitted):
    _, said, found = fitted
    n, d = found["train"].shape
    gap, sampling_error = map(float, re.findall(r"(\S+) nats", said))
    assert sampling_error == pytest.approx(d * (d + 3) / (4 * n), rel=0.05)  # as it is printed
    assert -1e-9 < gap < 0.001 * sampling_error  # nothing is better than the best
    exact = EmpiricalCovariance().fit(found["train"])
    densities = [float(number) for number in re.findall(r"rows [a-z ]+: (\S+)", said)]
    for density, rows in zip(densities, (found["train"], found["test"]), strict=True):
        assert density == pytest.approx(exact.score(rows), abs=0.01)  # as it is printed


def test_no_row_is_lost_or_used_twice(fitted):
    data, _, found = fitted
    rows = np.concatenate([found["train"], found["test"]])
    order, expected = (np.lexsort(table.T) for table in (rows, data))
    # What savetxt wrote is read back to the last digit.
    np.testing.assert_array_equal(rows[order], data[expected])
    assert len(found["test"]) == len(data) // 5


def test_what_was_loaded_can_be_drawn_from(fitted):
    _, _, found = fitted
    samples, std = found["samples"], np.sqrt(found["covariance"].diagonal())
    error = std / np.sqrt(len(samples))
    assert np.abs((samples.mean(axis=0) - found["loc"]) / error).max() < 5
    np.testing.assert_allclose(samples.std(axis=0), std, rtol=5 / np.sqrt(2 * len(samples)))


def test_it_says_when_the_optimiser_has_not_arrived(tmp_path):
    code, n_changed = re.subn(r"max_iter=\d+", "max_iter=3", block())
    assert n_changed == 1
    with pytest.raises(AssertionError, match="the optimiser has not arrived"):
        run_here(tmp_path, code, load_wine().data)


def test_it_needs_standard_units_to_arrive_so_soon(tmp_path):
    """As its page says: the same steps in the units of the table leave it far away."""
    few, n_changed = re.subn(r"max_iter=\d+", "max_iter=200", block())
    raw = few.replace(
        "center + unit * loc, scale_tril=unit[:, None] * factor", "loc, scale_tril=factor"
    )
    assert n_changed == 1
    assert raw != few
    run_here(tmp_path, few, load_wine().data)
    with pytest.raises(AssertionError, match="the optimiser has not arrived"):
        run_here(tmp_path, raw, load_wine().data)


def spoilt(column: np.ndarray | float) -> np.ndarray:
    """The wine data with another third column."""
    data = load_wine().data.copy()
    data[:, 2] = column
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (spoilt(np.nan), "NaN or infinite entries: drop or fill"),
        (spoilt(0.1), "143 rows of 13 columns have rank 12: is one constant"),
        (spoilt(load_wine().data[:, :2].sum(axis=1)), "143 rows of 13 columns have rank 12"),
        (load_wine().data[:5, :8], "4 rows of 8 columns have rank 3"),
    ],
    ids=["NaN", "constant", "sum", "few rows"],
)
def test_it_says_what_is_wrong_with_the_data(tmp_path, data, words):
    with pytest.raises(AssertionError, match=words):
        run_here(tmp_path, block(), data)


def test_an_empty_field_is_named(tmp_path):
    (tmp_path / "data.csv").write_text("a,b\n1,2\n3,\n", encoding="utf-8")
    with pytest.raises(ValueError, match="string '' to float64 at row 1, column 2"):
        np.loadtxt(tmp_path / "data.csv", delimiter=",", skiprows=1)


def test_the_helpers_are_out_of_its_reach(tmp_path):
    said = run(tmp_path, "import helpers", load_wine().data)
    assert "ModuleNotFoundError: import of helpers halted" in said.stderr


def test_the_file_is_read_without_running_code():
    assert "torch.save({" in block()  # tensors by their names, no object
    assert block().count("torch.load(") == block().count("weights_only=True") == 1


def test_it_is_about_thirty_lines():
    lines = [line for line in block().splitlines() if line.strip()]
    assert len(lines) <= 36


def test_the_two_lines_that_make_it_needless_are_right():
    (code,) = re.findall(r"```text\n(.*?)```", RECIPE, re.DOTALL)
    names = {"torch": torch, "data": torch.as_tensor(load_wine().data)}
    exec(code, names)
    exact = EmpiricalCovariance().fit(load_wine().data)
    np.testing.assert_allclose(names["loc"], exact.location_)
    np.testing.assert_allclose(names["covariance_matrix"], exact.covariance_, rtol=1e-10)
