"""Exercises of notebook 04: independent truth for the solutions."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.exercises.comparing import TOLERANCE
from helpers.exercises.notebook_04 import EXERCISES, break_even


def test_merged_covariance_is_that_of_the_samples_together():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(30, 3, dtype=torch.float64, generator=generator) + 1
    b = 2 * torch.randn(7, 3, dtype=torch.float64, generator=generator) - 3
    parts = [(len(x), x.mean(0), torch.cov(x.mT, correction=0)) for x in (a, b)]
    merged = EXERCISES["04.1"].solution(*parts[0], *parts[1])
    together = torch.cov(torch.cat([a, b]).mT, correction=0)
    torch.testing.assert_close(merged, together, rtol=1e-12, atol=1e-12)  # rounding of float64


def test_squared_distances_agree_with_torch():
    for value, loc, scale_tril in EXERCISES["04.2"].cases:
        with_an_axis = torch.distributions.MultivariateNormal(
            loc[:, None], scale_tril=scale_tril[:, None]
        )
        log_det = 2 * scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        constant = value.shape[-1] * math.log(2 * math.pi)
        expected = -2 * with_an_axis.log_prob(value) - constant - log_det
        solved = EXERCISES["04.2"].solution(value, loc, scale_tril)
        torch.testing.assert_close(solved, expected, **TOLERANCE)


def test_at_break_even_both_devices_take_the_same_time():
    for cpu_call, cpu_each, gpu_call, gpu_each, transfer in EXERCISES["04.3"].cases:
        batch = break_even(cpu_call, cpu_each, gpu_call, gpu_each, transfer)
        on_gpu = [gpu_call + (gpu_each + transfer) * b for b in (min(batch, 1e9), 1e9)]
        on_cpu = [cpu_call + cpu_each * b for b in (min(batch, 1e9), 1e9)]
        if math.isinf(batch):
            assert on_gpu[1] > on_cpu[1]
        else:
            assert on_gpu[0] == pytest.approx(on_cpu[0])
            assert on_gpu[1] < on_cpu[1]


def test_a_guard_that_forgets_equal_costs_is_told_of_the_division():
    def answer(cpu_call, cpu_each, gpu_call, gpu_each, transfer_each):
        saved = cpu_each - gpu_each - transfer_each
        return math.inf if saved < 0 else (gpu_call - cpu_call) / saved

    passed, sentence = EXERCISES["04.3"].diagnose(answer)
    assert not passed
    assert sentence.startswith("your code raises ZeroDivisionError")


def test_nothing_in_place_of_never_is_not_taken_for_no_answer():
    def answer(*case):
        return break_even(*case) if math.isfinite(break_even(*case)) else None

    sentence = "for some arguments your function returns nothing."
    assert EXERCISES["04.3"].diagnose(answer) == (False, sentence)


def test_an_axis_taken_for_another_fits_in_shape():
    # Else the traps of 04.2 would end in an error message, and their sentences never be said.
    for value, loc, _ in EXERCISES["04.2"].cases:
        assert (value - loc).shape == value.shape
        assert value.shape[0] == value.shape[1] != value.shape[2]
