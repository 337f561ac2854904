"""One run being written: what a training measures goes on record as it is measured."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mnist_lab import logged_model, provenance
from mnist_lab.config import RunConfig
from mnist_lab.connection import TrackingError
from mnist_lab.delivery import forget_reason, log_batch, log_dataset
from mnist_lab.interrupts import held
from mnist_lab.line import Line
from mnist_lab.measured import Measured, Value
from mnist_lab.mlflow_backend import mlflow

if TYPE_CHECKING:  # for types alone: the trainer and the record do not know each other
    from mnist_lab.backend import keras
    from mnist_lab.data import Dataset as Digits
    from mnist_lab.training import Epoch

ANSWERS = "test_answers.npy"
REASON_LENGTH = 5_000  # characters; MLflow takes 8,000 in a tag
_NONE: Mapping[str, str] = MappingProxyType({})
_NO_CONSTANTS: Mapping[str, object] = MappingProxyType({})


class Run:
    """One run being written.

    Its files and its model are written to a folder of this machine first: what the store does not
    take is kept from there.

    Attributes:
        id: in the store.
        status: how it will end: FINISHED, or what `fail` says.
        reason: why, if it fails.
        failed_by_itself: whether it would fail again.
        epochs_done: how many are on record.
        parameters: of the network.
        train_seconds: of all epochs.
    """

    def __init__(
        self, line: Line, experiment_id: str, measured: Measured, resumed: bool = False
    ) -> None:
        self.id = measured.run_id
        self.status = "FINISHED"
        self.reason = ""
        self.failed_by_itself = False
        self.epochs_done = 0
        self.parameters = 0
        self.train_seconds = 0.0
        self._line = line
        self._experiment_id = experiment_id
        self._measured = measured
        self._resumed = resumed
        self._began = time.perf_counter()
        self._is_training = False  # of which it is not told yet how long it took
        self._scratch = tempfile.TemporaryDirectory(prefix="mnist_lab-", ignore_cleanup_errors=True)

    def fail(self, reason: str, by_itself: bool = True) -> None:
        """Let the run end FAILED with this reason, once it is closed.

        Args:
            reason: for its tag of that name.
            by_itself: as it would again, and not by an accident, for which it is tried again.
        """
        self.status, self.reason, self.failed_by_itself = "FAILED", reason, by_itself

    @held()
    def log_start(
        self,
        config: RunConfig,
        seed: int,
        threads: int,
        data: Digits,
        parameters: int | None,
        constants: Mapping[str, object] = _NO_CONSTANTS,
    ) -> None:
        """What is known before the first epoch: configuration, seed, machine, code and data.

        Args:
            config: of the training.
            seed: of the training.
            threads: that it computes in.
            data: the digits.
            parameters: of the network; one that could not be built has no number of them.
            constants: of the optimizer, also those that the configuration leaves to Keras.
        """
        self.parameters = parameters or 0
        params = config.params()
        if parameters is not None:
            params["parameters"] = str(parameters)
        tags = {"threads": str(threads), "config_digest": config.digest()}
        tags |= {f"optimizer.{name}": str(value) for name, value in constants.items()}
        self.log_circumstances(params, tags, seed, data)
        self.log_text("config.toml", config.to_toml())
        logged_model.prepare()

    @held()
    def log_circumstances(
        self, params: Mapping[str, str], tags: Mapping[str, str], seed: int, data: Digits
    ) -> None:
        """Machine, code and data of a training; alone, where its values are no configuration.

        Args:
            params: its values.
            tags: more of them.
            seed: of the training.
            data: the digits.
        """
        self._is_training = True
        git = provenance.git_state()
        mine = {
            **provenance.environment(),
            "data_sha256": data.sha256,
            "code_digest": provenance.code_digest(),
        }
        if git.commit:
            mine |= {"git_commit": git.commit, "mlflow.source.git.commit": git.commit}
        if git.dirty:
            mine["git_dirty"] = git.dirty
        if git.problem:
            mine["git_problem"] = git.problem[:REASON_LENGTH]
        self._batch(tags={**mine, **tags}, params={**params, "seed": str(seed)})
        shapes = {"train": data.train_images.shape, "test": data.test_images.shape}
        dataset = {
            "name": data.name,
            "digest": data.sha256[:32],  # MLflow keeps 36 characters; the tag has the whole
            "source_type": "local",
            "source": json.dumps({"uri": str(Path(data.source).absolute())}),
            "profile": json.dumps(shapes),
        }
        self._measured.dataset = dataset
        self._write(lambda client: log_dataset(client, self.id, dataset))
        if git.diff:
            self.log_text("git_diff.patch", git.diff)

    @held()
    def log_epoch(self, epoch: Epoch) -> None:
        """The epoch's losses and accuracies at its step; NaN is not logged but for a loss."""
        values = {
            "loss": epoch.loss,
            "accuracy": epoch.accuracy,
            "val_loss": epoch.val_loss,
            "val_accuracy": epoch.val_accuracy,
            "epoch_seconds": epoch.seconds,
        }
        held_out = epoch.val_accuracy == epoch.val_accuracy  # NaN where nothing is held out
        if not held_out:
            del values["val_loss"], values["val_accuracy"]
        self._batch(metrics=_values(values, epoch.number))
        self.epochs_done = epoch.number
        self.train_seconds += epoch.seconds

    @held()
    def log_result(
        self,
        test_loss: float,
        test_accuracy: float,
        model: keras.Model,
        answers: np.ndarray,
    ) -> None:
        """The final metrics at the last epoch's step, the model, and its answers.

        Args:
            test_loss: on all test images.
            test_accuracy: likewise.
            model: logged as `model`.
            answers: (n,) uint8, the model's digit for each test image, as test_answers.npy.
        """
        self._file(ANSWERS, lambda path: np.save(path, answers.astype(np.uint8)))
        # A process that is killed from here on leaves a run that can be closed as it is.
        self._batch(tags={**self._model(model), "epochs_done": str(self.epochs_done)})
        final = {"test_loss": test_loss, "test_accuracy": test_accuracy, **self._taken()}
        self._batch(metrics=_values(final, self.epochs_done))
        self._is_training = False  # all is told

    @held()
    def log_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Metrics without a history and tags, for a parent run."""
        self._batch(tags=tags, metrics=_values(metrics, 0))

    @held()
    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self._batch(tags=tags)

    @held()
    def log_text(self, name: str, text: str) -> None:
        """A text file among the run's artifacts; `name` may be in a folder: "figures/x.html"."""
        # A patch of files that are no UTF-8 has their bytes.
        content = text.encode(errors="surrogateescape")
        self._file(name, lambda path: path.write_bytes(content))

    @held()
    def log_folder(self, folder: Path, name: str) -> None:
        """The files of a folder as the folder `name` of the run's artifacts."""
        with _room():
            shutil.copytree(folder, self._files / name, dirs_exist_ok=True)
        self._write(lambda client: client.log_artifacts(self.id, str(self._files / name), name))

    @held()
    def end(self, status: str, reason: str) -> None:
        """End the run.

        Args:
            status: MLflow's: "FINISHED", "FAILED" or "KILLED".
            reason: why it did not finish, or "".

        Raises:
            TrackingError: the store did not take all of it; says where it is kept.
        """
        tags = {"reason": reason[:REASON_LENGTH]} if reason else {}
        if self.epochs_done:
            tags["epochs_done"] = str(self.epochs_done)
        if self.failed_by_itself:
            tags["failed_by_itself"] = "true"
        self._measured.status, self._measured.end_ms = status, _now()
        taken = _values(self._taken(), self.epochs_done) if self._is_training else []
        if tags or taken:
            self._batch(tags=tags, metrics=taken)
        if self._resumed and not reason:
            self._write(lambda client: forget_reason(client, self.id))
        self._write(lambda client: client.set_terminated(self.id, status, self._measured.end_ms))
        self._scratch.cleanup()
        self._line.settle()

    def _taken(self) -> dict[str, float]:
        """The seconds of the epochs, and of all since the run began."""
        taken = {"train_seconds": self.train_seconds} if self.epochs_done else {}
        return {**taken, "duration": time.perf_counter() - self._began}

    @property
    def _files(self) -> Path:
        return Path(self._scratch.name) / "files"

    def _write(self, request: Callable[[mlflow.MlflowClient], object]) -> None:
        self._line.take(self._measured, Path(self._scratch.name), request)

    def _batch(
        self,
        tags: Mapping[str, str] = _NONE,
        params: Mapping[str, str] = _NONE,
        metrics: Sequence[Value] = (),
    ) -> None:
        self._measured.add(tags, params, metrics)
        self._write(lambda client: log_batch(client, self.id, tags, params, metrics))

    def _file(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file that becomes an artifact of the run, in the folder of its name, if any."""
        path = self._files / name
        with _room():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
        place = name.rpartition("/")[0] or None
        self._write(lambda client: client.log_artifact(self.id, str(path), place))

    def _model(self, model: keras.Model) -> dict[str, str]:
        """Save and upload the model: the tag that says where it is."""
        folder = Path(self._scratch.name) / "model"
        uri = ""

        def upload(client: mlflow.MlflowClient) -> None:
            nonlocal uri
            uri = logged_model.upload(client, self._experiment_id, self.id, folder)

        with _room():
            logged_model.save(model, folder)
        self._measured.has_model = True
        self._write(upload)
        return {"model_uri": uri} if uri else {}


@contextmanager
def _room() -> Iterator[None]:
    """Say where there is no room, if there is none, for what is written in the block."""
    try:
        yield
    except OSError as error:
        raise TrackingError(
            f"{tempfile.gettempdir()}: a file of the run cannot be written there ({error}); "
            "expected room for temporary files, or TMPDIR to name a folder that has it"
        ) from None


def _values(metrics: Mapping[str, float], step: int) -> list[Value]:
    now = _now()
    return [Value(key, float(value), now, step) for key, value in metrics.items()]


def _now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
