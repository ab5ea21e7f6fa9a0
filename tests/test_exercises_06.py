"""Exercises of notebook 6: independent truth for the solutions."""

from __future__ import annotations

import torch

from helpers import RowScaledCholesky
from helpers.exercises.notebook_06 import EXERCISES, log_jacobian, softplus_inverse, to_raw_units


def test_the_softplus_of_the_free_numbers_is_the_diagonal():
    for (diagonal,) in EXERCISES["06.1"].cases:
        again = torch.logaddexp(softplus_inverse(diagonal), torch.zeros_like(diagonal))
        torch.testing.assert_close(again, diagonal, rtol=1e-12, atol=0)  # a few roundings


def test_the_jacobian_is_that_of_autograd():
    for (scale_tril,) in EXERCISES["06.2"].cases:
        rows, columns = torch.tril_indices(*scale_tril.shape)

        def entries(free, rows=rows, columns=columns):
            factor = RowScaledCholesky()(free)
            return (factor @ factor.mT)[rows, columns]

        at = RowScaledCholesky().right_inverse(scale_tril)
        expected = torch.linalg.slogdet(torch.autograd.functional.jacobian(entries, at)).logabsdet
        torch.testing.assert_close(log_jacobian(scale_tril), expected, rtol=1e-12, atol=1e-12)


def test_samples_in_raw_units_have_the_moments_of_the_answer():
    generator = torch.Generator().manual_seed(0)
    for loc, scale_tril, m, s in EXERCISES["06.3"].cases:
        noise = torch.randn(1000, len(loc), dtype=torch.float64, generator=generator)
        z = loc + noise @ scale_tril.mT
        fitted = torch.linalg.cholesky(torch.cov(z.T, correction=0))
        mean, covariance = to_raw_units(z.mean(dim=0), fitted, m, s)
        x = m + s * z
        torch.testing.assert_close(mean, x.mean(dim=0), rtol=1e-10, atol=0)
        torch.testing.assert_close(covariance, torch.cov(x.T, correction=0), rtol=1e-9, atol=0)


def test_a_matrix_product_with_a_diagonal_matrix_is_a_right_answer():
    def answer(loc, scale_tril, m, s):
        return m + s.diag() @ loc, s.diag() @ scale_tril @ scale_tril.mT @ s.diag()

    passed, _ = EXERCISES["06.3"].diagnose(answer)
    assert passed
