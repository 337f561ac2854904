"""Who trains, as the command line says: this process, or workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mnist_lab.data import Dataset
from mnist_lab.tracking import Store
from mnist_lab.work import Alone, Team


@contextmanager
def team(
    store: Store, data: Dataset, data_path: str | None, workers: int | None, scheduler: str | None
) -> Iterator[Team]:
    """The team of a call.

    Args:
        store: where runs are recorded.
        data: the digits.
        data_path: where they were read, or None for MNIST.
        workers: processes of this machine; None for this process alone.
        scheduler: the address of a running Dask scheduler, instead.

    Raises:
        ClusterError: the scheduler does not answer, or has no workers.
    """
    if workers is None and scheduler is None:
        yield Alone(store, data)
        return
    # Only who asks for workers pays for the import.
    from mnist_lab.cluster import local_cluster, place_of, running_cluster

    place = place_of(store.uri, data, data_path)
    if scheduler is not None:
        with running_cluster(scheduler, place) as there:
            yield there
    else:
        with local_cluster(workers or 1, place) as here:
            yield here
