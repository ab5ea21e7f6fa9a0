"""Cases at an edge that no other test holds: `make mutants` found each of them."""

from __future__ import annotations

import contextlib
import inspect
import math
import runpy
import signal
import sys
from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from strategies import correlated_samples

from helpers import (
    SCALE_MAPS,
    DiagonalLikelihood,
    Gaussian,
    GaussianLikelihood,
    LowRankCovariance,
    LowRankLikelihood,
    MappedCholesky,
    ShrinkageLikelihood,
    SufficientStatistics,
    Verdict,
    aic,
    bic,
    crossover,
    distance_band,
    draw_estimates,
    expected_excess,
    explain_cholesky_failure,
    factor_analysis,
    fit,
    inverse_wishart_map,
    leave_one_out,
    ledoit_wolf,
    load_checkpoint,
    mardia,
    mean_confidence_radius,
    measure_crossover,
    median_seconds,
    oas,
    probabilistic_pca,
    shrunk_covariance,
    structured_fit,
    two_correlated,
    whiten,
)
from helpers.cholesky_failure import CholeskyFinding, CholeskyReport
from helpers.crossover import CrossoverRecord
from helpers.exercises.catalogue import find, notebooks
from helpers.exercises.checking import Exercise, _Call
from helpers.exercises.explaining import _Rule
from helpers.interactive.mse_descent import MseDescentScene
from helpers.optimizers import NaturalGradient
from helpers.parametrization_race import Run, first_factor
from helpers.plotting.style import STYLE_PARAMS, save_benchmark_figure
from helpers.structured_fit import StructuredHistory
from helpers.validation import as_tensor

DATA = two_correlated(50)
TABLE = correlated_samples(30, 4, seed=3)
STRUCTURED = {
    "diagonal": lambda table: DiagonalLikelihood(4, dtype=table.dtype, device="cpu"),
    "low rank": lambda table: LowRankLikelihood(4, 1, dtype=table.dtype, device="cpu"),
    "shrinkage": lambda table: ShrinkageLikelihood(covariance_of(table), table[0]),
}


def covariance_of(table):
    return torch.cov(table.T, correction=0)


def factor_of(table):
    return torch.linalg.cholesky(covariance_of(table))


def log_prob_of_low_rank(table):
    made = LowRankCovariance(table[0], table[:2].mT, table[1].exp())
    return made.log_prob(table), made.scale_tril


ASKED = {
    **{
        name: lambda table, made=made: made().right_inverse(factor_of(table))
        for name, made in SCALE_MAPS.items()
    },
    **{
        f"{name}, and back": lambda table, made=made: made()(made().right_inverse(factor_of(table)))
        for name, made in SCALE_MAPS.items()
    },
    "mardia": mardia,
    "leave one out": lambda table: leave_one_out(
        torch.cat([table, (1e6 if table.dtype == torch.float64 else 10) * table[:1]])
    ),
    "drawn": lambda table: draw_estimates(Gaussian(table[0], factor_of(table)), 9, 3),
    "shrunk": lambda table: shrunk_covariance(covariance_of(table), 0.3),
    "Ledoit-Wolf": ledoit_wolf,
    "OAS": oas,
    "prior": lambda table: inverse_wishart_map(table, covariance_of(table), 6.0),
    "probabilistic PCA": lambda table: probabilistic_pca(table, 2).covariance_matrix,
    "factor analysis": lambda table: factor_analysis(table[:4], 1).covariance_matrix,
    "low rank density": log_prob_of_low_rank,
    "why there is no factor": lambda table: str(explain_cholesky_failure(-covariance_of(table))),
    "whether a fit accepts": lambda table: str(
        explain_cholesky_failure(covariance_of(table), count=30)
    ),
    "criteria": lambda table: (aic(1.5, 3, 10), bic(1.5, 3, 10), aic(table[0], 3, 10)),
    "expected excess": lambda table: expected_excess(3, 10),
    "band": lambda table: distance_band(9, 2, repeats=40),
    "radius": lambda table: mean_confidence_radius(2, 9),
    "name of a map": lambda table: MappedCholesky(
        SCALE_MAPS["softplus"](), 3, dtype=table.dtype, device="cpu"
    ).get_extra_state(),
    "start of a race": lambda table: [first_factor(name, 3) for name in ("softplus", "spectral")],
    **{
        f"loss, {name}": lambda table, made=made: made(table)(table).detach()
        for name, made in STRUCTURED.items()
    },
}


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


@contextlib.contextmanager
def wide_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("defaults", "dtype"),
    [(partial(torch.device, "meta"), torch.float64), (wide_by_default, torch.float32)],
    ids=["nowhere", "wide"],
)
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_what_is_made_beside_the_data_is_of_their_kind(asked, defaults, dtype):
    """Whatever torch takes where nobody says: a device that holds no numbers, another dtype."""
    table = TABLE.to(dtype)
    expected = asked(table)
    with defaults():
        found = asked(table)
    if isinstance(expected, str):
        assert found == expected
    else:
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("make", STRUCTURED.values(), ids=STRUCTURED)
def test_what_a_fit_makes_beside_the_data_is_of_their_kind(make):
    one, other = make(TABLE), make(TABLE)
    expected = fit(one, TABLE + 1.0)
    with torch.device("meta"):
        found = fit(other, TABLE + 1.0)
    torch.testing.assert_close(found.loss, expected.loss, rtol=0, atol=0)
    torch.testing.assert_close(other.state_dict(), one.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "kind",
    [
        *(CrossoverRecord, Exercise, _Call, _Rule),
        *(CholeskyFinding, CholeskyReport, LowRankCovariance, StructuredHistory, Run),
    ],
)
def test_what_is_made_once_does_not_change(kind):
    assert kind.__dataclass_params__.frozen


def test_what_holds_tensors_is_equal_to_itself_alone():
    """Tensors cannot be compared in one word, and have no hash of their contents."""
    covariances = [LowRankCovariance(TABLE[0], TABLE[:2].mT, TABLE[1].exp()) for _ in range(2)]
    histories = [fit(STRUCTURED["diagonal"](TABLE), TABLE, max_steps=1) for _ in range(2)]
    for one, other in (covariances, histories):
        assert one == one
        assert one != other
        assert len({one, other}) == 2


def test_defaults_are_those_of_the_docstrings():
    assert structured_fit.MOST_STEPS == 1000
    assert inspect.signature(factor_analysis).parameters["n_starts"].default == 20
    assert StructuredHistory.__dataclass_fields__["n_parameters"].default == 0
    truth = Gaussian(TABLE[0], factor_of(TABLE))
    for found, expected in zip(
        [*distance_band(9, 2, repeats=40), *draw_estimates(truth, 9, 2)],
        [*distance_band(9, 2, repeats=40, seed=0), *draw_estimates(truth, 9, 2, seed=0)],
        strict=True,
    ):
        assert torch.equal(found, expected)


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
