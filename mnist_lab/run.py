"""One run being written to MLflow: what a training measures, as it is measured."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_lab import logged_model, provenance
from mnist_lab.config import RunConfig
from mnist_lab.interrupts import held
from mnist_lab.mlflow_backend import mlflow

if TYPE_CHECKING:  # for types alone: the trainer and the record do not know each other
    from mnist_lab.backend import keras
    from mnist_lab.data import Dataset as Digits
    from mnist_lab.training import Epoch

ANSWERS = "test_answers.npy"


@dataclass
class Run:
    """One run being written. Its status at the end can be changed from FINISHED."""

    _client: mlflow.MlflowClient
    _experiment_id: str
    id: str
    status: str = "FINISHED"
    reason: str = ""
    failed_by_itself: bool = False
    epochs_done: int = 0
    parameters: int = 0
    train_seconds: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    def fail(self, reason: str) -> None:
        """Let the run end FAILED with this reason, once it is closed.

        It is then known to have failed by itself, as it would again, and not by an accident.
        """
        self.status, self.reason, self.failed_by_itself = "FAILED", reason, True

    @held()
    def log_start(
        self, config: RunConfig, seed: int, threads: int, data: Digits, parameters: int
    ) -> None:
        """What is known before the first epoch: configuration, seed, machine, code and data."""
        logged_model.prepare()
        self.parameters = parameters
        git = provenance.git_state()
        params = {**config.params(), "seed": str(seed), "parameters": str(parameters)}
        tags = {
            **provenance.environment(),
            "threads": str(threads),
            "data_sha256": data.sha256,
            "config_digest": config.digest(),
            "code_digest": provenance.code_digest(),
        }
        if git.commit:
            tags |= {
                "git_commit": git.commit,
                "mlflow.source.git.commit": git.commit,
                "git_dirty": str(bool(git.diff)).lower(),
            }
        self._client.log_batch(
            self.id,
            params=[mlflow.entities.Param(key, value) for key, value in params.items()],
            tags=[mlflow.entities.RunTag(key, value) for key, value in tags.items()],
        )
        shapes = {"train": data.train_images.shape, "test": data.test_images.shape}
        dataset = mlflow.entities.Dataset(
            name=data.name,
            digest=data.sha256[:32],  # MLflow keeps 36 characters; the tag has the whole
            source_type="local",
            source=data.source,
            profile=json.dumps(shapes),
        )
        context = [mlflow.entities.InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(self.id, [mlflow.entities.DatasetInput(dataset, context)])
        self.log_text("config.toml", config.to_toml())
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
        self._log_metrics(values, epoch.number)
        self.epochs_done = epoch.number
        self.train_seconds += epoch.seconds

    @held()
    def log_result(
        self,
        test_loss: float,
        test_accuracy: float,
        model: keras.Model,
        answers: np.ndarray | None = None,
    ) -> None:
        """The final metrics at the last epoch's step, the model, and its answers.

        Args:
            test_loss: on all test images.
            test_accuracy: likewise.
            model: logged as `model`.
            answers: (n,) uint8, the model's digit for each test image, as test_answers.npy.
        """
        info = logged_model.log(self._client, self._experiment_id, self.id, model)
        if answers is not None:
            with self._artifact(ANSWERS) as path:
                np.save(path, answers.astype(np.uint8))
        # A process that is killed from here on leaves a run that can be closed as it is.
        self.tag({"model_uri": info, "epochs_done": str(self.epochs_done)})
        self._log_metrics(
            {
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "train_seconds": self.train_seconds,
                "duration": time.perf_counter() - self._began,
            },
            self.epochs_done,
        )

    @held()
    def log_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Metrics without a history and tags, for a parent run."""
        self._log_metrics(metrics, 0)
        self.tag(tags)

    @held()
    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self._client.log_batch(
            self.id, tags=[mlflow.entities.RunTag(key, value) for key, value in tags.items()]
        )

    @held()
    def log_text(self, name: str, text: str) -> None:
        """A text file among the run's artifacts; `name` may be in a folder: "figures/x.html"."""
        folder, _, name = name.rpartition("/")
        with self._artifact(name, folder or None) as path:
            path.write_text(text, encoding="utf-8")

    @held()
    def log_folder(self, folder: Path, name: str) -> None:
        """The files of a folder as the folder `name` of the run's artifacts."""
        self._client.log_artifacts(self.id, str(folder), name)

    @contextmanager
    def _artifact(self, name: str, place: str | None = None) -> Iterator[Path]:
        """A path to write a file to that becomes an artifact of the run, in the folder `place`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            yield path
            self._client.log_artifact(self.id, str(path), place)

    def _log_metrics(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [
            mlflow.entities.Metric(key, float(value), now, step) for key, value in values.items()
        ]
        self._client.log_batch(self.id, metrics=metrics)
