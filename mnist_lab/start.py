"""How commands that train begin: the store is opened before TensorFlow is imported."""

from __future__ import annotations

import os
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_lab import unsent
from mnist_lab.importing import uncollected
from mnist_lab.new_store import Beside

if TYPE_CHECKING:
    from mnist_lab.tracking import Store


def start(module: str, workers: int | None, scheduler: str | None) -> Store:
    """The store, opened first: TensorFlow takes longer to import than a store to fail.

    Args:
        module: what the command will import next.
        workers: of this machine, which will be forked; None for none.
        scheduler: of other workers; None for none.

    Raises:
        TrackingError: the store cannot be reached or written.
        RoomError: there is no room for what a run writes.
    """
    if workers is not None:
        from mnist_lab.forking import prepare

        prepare()
    new = "MLFLOW_TRACKING_URI" not in os.environ and not Path("mlflow.db").exists()
    alone = workers is None and scheduler is None  # this process trains, with TensorFlow
    modules = [module, *(["mnist_lab.recording"] if alone else [])]
    with uncollected("mnist_lab.tracking", module):
        with Beside(lambda: [*map(import_module, modules)]) if new else nullcontext() as beside:
            from mnist_lab.tracking import open_store

            store = open_store(beside=beside)
        import_module(module)
    if said := unsent.hint():
        click.echo(said, err=True)
    return store
