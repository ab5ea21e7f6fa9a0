"""Rounding: each function in float32 and float64 beside 60 digits, up to condition 1e12.

The bounds, with their reasons, stand in `reliability.errors`; nothing is added to them here.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import DTYPES, dims, seeds

from helpers import SufficientStatistics, maximum_likelihood
from reliability.errors import (
    CASES,
    FIRST_ORDER,
    LARGEST_ACCEPTED,
    Case,
    Outcome,
    Problem,
    factor_condition,
    sure_to_be_factored,
)
from reliability.exact import FACTORS

kinds = st.sampled_from(sorted(FACTORS))
dtypes = st.sampled_from(DTYPES)
BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@given(dims, st.floats(0, 12), seeds, dtypes, kinds)
def test_the_error_keeps_to_its_bound(case, dim, log_condition, seed, dtype, kind):
    problem = Problem(dim, factor_condition(case, 10**log_condition), seed, dtype, kind)
    outcome = ask(case, problem)
    if isinstance(outcome, ValueError):
        assert may_refuse(case, problem), outcome
        assert "expected a positive definite matrix" in str(outcome)
    else:
        assert outcome.finite
        assert not outcome.promised or (outcome.error <= outcome.bound).all()


def ask(case: Case, problem: Problem) -> Outcome | ValueError:
    """What came out, which may be a refusal."""
    try:
        return case.measure(problem)
    except ValueError as refusal:
        return refusal


def may_refuse(case: Case, problem: Problem) -> bool:
    """Whether the matrix is too near to singular to be told from one that is."""
    if problem.dtype == torch.float64:
        return False  # up to condition 1e12
    if case.name == "natural_step":
        return problem.dim**2 * problem.eps * problem.kappa**2 > FIRST_ORDER
    if case.name in ("maximum_likelihood", "minimum_nll"):
        return not sure_to_be_factored(problem)
    return False


# Accepted by a rule that looks at one column at a time, with variances off by up to 470 times.
@example(dim=4, log_condition=9.0, seed=31, dtype=torch.float32)
@example(dim=3, log_condition=10.0, seed=55, dtype=torch.float32)
@example(dim=3, log_condition=18.0, seed=19, dtype=torch.float64)
@given(dim=st.integers(2, 6), log_condition=st.floats(0, 20), seed=seeds, dtype=dtypes)
def test_beyond_its_reach_an_estimate_is_refused_or_near(dim, log_condition, seed, dtype):
    """Up to condition 1e20, where all columns are dependent in either dtype."""
    problem = Problem(dim, 10 ** (log_condition / 2), seed, dtype)
    outcome = ask(BY_NAME["maximum_likelihood"], problem)
    if isinstance(outcome, ValueError):
        assert "has no variance left beyond the columns before it" in str(outcome)
        assert not sure_to_be_factored(problem)
    else:
        assert outcome.worst[0] <= LARGEST_ACCEPTED


def test_rounding_that_grows_from_column_to_column_is_reckoned_with():
    """Each column leaves more than rounding to the next, yet the last is made of rounding."""
    own = 2.0**-8  # squared, 128 roundings of one: enough for a column by itself
    factor = torch.tensor([[1.0, 0.0, 0.0], [1.0, own, 0.0], [0.0, 1.0, own]])
    covariance = factor @ factor.mT  # nothing is rounded: all are sums of two powers of two
    statistics = SufficientStatistics(torch.tensor(4), torch.zeros(3), 4 * covariance)
    with pytest.raises(ValueError, match="column 2 has no variance left beyond the columns"):
        maximum_likelihood(statistics)
    wide = statistics.to(torch.float64)  # where rounding is far away
    assert torch.equal(maximum_likelihood(wide).scale_tril, factor.double())


@given(dims, st.floats(0, 6), seeds, st.integers(1, 400))
def test_narrow_samples_give_what_wide_ones_give(dim, log_far, seed, n):
    """The same numbers in both dtypes, up to a million standard deviations from zero."""
    problem = Problem(dim, 10.0, seed, torch.float32)
    samples = problem.normal(n, dim, number=4) @ problem.scale_tril.mT + 10**log_far
    narrow = SufficientStatistics.from_data(samples)
    wide = SufficientStatistics.from_data(samples.double())
    share = (4 + n / 2) * problem.eps
    sigma = wide.scatter.diagonal().sqrt()  # times sqrt(n)
    assert ((narrow.scatter - wide.scatter).abs() <= share * sigma[:, None] * sigma).all()
    # sqrt(n) sigma_i, as in the bound of the mean
    assert ((narrow.mean - wide.mean).abs() <= problem.eps * (wide.mean.abs() + sigma)).all()
