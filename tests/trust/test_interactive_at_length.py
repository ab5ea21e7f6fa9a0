"""Interactive pictures moved for long, and a run behind one of them made again."""

from __future__ import annotations

import gc

import matplotlib.pyplot as plt
import pytest
import torch
from test_interactive import PICTURES, new, unusual_state

from helpers.interactive import __main__ as command
from helpers.interactive import noise_floor


@pytest.mark.parametrize("name", PICTURES)
def test_moves_there_and_back_leave_the_same_picture_and_keep_nothing(name):
    picture, figures = new(name), plt.get_fignums()
    png, words = picture.image.value, picture.words
    first = {key: control.value for key, control in picture.controls.items()}
    moves = list(command.random_moves(picture, 10))
    for move in moves:  # what is computed once is computed now
        move()
    gc.collect()
    objects = len(gc.get_objects())
    for move in moves:
        move()
    gc.collect()
    assert len(gc.get_objects()) < objects + len(moves)  # less than one a move
    picture.move(**first)
    assert (picture.image.value, picture.words) == (png, words)
    assert plt.get_fignums() == figures


def test_a_recorded_run_can_be_made_again():
    (recorded,) = (run for run in noise_floor.load_runs() if run[:2] == (0.1, 256))
    with unusual_state() as state:
        again = noise_floor.make_run(0.1, 256)
        assert torch.equal(torch.get_rng_state(), state)
    # Written with three digits; on another processor training may end in another fifth one.
    assert again.gap == pytest.approx(recorded.gap, rel=0.01)
    assert again.level == pytest.approx(recorded.level, rel=0.01)
    assert again.step == recorded.step
    assert again.falling == recorded.falling
