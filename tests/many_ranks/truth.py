"""What the statistics of some rows are, computed otherwise: NumPy, two passes, more digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from helpers import GaussianLikelihood, maximum_likelihood

EXTENDED = np.longdouble  # 64 bits of mantissa on x86-64; elsewhere maybe no more than float64


@dataclass(frozen=True)
class Truth:
    """Count, mean and scatter, and what they are measured by."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """The root of the diagonal of the scatter: the length of each centred column."""
        return np.sqrt(np.diagonal(self.scatter, axis1=-2, axis2=-1))


def truth_of(data: np.ndarray) -> Truth:
    """The statistics of rows, shape (*batch, n, d), in two passes and extended precision."""
    rows = data.astype(EXTENDED)
    n = rows.shape[-2]
    mean = rows.sum(-2) / max(n, 1)
    centred = rows - mean[..., None, :]
    scatter = np.einsum("...ki,...kj->...ij", centred, centred)
    return Truth(n, mean, scatter)


def departure(found, truth: Truth) -> float:
    """How far statistics are from the truth: the larger of two relative errors.

    The mean is measured by its own size or that of the column's deviations, whichever is larger;
    an entry of the scatter by the lengths of its two columns.
    """
    assert found.count.unique().tolist() == [truth.count]
    if truth.count == 0:
        return float(abs(found.mean).max() + abs(found.scatter).max())
    spread = truth.spread
    size = np.maximum(abs(truth.mean), spread / np.sqrt(truth.count))
    of_mean = _ratio(abs(found.mean.numpy() - truth.mean), size)
    lengths = spread[..., :, None] * spread[..., None, :]
    return float(max(of_mean, _ratio(abs(found.scatter.numpy() - truth.scatter), lengths)))


def _ratio(error: np.ndarray, size: np.ndarray) -> float:
    assert (error[size == 0] == 0).all()
    return (error[size > 0] / size[size > 0]).max(initial=0.0)


State = dict[str, torch.Tensor]


def one_process(data: np.ndarray) -> State:
    """The state of the model under which rows in memory are most probable, in closed form."""
    model = GaussianLikelihood(data.shape[1], dtype=torch.float64)
    optimum = maximum_likelihood(torch.from_numpy(data).double())
    model.assign(optimum.loc, optimum.scale_tril)
    return model.state_dict()


def model_of(state: State) -> GaussianLikelihood:
    """The model that has a state."""
    model = GaussianLikelihood(len(state["loc"]), dtype=state["loc"].dtype)
    model.load_state_dict(state)
    return model.requires_grad_(False)


def apart(found: State, expected: State) -> float:
    """The largest relative difference of two models.

    A mean is measured by its size and its standard deviation, a covariance by those of its columns.
    """
    assert found.keys() == expected.keys()
    one, other = model_of(found), model_of(expected)
    deviations = other.covariance_matrix.diagonal().sqrt()
    of_loc = (one.loc - other.loc).abs() / (other.loc.abs() + deviations)
    of_covariance = (one.covariance_matrix - other.covariance_matrix).abs()
    of_covariance /= deviations[:, None] * deviations
    return max(of_loc.max().item(), of_covariance.max().item())


def write_shards(folder: Path, data: np.ndarray, cuts: list[int]) -> list[Path]:
    """Cut rows, shape (n, d), into shards behind the given rows."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, rows in enumerate(np.split(data, sorted(cuts))):
        paths.append(folder / f"{number:03d}.npy")
        np.save(paths[-1], rows)
    return paths
