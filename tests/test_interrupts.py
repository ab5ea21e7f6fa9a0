"""Ctrl-C is held back only while it is asked to be; test_checkpoints.py says so of whole fits."""

from __future__ import annotations

import signal
import threading

import pytest

from helpers.interrupts import Interrupts


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def interrupts(python_handles_ctrl_c) -> Interrupts:
    return Interrupts()


def test_it_waits_for_the_release_and_is_then_forgotten(interrupts):
    with interrupts.deferred():
        for _ in range(2):
            assert not interrupts.is_held
            interrupts.hold()
            assert interrupts.is_held
            press()
            with pytest.raises(KeyboardInterrupt):
                interrupts.release()
            assert not interrupts.is_held
            interrupts.release()  # nothing has waited any more
            interrupts.hold()
            interrupts.release()


def test_a_second_one_does_not_wait(interrupts):
    with interrupts.deferred():
        interrupts.hold()
        press()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_what_is_not_held_comes_at_once(interrupts):
    with interrupts.deferred():
        with pytest.raises(KeyboardInterrupt):
            press()
        interrupts.hold()
        interrupts.release()
        with pytest.raises(KeyboardInterrupt):
            press()
    interrupts.hold()
    with pytest.raises(KeyboardInterrupt):
        press()


@pytest.mark.parametrize("ends_by", [ValueError, KeyboardInterrupt])
def test_afterwards_it_is_as_it_was(interrupts, ends_by):
    with interrupts.deferred():
        assert signal.getsignal(signal.SIGINT) == interrupts._receive
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ends_by), interrupts.deferred():
        raise ends_by
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_stays(interrupts):
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with interrupts.deferred():
        interrupts.hold()
        press()
        interrupts.release()
    assert seen == [signal.SIGINT]


def test_another_thread_changes_nothing(interrupts):
    ran = []

    def work() -> None:
        with interrupts.deferred():
            ran.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [signal.default_int_handler]
