"""Ctrl-C at the right moment: never in the midst of a write, and told from an error."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held() -> Iterator[None]:
    """Hold a Ctrl-C back until a write is done; also a decorator. A second one breaks through.

    An interrupt within a database's transaction leaves it open and the database locked, so that
    not even the end of the run could be recorded.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Within another hold, or where the user's program has a handler of its own, that one rules.
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    received = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if received:
            raise KeyboardInterrupt
        received = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if received:
            raise KeyboardInterrupt


def is_interrupt(error: BaseException) -> bool:
    """Whether an error is a KeyboardInterrupt, or the consequence of one.

    A signal that arrives while C code is at work comes out as that code's own error: numpy's and
    TensorFlow's "SystemError: … returned a result with an exception set", with its cause.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return False
