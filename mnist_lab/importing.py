"""Imports of large libraries, without the search for garbage among what they make."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected(*modules: str) -> Iterator[None]:
    """Look for no garbage while the block imports, nor among what it made afterwards.

    All that an import makes stays. Python looks through it several times on the way all the same,
    which takes a fifth of the time of importing TensorFlow and MLflow, and again and again later.

    Args:
        modules: what the block imports; where all of it is imported already, nothing is changed.
    """
    if not gc.isenabled() or all(name in sys.modules for name in modules):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
