"""The contestants of the benchmarks end at the same answers, and the figures are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import (
    data_pass,
    figures,
    growth,
    log_prob,
    many_fits,
    mini_batches,
    one_fit,
    peers,
    report,
    textbook,
)
from benchmarks.peers import Entry
from benchmarks.problems import Truth, samples
from helpers import SufficientStatistics, two_correlated

ROOT = Path(__file__).parents[2]


def errors(entries: list[Entry]) -> dict[str, float]:
    """The error of each contestant's answer, by name."""
    contestants, _ = peers.gather(entries)
    found = {}
    for each in contestants:
        answer = each.work(each.prepare() if each.prepare else None)
        if each.error is not None:
            found[each.name] = each.error(answer)
    return found


def test_ways_to_fit_one_gaussian_end_at_the_same_one():
    found = errors(one_fit.entries(samples(300, 3)))
    assert found.pop("MSE of the textbook") > 1e-6  # that is what is wrong with it
    for name in ("textbook", "GPyTorch, Adam", "Pyro, SVI with Adam", "NumPyro, SVI with Adam"):
        assert found.pop(name, 0.0) <= 1e-5  # 1e-6, or what 1,000 steps leave
    assert {*one_fit.WAYS, "closed form"} <= set(found)
    # The tolerance of fit, which closed forms undercut.
    assert {name: gap for name, gap in found.items() if gap > 1e-10} == {}


def test_ways_to_fit_many_gaussians_end_at_the_same_ones():
    found = errors(many_fits.entries(samples(40, 2, batch_shape=(3,))))
    assert found.pop("textbook, a loop") <= textbook.STOP_AT
    assert "helpers, fit" in found
    assert {name: gap for name, gap in found.items() if gap > 1e-10} == {}


def test_densities_and_gradients_agree():
    data = samples(200, 3, dtype=torch.float32)
    gaussian = log_prob.away_from_the_optimum(data)
    found = errors(log_prob.forward(data, gaussian))
    assert "helpers, log_prob" in found
    # A few units of float32's 6e-8, grown by the condition number's root of 10.
    assert {name: error for name, error in found.items() if error > 1e-5} == {}
    found = errors(log_prob.with_backward(data, gaussian))
    assert {"helpers, mean_log_prob", "helpers, model"} <= set(found)
    assert {name: error for name, error in found.items() if error > 1e-4} == {}


def test_passes_over_the_data_agree(tmp_path):
    data = samples(500, 3, dtype=torch.float32)
    data.numpy().tofile(tmp_path / "data")
    found = errors(data_pass.entries(data, tmp_path / "data"))
    assert {"torch.cov", "helpers, from_data", "helpers, from_data of a memmap"} <= set(found)
    assert {name: error for name, error in found.items() if error > 1e-5} == {}


def test_mini_batches_of_the_helpers_end_below_the_textbook_s_floor():
    found = errors(mini_batches.to_floor(two_correlated(mini_batches.N)))
    assert 1e-5 < found.pop("textbook") < 1e-2
    assert {name: gap for name, gap in found.items() if gap > 1e-10} == {}


def test_growth_times_fits_that_are_done():
    found = errors(growth.entries(samples(100, 3)))
    assert set(found) == {"helpers, fit from data", "helpers, fit from statistics"}
    assert max(found.values()) <= 1e-10


def test_the_floor_is_where_the_textbook_stays():
    n_epochs, floor = mini_batches.epochs_to_floor(two_correlated(mini_batches.N))
    assert 1 < n_epochs <= mini_batches.EPOCHS_OBSERVED // 2
    assert 1e-5 < floor < 1e-2


def test_the_figures_of_the_benchmarks_are_those_they_draw(tmp_path, monkeypatch):
    monkeypatch.setenv("COVARIANCE_FIGURES", str(tmp_path))
    assert figures.draw(report.read()["rows"]) == list(figures.NAMES)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {f"bench_{name}.png" for name in figures.NAMES}
    assert drawn == {path.name for path in (ROOT / "figures").glob("bench_*")}


@pytest.mark.parametrize(
    ("peer", "steps"),
    [
        ("GPyTorch", peers.gpytorch_steps),
        ("Pyro", peers.pyro_steps),
        ("NumPyro", peers.numpyro_steps),
    ],
)
def test_the_peers_steps_of_adam_are_those_followed_on_the_statistics(peer, steps):
    pytest.importorskip(peers.MODULES[peer])
    data = samples(400, 3)
    statistics = SufficientStatistics.from_data(data)
    gaps = textbook.gaps_from_statistics(statistics, peers.STEPS_TIMED, log_diagonal=0.0)
    # Their losses are sums instead of means, which enters only through Adam's eps of 1e-8.
    assert Truth(data).gap(*steps(data)(None)) == pytest.approx(gaps[-1], rel=1e-5)
