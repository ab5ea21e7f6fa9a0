"""Steps to the optimum over the condition number of the covariance, d = 8."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from benchmarks.problems import Truth, samples
from benchmarks.report import Row, Settings, rounded
from benchmarks.textbook import MAX_STEPS, TextbookGaussian, fit_by_likelihood
from helpers import GaussianLikelihood, fit

CONDITIONS = (1e2, 1e4, 1e6, 1e8)
N, D = 1_000, 8
WAYS = {
    "helpers, gradient written out": "natural",
    "helpers, autograd": "natural-autograd",
}


def rows(settings: Settings) -> list[Row]:
    """Steps and the gap at which they end; the textbook has 1,000."""
    found: list[Row] = []
    for condition in CONDITIONS:
        data = samples(N, D, condition=condition)
        case = f"condition {condition:.0e}"
        for name, optimizer in WAYS.items():
            found.append(_row(case, name, *by_helpers(data, optimizer)))
        if not settings.quick:
            found.append(_row(case, "textbook", *by_textbook(data)))
    return found


def by_helpers(data: Tensor, optimizer: str) -> tuple[int, float, str]:
    """Steps until a gap of 1e-10, the gap in the end, and a note."""
    model = GaussianLikelihood(data.shape[-1], dtype=data.dtype)
    history = fit(model, data, optimizer=optimizer, progress=False)
    gap = Truth(data).gap(model.loc, model.scale_tril)
    return history.n_steps, gap, "" if history.converged else "not converged"


def by_textbook(
    data: Tensor,
    fit_model: Callable[[TextbookGaussian, Tensor, int], TextbookGaussian] = fit_by_likelihood,
) -> tuple[int, float, str]:
    """The textbook's 1,000 steps, or what stopped them."""
    model = TextbookGaussian(data.shape[-1], data.dtype)
    note = ""
    try:
        fit_model(model, data, MAX_STEPS)
    except (ValueError, RuntimeError) as error:
        note = f"stopped by {type(error).__name__}"
    return MAX_STEPS, Truth(data).gap(model.loc, model.scale_tril), note


def _row(case: str, contestant: str, steps: int, gap: float, note: str) -> Row:
    return {
        "table": "conditioning",
        "case": case,
        "contestant": contestant,
        "steps": steps,
        "error": rounded(gap),
        "error_is": "gap",
        "note": note,
    }
