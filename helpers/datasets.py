"""Data of the course: a made one whose truth is known, and real ones that need no download."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from helpers.validation import LARGEST_SIZE, as_dtype, require_choice, require_count

TOY_LOC = (1.0, -1.0)
TOY_COVARIANCE = ((1.0, 0.5), (0.5, 2.0))
NAMES = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")


class Dataset(NamedTuple):
    """Samples with the names of their columns.

    Attributes
    ----------
    data : Tensor of float64, shape (n, d)
    target : Tensor, shape (n,) or (n, k)
        Class of each sample, or what is to be predicted.
    columns : list of str
    """

    data: Tensor
    target: Tensor
    columns: list[str]


def load_dataset(name: str) -> Dataset:
    """One of the real data sets that come with scikit-learn, in raw units.

    Parameters
    ----------
    name : {"breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"}

    Returns
    -------
    Dataset
        In float64.

    Raises
    ------
    ValueError
        If there is no data set of that name.
    """
    require_choice(name, "name", NAMES)
    from sklearn import datasets  # half a second, only for those who use it

    loaded = getattr(datasets, f"load_{name}")()
    return Dataset(
        torch.as_tensor(loaded.data, dtype=torch.float64),
        torch.as_tensor(loaded.target),
        [str(column) for column in loaded.feature_names],
    )


def two_correlated(n: int, seed: int = 42, dtype: torch.dtype = torch.float64) -> Tensor:
    """Samples of the course's running example: two correlated variables with a known truth.

    Mean (1, -1), variances 1 and 2, covariance 0.5. The draws are those of
    `MultivariateNormal(...).sample((n,))` in float32 after `torch.manual_seed(seed)`, so that a
    reader can draw them again; the global seed is left alone.

    Parameters
    ----------
    n : int
    seed : int
    dtype : torch.dtype
        What the float32 draws are converted to.

    Returns
    -------
    Tensor, shape (n, 2)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    """
    n = require_count(n, "n", maximum=LARGEST_SIZE // 2)
    seed, dtype = require_count(seed, "seed", minimum=0), as_dtype(dtype)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs too
        # In float32 whatever the default dtype: other dtypes draw other numbers.
        truth = torch.distributions.MultivariateNormal(
            torch.tensor(TOY_LOC, dtype=torch.float32),
            torch.tensor(TOY_COVARIANCE, dtype=torch.float32),
        )
        return truth.sample((n,)).to(dtype)
