"""Send what a store did not take: `python -m mnist_lab.send` empties unsent/."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from mnist_lab.command import command
from mnist_lab.config import UserError

if TYPE_CHECKING:
    from mnist_lab.measured import Measured
    from mnist_lab.tracking import Store

_PATIENCE = 24 * 3600  # seconds; of a process of another machine nothing is known


@click.command(
    epilog="Runs go to the store of MLFLOW_TRACKING_URI, where that is set, and otherwise each to "
    "the store that it was written to. What was sent is removed from unsent/. Should this be "
    "interrupted, run it again: nothing is on record twice."
)
@command
def main() -> None:
    """Send the runs in unsent/ of this folder, which a store did not take in time."""
    from mnist_lab import unsent

    waiting = unsent.kept()
    if not waiting:
        return

    stores: dict[str | None, Store] = {}
    sent = left = 0
    for folder in waiting:
        with unsent.taken(folder) as measured:
            if measured is None:  # another process has sent it
                continue
            if trained := _still_trained(measured, unsent.newest(folder)):
                click.echo(f"left in {folder}: '{measured.name}' {trained}")
                left += 1
                continue
            run_id = _store(measured, stores).deliver(measured, folder)
            unsent.forget(folder)
        sent += 1
        anew = "" if run_id == measured.run_id else f", made anew as {run_id}"
        click.echo(f"sent '{measured.name}' ({measured.run_id}{anew}): {measured.summary()}")
    click.echo(f"{sent} sent, {left} left")


def _still_trained(measured: Measured, newest: float) -> str:
    """What is said of a run that may go on, by when it was last kept; "" of one that does not."""
    from mnist_lab.process import is_dead, is_here

    process = measured.tags.get("process", "")
    if measured.status or is_dead(process):
        return ""
    if is_here(process):
        return "is still being trained"
    if time.time() - newest > _PATIENCE:
        return ""
    machine = process.rsplit(" ", 2)[0].partition("/")[0] or "which is not known"
    return (
        f"may still be trained on another machine ({machine}); it is sent once nothing more was "
        "kept of it for a day"
    )


def _store(measured: Measured, stores: dict[str | None, Store]) -> Store:
    """The store that a run goes to, opened once."""
    from mnist_lab.connection import HIDDEN
    from mnist_lab.tracking import open_store

    uri = None if os.environ.get("MLFLOW_TRACKING_URI") else measured.store
    if uri not in stores:
        if uri is not None and HIDDEN in uri:
            raise UserError(
                f"the run '{measured.name}' was written to {uri}, whose password is kept nowhere; "
                "expected the whole address in MLFLOW_TRACKING_URI"
            )
        stores[uri] = open_store(uri=uri)
    return stores[uri]


if __name__ == "__main__":
    main()
