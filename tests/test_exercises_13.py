"""Exercises of notebook 13: independent truth for the solutions."""

from __future__ import annotations

import pytest
import torch

from helpers.exercises.notebook_13 import EXERCISES, break_even_bytes, loss_factors, merged_scatter
from helpers.scaling import ring_terms


def test_the_merged_scatter_is_that_of_the_rows_together():
    generator = torch.Generator().manual_seed(0)
    sizes = (30, 7, 0, 12)
    parts = [
        (k + 1) * torch.randn(n, 3, dtype=torch.float64, generator=generator) + 2 * k
        for k, n in enumerate(sizes)
    ]
    counts = torch.tensor(sizes, dtype=torch.float64)
    means = torch.stack([x.sum(0) / max(1, len(x)) for x in parts])
    scatters = torch.stack([(x - m).mT @ (x - m) for x, m in zip(parts, means, strict=True)])
    together = torch.cat(parts)
    around = together - together.mean(0)
    merged = merged_scatter(counts, means, scatters)
    torch.testing.assert_close(merged, around.mT @ around, rtol=1e-12, atol=0)  # rounding


def test_an_average_over_ranks_with_the_factors_is_the_mean_over_all_rows():
    for (counts,) in EXERCISES["13.2"].cases:
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randn(int(n), dtype=torch.float64, generator=generator) for n in counts]
        means = torch.stack([x.sum() / max(1, len(x)) for x in rows])
        average = (loss_factors(counts) * means).mean()  # what DDP does
        assert average.item() == pytest.approx(torch.cat(rows).mean().item(), rel=1e-12)


def test_at_break_even_ring_and_doubling_take_the_same_time():
    for ranks, alpha, beta in EXERCISES["13.3"].cases:
        size = break_even_bytes(ranks, alpha, beta)
        messages, sent = ring_terms(ranks, size)
        rounds = ranks.bit_length() - 1  # of a power of two
        assert messages * alpha + sent * beta == pytest.approx(rounds * (alpha + size * beta))
        assert size > 0


def test_a_loop_over_the_ranks_is_a_right_answer():
    def answer(counts, means, scatters):
        mean = sum(n * m for n, m in zip(counts, means, strict=True)) / counts.sum()
        total = torch.zeros_like(scatters[0])
        for n, m, c in zip(counts, means, scatters, strict=True):
            total = total + c + n * torch.outer(m - mean, m - mean)
        return total

    passed, _ = EXERCISES["13.1"].diagnose(answer)
    assert passed
