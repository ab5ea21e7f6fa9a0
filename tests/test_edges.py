"""Cases at an edge that no other test holds: `make mutants` found each of them."""

from __future__ import annotations

import inspect
import math
import runpy
import signal
import sys

import matplotlib.pyplot as plt
import pytest
import torch

from helpers import (
    GaussianLikelihood,
    SufficientStatistics,
    Verdict,
    crossover,
    fit,
    load_checkpoint,
    measure_crossover,
    median_seconds,
    two_correlated,
    whiten,
)
from helpers.crossover import CrossoverRecord
from helpers.exercises.catalogue import find, notebooks
from helpers.exercises.checking import Exercise, _Call
from helpers.exercises.explaining import _Rule
from helpers.interactive.mse_descent import MseDescentScene
from helpers.optimizers import NaturalGradient
from helpers.plotting.style import STYLE_PARAMS, save_benchmark_figure
from helpers.validation import as_tensor

DATA = two_correlated(50)


def test_ctrl_c_in_the_first_record_waits_for_its_end(tmp_path, monkeypatch, python_handles_ctrl_c):
    path, gap = tmp_path / "fit.pt", NaturalGradient.gap

    def pressed(self):
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)
        return gap(self)

    monkeypatch.setattr(NaturalGradient, "gap", pressed)
    with pytest.raises(KeyboardInterrupt):
        fit(GaussianLikelihood(2), DATA, checkpoint=path)
    assert load_checkpoint(path)["n_steps"] == 0


def test_batches_of_another_width_at_a_later_epoch_are_named():
    class Batches:
        n_passes = 0

        def __iter__(self):
            self.n_passes += 1
            return iter([DATA if self.n_passes == 1 else torch.cat([DATA, DATA], dim=-1)])

    with pytest.raises(
        ValueError, match=r"^data\[0\]: expected shape \(\.\.\., n, 2\), got \(50, 4\)"
    ):
        fit(GaussianLikelihood(2), Batches(), optimizer="adam", max_steps=5)


@pytest.mark.parametrize(
    ("scale_tril", "covariance_matrix", "words"),
    [
        (torch.eye(3), torch.eye(2), r"expected shape \(\.\.\., 3, 3\), got \(2, 2\)"),
        (torch.eye(3).double(), torch.eye(3).float(), "expected dtype float64 like scale_tril"),
        (torch.eye(3).float(), torch.eye(3).double(), "expected dtype float32 like scale_tril"),
    ],
)
def test_what_whiten_cannot_put_together_is_named(scale_tril, covariance_matrix, words):
    with pytest.raises(ValueError, match=rf"^covariance_matrix: {words}"):
        whiten(covariance_matrix, scale_tril)


def test_statistics_too_large_for_another_dtype_are_refused():
    statistics = SufficientStatistics.from_data(1e30 * DATA)
    with pytest.raises(
        ValueError, match="scatter in another dtype: expected finite values, got inf"
    ):
        statistics.to(torch.float32)


def test_batches_whose_common_scatter_is_too_large_are_refused():
    # Each batch alone has a scatter that float32 holds; between them there is more.
    batches = [torch.tensor([[sign * 1.5e19]], dtype=torch.float32) for sign in (-1, 1)]
    with pytest.raises(ValueError, match="^batches: expected numbers whose squares float32"):
        SufficientStatistics.from_batches(batches)


def test_a_gap_of_one_sampling_error_is_once_that():
    assert "(1 times that): the optimiser still adds" in str(Verdict(0.5, 0.5))
    assert "of it" in str(Verdict(math.nextafter(0.5, 0), 0.5))


def test_the_lowest_gap_that_rounding_explains_is_accepted():
    assert Verdict(-0.005, 0.5).negligible
    with pytest.raises(ValueError, match="^gap: expected a loss minus its minimum"):
        Verdict(math.nextafter(-0.005, -1), 0.5)


def test_lists_of_mixed_depth_are_described_by_their_first_entry():
    with pytest.raises(TypeError, match="got a list of numbers"):
        as_tensor([1.0, [2.0]], "data")
    with pytest.raises(TypeError, match="got a list of lists"):
        as_tensor([[1.0], 2.0], "data")


def test_paths_of_the_mse_start_in_float64():
    points, _ = MseDescentScene()._paths("gradient descent", 0.05)
    assert points.dtype == torch.float64
    expected = torch.linspace(*points[0, [0, -1], 0].tolist(), points.shape[1], dtype=torch.float64)
    assert torch.equal(points[0, :, 0], expected)


def test_a_figure_of_the_benchmarks_is_closed(tmp_path, monkeypatch):
    monkeypatch.setenv("COVARIANCE_FIGURES", str(tmp_path))
    fig, ax = plt.subplots()
    ax.plot([0, 1])
    save_benchmark_figure(fig, "tiny")
    assert (tmp_path / "bench_tiny.png").exists()
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize("kind", [CrossoverRecord, Exercise, _Call, _Rule])
def test_what_is_made_once_does_not_change(kind):
    assert kind.__dataclass_params__.frozen


@pytest.mark.parametrize("timed", [measure_crossover, median_seconds])
def test_times_are_medians_of_five(timed):
    assert inspect.signature(timed).parameters["repeats"].default == 5


def test_limits_of_what_is_timed():
    assert (crossover.MAX_REPEATS, crossover.MAX_ENTRIES) == (1_000_000, 2**26)


def test_the_measurement_is_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["crossover", "--help"])
    monkeypatch.delitem(sys.modules, "helpers.crossover")
    with pytest.raises(SystemExit, match="^0$"):
        runpy.run_module("helpers.crossover", run_name="__main__")
    assert "python -m helpers.crossover" in capsys.readouterr().out


def test_every_exercise_has_hints():
    numbers = [number for _, numbers in notebooks().values() for number in numbers]
    assert numbers
    assert [number for number in numbers if len(find(number).hints) < 2] == []


def test_the_style_sets_what_it_names_and_nothing_else():
    assert "toolbar" not in STYLE_PARAMS
    assert STYLE_PARAMS.keys() < set(plt.rcParams)
