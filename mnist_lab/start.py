"""How commands that train begin: the store is opened while TensorFlow is imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnist_lab.tracking import Store


def start(workers: int | None) -> Store:
    """The store, opened first: TensorFlow takes longer to import than a store to fail.

    Args:
        workers: of this machine, which will be forked; None for none.

    Raises:
        TrackingError: the store cannot be reached or written.
        RoomError: there is no room for what a run writes.
    """
    if workers is not None:
        from mnist_lab.forking import prepare

        prepare()

    from mnist_lab.tracking import open_store

    return open_store(meanwhile=lambda: import_module("mnist_lab.recording"))
