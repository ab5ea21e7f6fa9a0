"""Ctrl-C between two steps of a fit, and not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Holds Ctrl-C back while a model and its optimiser would disagree.

    Only where Ctrl-C does what it does by default, in the main thread: elsewhere its handling
    belongs to somebody else.
    """

    def __init__(self) -> None:
        self.is_held = False
        self._is_waiting = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this, `hold` and `release` have an effect on Ctrl-C."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def hold(self) -> None:
        """From here on a first Ctrl-C waits."""
        self.is_held = True

    def release(self) -> None:
        """Let Ctrl-C through; KeyboardInterrupt if one has waited."""
        self.is_held = False
        if self._is_waiting:
            self._is_waiting = False
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.is_held and not self._is_waiting:
            self._is_waiting = True
            return
        signal.default_int_handler(number, frame)  # who asks twice is in a hurry
