"""Workers of Dask, on this machine or a running cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import dask
import distributed

from mnist_lab import provenance, sqlite_uri
from mnist_lab.config import UserError
from mnist_lab.connection import TrackingError, local_uri
from mnist_lab.data import Dataset, load_data, load_mnist
from mnist_lab.forking import can_fork, prepare
from mnist_lab.progress import Watcher
from mnist_lab.tracking import Store
from mnist_lab.work import Bench, Task

if TYPE_CHECKING:
    from mnist_lab.training import Epoch

_CONNECT_SECONDS = 20
# They may have been started together with the command: importing Dask takes them seconds.
_WORKERS_SECONDS = 60
# How long a worker of this machine may be away: Dask starts a killed one again within seconds.
_AWAY_SECONDS = 30
# How long all workers may be away.
_LOST_SECONDS = 120
# How long work that is called off may take to its next epoch.
_STOP_SECONDS = 20
_TRIMMING = ("MALLOC_TRIM_THRESHOLD_", 65536)  # Dask's default
_GONE = "the scheduler is gone, or has dropped the work; what is finished is kept"
_UNKNOWN = (
    "{what} cannot read the work ({error}); expected scheduler and workers to be started in an "
    "environment that has this version of mnist_lab and of the packages it needs"
)
_HERE = ("127.0.0.1", "localhost", "::1")


class ClusterError(UserError):
    """Workers that cannot be had, or are not fit for the work."""


@dataclass(frozen=True)
class Place:
    """Where the tasks of one call of a command find what they work with.

    Attributes:
        call: names the call.
        tracking_uri: of the MLflow store.
        data_path: of the data, or None for MNIST.
        data_sha256: of the data that is meant.
        code_digest: of the trainer that is meant.
    """

    call: str
    tracking_uri: str
    data_path: str | None
    data_sha256: str
    code_digest: str


class Cluster:
    """Dask's workers as a team. Obtained from `local_cluster` or `running_cluster`."""

    def __init__(
        self, client: distributed.Client, place: Place, renew: Callable[[], None] = lambda: None
    ) -> None:
        self._client = client
        self._place = place
        self._renew = renew  # puts other workers in the place of those that are away for long
        self._futures: dict[distributed.Future, Task] = {}
        self._last_seen = time.monotonic()  # a worker

    def room(self) -> int:
        """How many more tasks can begin now: a worker's thread does one at a time."""
        return sum(self._threads().values()) - len(self._futures)

    def _threads(self) -> dict[str, int]:
        """The threads of each worker, by its address."""
        try:
            threads = dict(self._client.nthreads())
        except OSError:
            raise ClusterError(_GONE) from None
        self._renew()
        if threads:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > _LOST_SECONDS:
            raise ClusterError(
                f"all workers are gone, and none has come back within {_LOST_SECONDS} s; what is "
                "finished is kept"
            )
        return threads

    def busy(self) -> bool:
        """Whether tasks are under way."""
        return bool(self._futures)

    def begin(self, task: Task, watcher: Watcher) -> None:
        """Send a task to a worker. Its epochs are not watched: they are on record."""
        hosts = Counter[str]()
        for address, threads in self._threads().items():
            hosts[str(urlsplit(address).hostname)] += threads
        key = f"{type(task).__name__}-{uuid.uuid4().hex}"
        future = self._client.submit(_work, task, self._place, dict(hosts), key=key, pure=False)
        self._futures[future] = task

    def ended(self, timeout: float) -> list[Task]:
        """Wait until a task ends: those that did.

        A task whose worker was killed is begun anew by Dask; after some such deaths it counts as
        ended.
        """
        self._threads()  # says so if there are none any more
        with contextlib.suppress(distributed.TimeoutError), self._client.as_current():
            distributed.wait(list(self._futures), timeout=timeout, return_when="FIRST_COMPLETED")
        ended = [future for future in self._futures if future.status != "pending"]
        tasks = [self._futures.pop(future) for future in ended]
        for future in ended:
            if future.status in ("cancelled", "lost"):
                raise ClusterError(_GONE)
            error = future.exception() if future.status == "error" else None
            unread = isinstance(error, ImportError) or "deserialization" in str(error)
            if error is not None and unread:  # Dask's own words are a guess at the cause
                said = _told(error.__cause__ or error)
                raise ClusterError(_UNKNOWN.format(what="the scheduler or a worker", error=said))
            if error is not None and not isinstance(error, distributed.KilledWorker):
                raise error
        return tasks

    def stop(self) -> None:
        """Call off what is under way: it ends after its present epoch."""
        if not self._futures:
            return
        gone = contextlib.suppress(OSError, distributed.TimeoutError)
        with gone, self._client.as_current():
            self._client.run(_call_off, self._place.call)
            distributed.wait(list(self._futures), timeout=_STOP_SECONDS)
        self._futures.clear()


class _QuietWorker(distributed.WorkerPlugin):  # type: ignore[misc]
    """Ctrl-C is for the command alone, which then calls its workers' work off."""

    name = "mnist_lab"

    def setup(self, worker: distributed.Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def local_cluster(workers: int, place: Place) -> Iterator[Cluster]:
    """Workers of this call alone, as processes of this machine that share its cores.

    They listen on loopback alone and end with the call, also if it is killed.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        dask.config.set(_forked()),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            # Dask would pause a worker, or kill it, near its share of the memory, which is not the
            # memory that there is. What does not fit is refused before its training.
            memory_limit=None,
            processes=True,
            host="127.0.0.1",
            # Its own default is port 8787, which is taken when another command has workers too.
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
        ) as processes,
        distributed.Client(processes, set_as_default=False) as client,
    ):
        client.register_plugin(_QuietWorker())
        yield Cluster(client, place, _Renewal(processes))


def _forked() -> dict[str, object]:
    """Dask's settings for workers of this machine, where the user has not set them otherwise.

    They are forked, so that one that was killed is back in a second. And their memory is not
    trimmed after each release, as Dask has it for tables of many sizes: a training asks for the
    same sizes again and again.
    """
    settings: dict[str, object] = {}
    method = "distributed.worker.multiprocessing-method"
    if can_fork() and dask.config.get(method) == "spawn":
        settings[method] = "forkserver"
        prepare()
    variables = "distributed.nanny.pre-spawn-environ"
    given = dask.config.get(variables)
    settings[variables] = {k: v for k, v in given.items() if (k, v) != _TRIMMING}
    return settings


class _Renewal:
    """Starts workers in the place of those of this machine that do not come back by themselves."""

    def __init__(self, processes: distributed.LocalCluster) -> None:
        self._processes = processes
        self._asked = len(processes.worker_spec)
        self._whole = time.monotonic()  # when all were there
        self._patience = _AWAY_SECONDS

    def __call__(self) -> None:
        there = {worker.name for worker in list(self._processes.scheduler.workers.values())}
        away = set(self._processes.worker_spec) - there
        now = time.monotonic()
        if not away:
            self._whole = now
        elif now - self._whole > self._patience:
            self._whole = now
            self._patience *= 2  # a machine that is busy starts them slowly
            for name in away:
                del self._processes.worker_spec[name]
            self._processes.scale(self._asked)


@contextmanager
def running_cluster(address: str, place: Place, storage: str | None = None) -> Iterator[Cluster]:
    """The workers of a running scheduler, by Dask's own configuration: TLS, timeouts and so on.

    Args:
        address: of the scheduler: "tcp://HOST:PORT" or "tls://HOST:PORT".
        place: of the call.
        storage: the URL of the study that they work on, if they do.

    Raises:
        ClusterError: it does not answer, has no workers, or these cannot write what they have to.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        host = urlsplit(address).hostname
    except ValueError:  # brackets that do not close, say
        host = None
    if host is None:
        raise ClusterError(
            f"--scheduler: {address!r} is no address; expected that which a running "
            "`dask scheduler` prints, such as tcp://127.0.0.1:8786"
        )
    for written, expected in (
        (place.tracking_uri, "MLFLOW_TRACKING_URI=http://HOST:PORT of an `mlflow server`"),
        (storage or "", "--storage postgresql://USER@HOST/DATABASE"),
    ):
        if host not in _HERE and sqlite_uri.local_path(written):
            raise ClusterError(
                f"--scheduler: the workers of {address} cannot write to {written}, a file of this "
                f"machine; expected {expected} that all of them reach"
            )
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except Exception as error:
        raise ClusterError(
            f"--scheduler: {address} does not answer ({_told(error)}); expected the address that "
            "a running `dask scheduler` prints, such as tcp://127.0.0.1:8786"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except distributed.TimeoutError:
            raise ClusterError(
                f"--scheduler: {address} has no workers after {_WORKERS_SECONDS} s; start some "
                f"with `dask worker {address}`"
            ) from None
        try:
            client.run(provenance.code_digest)
        except Exception as error:  # Dask makes a plain one of an ImportError there
            what = f"--scheduler: a worker of {address}"
            raise ClusterError(_UNKNOWN.format(what=what, error=_told(error))) from None
        yield Cluster(client, place)


def _told(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def place_of(tracking_uri: str, data: Dataset, data_path: str | None) -> Place:
    """The place of this call: files of this machine by their whole path."""
    return Place(
        call=uuid.uuid4().hex,
        tracking_uri=local_uri(tracking_uri),
        data_path=None if data_path is None else str(Path(data_path).absolute()),
        data_sha256=data.sha256,
        code_digest=provenance.code_digest(),
    )


# What follows runs in the workers.

_called_off: set[str] = set()


def _call_off(call: str) -> None:
    _called_off.add(call)


class _Silent:
    """Watches a training for being called off."""

    def __init__(self, call: str) -> None:
        self._call = call

    def begin(self, epochs: int) -> None:
        """A run begins."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done: the last one if the work was called off."""
        if self._call in _called_off:
            raise KeyboardInterrupt


def _work(task: Task, place: Place, slots: dict[str, int]) -> None:
    worker = distributed.get_worker()
    if place.call in _called_off:
        return
    _share_cores(slots.get(str(urlsplit(worker.address).hostname), 1))
    if provenance.code_digest() != place.code_digest:
        raise ClusterError(
            f"the worker {worker.address} has another version of mnist_lab; expected the one that "
            "the command runs"
        )
    # MLflow logs a model to the store of the process, whatever client it is told.
    os.environ["MLFLOW_TRACKING_URI"] = place.tracking_uri
    bench = Bench(Store(place.tracking_uri), _data(place), _Silent(place.call))
    try:
        with contextlib.suppress(KeyboardInterrupt):  # called off: its run has ended as KILLED
            task.run(bench)
    except TrackingError as error:
        # What it kept lies where it works, which may be another machine.
        place_ = f"the worker {worker.address}, in the folder {Path.cwd()} of {platform.node()}"
        raise TrackingError(f"{place_}: {error}") from None


@lru_cache(maxsize=1)
def _share_cores(slots: int) -> None:
    """Let TensorFlow use this worker's share of the cores, once, before it computes.

    What a user has set is obeyed.
    """
    from mnist_lab.backend import tf

    threads = max(1, provenance.cores() // slots)
    if threads == provenance.cores() or "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    with contextlib.suppress(RuntimeError):  # it has computed already, for another call
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


@lru_cache(maxsize=1)
def _data(place: Place) -> Dataset:
    try:
        data = load_mnist() if place.data_path is None else load_data(place.data_path)
    except UserError as error:
        address = distributed.get_worker().address
        raise ClusterError(f"the worker {address} cannot read the data: {error}") from None
    if data.sha256 != place.data_sha256:
        raise ClusterError(
            f"the worker {distributed.get_worker().address} has other data at {place.data_path}"
        )
    return data
