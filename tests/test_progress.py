"""The bar is for those who wait: nothing before two seconds, unless it is asked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from helpers import GaussianLikelihood, fit, progress, two_correlated
from helpers.progress import ProgressBar


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_the_bar_appears_after_two_seconds_and_not_before(clock, capsys):
    with ProgressBar(10) as bar:
        for clock.now in (0.5, 1.0, 1.99):
            bar.advance()
        assert capsys.readouterr().err == ""
        clock.now = 2.0
        bar.advance()
        assert "4/10" in capsys.readouterr().err
    assert bar._bar.disable  # closed


def test_steps_of_an_earlier_session_count(clock, capsys):
    with ProgressBar(10, True, done=6) as bar:
        bar.advance()
        bar.advance()
        assert bar._bar.n == 8
    assert "7/10" in capsys.readouterr().err


@pytest.mark.parametrize(("show", "shown"), [(None, True), (True, True), (False, False)])
def test_the_reader_decides(show, shown, clock, capsys):
    with ProgressBar(2, show) as bar:
        clock.now = 1e9
        bar.advance()
    assert bool(capsys.readouterr().err) == shown


def test_fit_is_silent_when_it_is_quick_and_obeys(capsys):
    for show, shown in ((None, False), (False, False), (True, True)):
        fit(GaussianLikelihood(2), two_correlated(50), progress=show)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert bool(captured.err) == shown


def test_fit_shows_the_bar_when_patience_ends(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    fit(GaussianLikelihood(2), two_correlated(50), optimizer="adam", max_steps=5)
    assert "5" in capsys.readouterr().err


def test_the_bar_says_what_it_counts_and_goes_when_it_is_done(monkeypatch):
    asked = []
    monkeypatch.setattr("tqdm.auto.tqdm", lambda **options: asked.append(options))
    ProgressBar(10, True, done=3).advance()
    told = {"desc": "fit", "unit": "step", "unit_scale": False}
    assert asked == [{"total": 10, "initial": 4, **told, "leave": False}]


def test_a_wrong_wish_is_named():
    with pytest.raises(TypeError, match="progress: expected True, False or None, got 'yes'"):
        ProgressBar(1, "yes")
