"""Signals that ask a training to stop."""
from __future__ import annotations

import signal
import threading
from typing import Callable

# That of Ctrl-C and that of the end of the terminal stay ignored where they are, in the background or after nohup.
_IF_NOT_IGNORED = (signal.SIGINT, signal.SIGHUP)
_ALWAYS = (signal.SIGTERM,)


class StopSignals:
    """Counts the wishes to stop while it is entered: Ctrl-C, SIGTERM, the end of the terminal.

    In another thread than the main one, where Python cannot handle signals, it hears none.

    Parameters
    ----------
    most : int, optional
        After so many wishes signals act as they did before.
    heard : callable, optional
        Called without arguments at each wish.
    """

    def __init__(self, most: int | None = None, heard: Callable[[], object] = lambda: None) -> None:
        self.count = 0
        self._most = most
        self._heard = heard
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in _IF_NOT_IGNORED if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._hear) for number in (*_ALWAYS, *heeded)}
        return self

    def _hear(self, _number, _frame):
        self.count += 1
        if self.count == self._most:
            self._restore()
        self._heard()

    def _restore(self):
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not Python's

    def __exit__(self, *_):
        self._restore()
