"""Progress on a terminal: a bar of runs with the time left, and one of the present run's epochs."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from tqdm import tqdm

if TYPE_CHECKING:  # for the type alone: what is drawn comes from whoever trains
    from mnist_lab.training import Epoch


class Watcher(Protocol):
    """Who is told how far a training is."""

    def begin(self, epochs: int) -> None:
        """A run of so many epochs begins."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch of the present run is done."""


class Progress:
    """The two bars; in a pipe nothing is drawn.

    Args:
        what: names what is counted: "trials".
        total: how many there will be.
        done: how many there are already.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        # Nothing can be drawn on a stderr that is closed; None lets tqdm look for a terminal.
        off = True if sys.stderr is None else None
        self._runs = tqdm(total=total, initial=done, desc=what, disable=off)
        self._epochs = tqdm(total=0, desc="epochs", leave=False, disable=off, position=1)
        self._done = done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._epochs.close()
        self._runs.close()

    def begin(self, epochs: int) -> None:
        """A run of so many epochs begins."""
        self._epochs.reset(total=epochs)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch of the present run is done."""
        measured = {"loss": epoch.loss, "val_accuracy": epoch.val_accuracy}
        shown = {key: f"{value:.4f}" for key, value in measured.items() if value == value}
        self._epochs.set_postfix(shown, refresh=False)
        self._epochs.update()

    def end(self, runs: int = 1) -> None:
        """So many runs more are done."""
        self._done += runs
        self._runs.update(runs)

    def reach(self, done: int) -> None:
        """So many runs are done by now, whoever did them."""
        self.end(done - self._done)
