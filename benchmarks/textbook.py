"""The way of a typical answer on the web, written for the benchmark and not recommended.

Three systems: a mean squared error to the sample covariance, 500 steps; a likelihood through
`MultivariateNormal(mean, L L^T)` at every step; the same in mini-batches from a `DataLoader`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.utils.data import DataLoader

from helpers import SufficientStatistics, kl_divergence, maximum_likelihood, mean_log_prob

LEARNING_RATE = 0.01
MSE_STEPS = 500
MAX_STEPS = 1000
STOP_AT = 1e-6  # nats above the optimum


class TextbookGaussian(nn.Module):
    """A mean and a matrix of which only the lower triangle counts, its diagonal exponentiated."""

    def __init__(self, dim: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.lower_tri = nn.Parameter(torch.eye(dim, dtype=dtype))
        self.loc = nn.Parameter(torch.zeros(dim, dtype=dtype))

    @property
    def scale_tril(self) -> Tensor:
        """L, (d, d)."""
        mask = torch.tril(torch.ones_like(self.lower_tri))
        lower = self.lower_tri * mask
        return torch.diag(torch.exp(torch.diag(lower))) + torch.tril(lower, diagonal=-1)

    @property
    def covariance_matrix(self) -> Tensor:
        """L L^T, (d, d)."""
        scale_tril = self.scale_tril
        return torch.matmul(scale_tril, scale_tril.transpose(-1, -2))

    def forward(self, data: Tensor) -> Tensor:
        """Mean negative log-likelihood; builds a distribution, which factorises L L^T again."""
        return -MultivariateNormal(self.loc, self.covariance_matrix).log_prob(data).mean()


def fit_by_mse(
    model: TextbookGaussian, covariance: Callable[[], Tensor], n_steps: int = MSE_STEPS
) -> TextbookGaussian:
    """Mean squared error to the sample covariance, which is computed again at every step."""
    optimizer = torch.optim.Adam([model.lower_tri], lr=LEARNING_RATE)
    loss_fn = nn.MSELoss()
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = loss_fn(model.covariance_matrix, covariance())
        loss.backward()
        optimizer.step()
    return model


def fit_by_likelihood(
    model: TextbookGaussian, data: Tensor, n_steps: int = MAX_STEPS
) -> TextbookGaussian:
    """Likelihood of all the data at every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = model(data)
        loss.backward()
        optimizer.step()
    return model


def fit_in_mini_batches(
    model: TextbookGaussian,
    data: Tensor,
    n_epochs: int,
    *,
    batch_size: int = 32,
    learning_rate: float = LEARNING_RATE,
    schedule: bool = False,
) -> TextbookGaussian:
    """Likelihood of one batch a step; with `schedule`, a cosine that ends at zero."""
    loader = DataLoader(data, batch_size=batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=n_epochs * len(loader))
    for _ in range(n_epochs):
        for batch in loader:
            optimizer.zero_grad()
            loss = model(batch)
            loss.backward()
            optimizer.step()
            if schedule:
                cosine.step()
    return model


def gaps_from_statistics(
    statistics: SufficientStatistics, n_steps: int = MAX_STEPS, *, log_diagonal: float = 1.0
) -> list[float]:
    """Gap after each step of `fit_by_likelihood`, without its time.

    A step depends on the data through their statistics alone, so the same steps can be followed on
    them: equal up to rounding, and affordable where the real thing takes minutes.

    Parameters
    ----------
    statistics : SufficientStatistics, without batch
    n_steps : int
        The list is shorter if the gap comes down to 1e-6 before.
    log_diagonal : float
        Of the factor at the start: 1 is the textbook's, 0 the standard normal.

    Returns
    -------
    list of float
        In nats.
    """
    model = TextbookGaussian(statistics.dim, statistics.mean.dtype)
    with torch.no_grad():
        model.lower_tri.fill_diagonal_(log_diagonal)
    optimum = maximum_likelihood(statistics)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    gaps: list[float] = []
    while len(gaps) < n_steps and (not gaps or gaps[-1] > STOP_AT):
        optimizer.zero_grad()
        loss = -mean_log_prob(statistics, model.loc, model.scale_tril)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            gaps.append(kl_divergence(optimum, model).item())
    return gaps
