"""Exercises of notebook 8: independent truth for the solutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from helpers import log_det, log_prob, shrunk_covariance
from helpers.exercises.notebook_08 import EXERCISES, low_rank_log_det, most_probable, share_for


def condition_of(S, share):
    values = torch.linalg.eigvalsh(shrunk_covariance(S, share))
    return (values[-1] / values[0]).item()


def test_the_share_reaches_the_limit_and_a_smaller_one_does_not():
    for S, limit in EXERCISES["08.1"].cases:
        share = share_for(S, limit).item()
        if share > 0:
            assert condition_of(S, share) == pytest.approx(limit, rel=1e-10)
            assert condition_of(S, 0.99 * share) > limit
        else:
            assert condition_of(S, 0.0) <= limit


def test_the_most_probable_covariance_is_where_an_optimiser_ends():
    for x, scale, df in EXERCISES["08.2"].cases:
        n, d = x.shape
        rows, columns = np.tril_indices(d)

        def penalised(free, x=x, scale=scale, df=df, n=n, d=d, at=(rows, columns)):
            L = torch.zeros(d, d, dtype=torch.float64)
            L[at] = torch.as_tensor(free[d:])
            L = L.tril(-1) + L.diagonal().exp().diag()
            nll = -log_prob(x, torch.as_tensor(free[:d]), L).sum()
            penalty = (df + d + 1) * log_det(L) + (torch.cholesky_inverse(L) @ scale).trace()
            return (nll + 0.5 * penalty).item()

        start = np.zeros(d + len(rows))
        end = minimize(penalised, start, tol=1e-10).x  # gradients by differences
        L = torch.zeros(d, d, dtype=torch.float64)
        L[rows, columns] = torch.as_tensor(end[d:])
        L = L.tril(-1) + L.diagonal().exp().diag()
        # Differences of a loss leave half of its digits.
        torch.testing.assert_close(L @ L.mT, most_probable(x, scale, df), rtol=1e-4, atol=1e-4)


def test_the_log_determinant_is_that_of_the_whole_matrix():
    for factor, diagonal in EXERCISES["08.3"].cases:
        whole = factor @ factor.mT + diagonal.diag()
        torch.testing.assert_close(
            low_rank_log_det(factor, diagonal), whole.logdet(), rtol=1e-12, atol=0
        )


def test_other_ways_to_the_answer_are_right_too():
    def by_singular_values(cov_factor, cov_diag):
        values = torch.linalg.svdvals(cov_factor / cov_diag.sqrt()[:, None])
        return cov_diag.log().sum() + values.square().log1p().sum()

    def as_data_and_more_rows(x, scale, df):
        rows = torch.cat([x - x.mean(dim=0), torch.linalg.cholesky(scale).mT])
        return rows.mT @ rows / (len(x) + df + x.shape[-1] + 1)

    assert EXERCISES["08.3"].diagnose(by_singular_values)[0]
    assert EXERCISES["08.2"].diagnose(as_data_and_more_rows)[0]
