"""Who trains, as the command line says: this process, or workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from mnist_lab.data import Dataset
from mnist_lab.progress import Watcher
from mnist_lab.tracking import Store
from mnist_lab.work import Alone, Task, Team


@contextmanager
def team(
    store: Store,
    data: Dataset,
    data_path: str | None,
    workers: int | None,
    scheduler: str | None,
    storage: str | None = None,
) -> Iterator[Team]:
    """The team of a call.

    Args:
        store: where runs are recorded.
        data: the digits.
        data_path: where they were read, or None for MNIST.
        workers: processes of this machine; None for this process alone.
        scheduler: the address of a running Dask scheduler, instead.
        storage: the URL of the study that they work on, if they do.

    Raises:
        ClusterError: the scheduler does not answer, has no workers, or these cannot write what
            they have to.
    """
    if workers is None and scheduler is None:
        yield Alone(store, data)
        return
    # Only who asks for workers pays for the import.
    from mnist_lab.cluster import local_cluster, place_of, running_cluster

    place = place_of(store.uri, data, data_path)
    if scheduler is not None:
        with running_cluster(scheduler, place, storage) as there:
            yield there
    else:
        with ExitStack() as stack:
            yield _Later(lambda: stack.enter_context(local_cluster(workers or 1, place)))


class _Later:
    """A team that comes when it is first asked whether it has room.

    By then the database, its tables and the experiment are made, and there is work.
    """

    def __init__(self, come: Callable[[], Team]) -> None:
        self._come = come
        self._team: Team | None = None

    def room(self) -> int:
        """How many more tasks can begin now."""
        self._team = self._team or self._come()
        return self._team.room()

    def busy(self) -> bool:
        """Whether tasks are under way."""
        return self._team is not None and self._team.busy()

    def begin(self, task: Task, watcher: Watcher) -> None:
        """Let a task begin."""
        assert self._team is not None  # it said that it had room
        self._team.begin(task, watcher)

    def ended(self, timeout: float) -> list[Task]:
        """Wait until a task ends: those that did."""
        return [] if self._team is None else self._team.ended(timeout)

    def stop(self) -> None:
        """Call off what is under way."""
        if self._team is not None:
            self._team.stop()
