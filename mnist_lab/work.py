"""Tasks, and who does them: this process, one after the other. `cluster` has workers for several.

A task leaves everything it comes to on record. Whoever gave it out reads there what became of it:
a worker can be killed at any moment, and then nobody is left to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mnist_lab.data import Dataset
from mnist_lab.progress import Watcher
from mnist_lab.tracking import Store


@dataclass(frozen=True)
class Bench:
    """What a task works with.

    Attributes:
        store: where runs are recorded.
        data: the digits.
        watcher: is told of every epoch.
    """

    store: Store
    data: Dataset
    watcher: Watcher


class Task(Protocol):
    """A piece of work of its own, such as a trial or a run. It can be sent to another process."""

    def run(self, bench: Bench) -> None:
        """Do the work, and leave what it came to on record.

        Raises:
            KeyboardInterrupt: the work was called off.
        """


class Team(Protocol):
    """Who does tasks."""

    def room(self) -> int:
        """How many more tasks can begin now."""

    def busy(self) -> bool:
        """Whether tasks are under way."""

    def begin(self, task: Task, watcher: Watcher) -> None:
        """Let a task begin.

        Args:
            task: is done here or elsewhere.
            watcher: is told of its epochs where that costs nothing.
        """

    def ended(self, timeout: float) -> list[Task]:
        """Wait until a task ends: those that did.

        Args:
            timeout: seconds after which nothing may have ended.

        Raises:
            Exception: that of the first task that raised one. Others may still be under way.
        """

    def stop(self) -> None:
        """Call off what is under way, and wait for it to end."""


class Alone:
    """This process: a task is done while one waits for its end.

    Args:
        store: where runs are recorded.
        data: the digits.
    """

    def __init__(self, store: Store, data: Dataset) -> None:
        self._store = store
        self._data = data
        self._begun: list[tuple[Task, Watcher]] = []

    def room(self) -> int:
        """How many more tasks can begin now."""
        return 1 - len(self._begun)

    def busy(self) -> bool:
        """Whether a task waits to be done."""
        return bool(self._begun)

    def begin(self, task: Task, watcher: Watcher) -> None:
        """Take a task up."""
        self._begun.append((task, watcher))

    def ended(self, timeout: float) -> list[Task]:
        """Do the task that was begun; it takes the time it takes."""
        task, watcher = self._begun.pop()
        task.run(Bench(self._store, self._data, watcher))
        return [task]

    def stop(self) -> None:
        """Drop what was not begun in earnest."""
        self._begun.clear()
