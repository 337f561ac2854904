"""The one door to MLflow: opens the store, writes runs, reads them back as plain records."""

from __future__ import annotations

import importlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

# Set before mlflow is imported: nothing is sent anywhere, and git is not looked for.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# One file an artifact: a bar for each is noise.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import numpy as np
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

from mnist_lab import provenance, sqlite_store
from mnist_lab.config import RunConfig
from mnist_lab.connection import (
    ACCEPTED,
    TrackingError,
    alone,
    first_line,
    impatient,
    probe,
    without_password,
)
from mnist_lab.declared import nearest
from mnist_lab.interrupts import held, is_interrupt
from mnist_lab.sqlite_store import EpochRecord, RunRecord

if TYPE_CHECKING:  # for types alone: the trainer and the record do not know each other
    from mnist_lab.backend import keras
    from mnist_lab.data import Dataset as Digits
    from mnist_lab.training import Epoch

# MLflow announces each schema migration of a new database; that is not news to the user.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)
# It warns with every model where no pip is installed, as in uv's environments.
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)

PARENT_TAG = "mlflow.parentRunId"

_SIGNATURE = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 28, 28))]),
    outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 10))]),
)


class Store:
    """An MLflow store that was reachable when it was opened."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client = mlflow.MlflowClient(tracking_uri=uri)

    @held()
    def experiment(self, name: str) -> str:
        """The id of the MLflow experiment of that name, made if there is none."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                tags = {"mlflow.experimentKind": "custom_model_development"}
                return str(self._client.create_experiment(name, tags=tags))
            except MlflowException:  # another process made it just now
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return _active(found)

    def find_experiment(self, name: str) -> str:
        """The id of the MLflow experiment of that name.

        Raises:
            TrackingError: there is none; lists those that there are.
        """
        found = self.lookup(name)
        if found is None:
            known = [e.name for e in self._client.search_experiments() if e.experiment_id != "0"]
            listed = ", ".join(sorted(known)) or "none yet"
            raise TrackingError(
                f"no runs of '{name}' are recorded in {without_password(self.uri)}"
                f"{nearest(name, known) or '.'} Recorded: {listed}"
            )
        return found

    def lookup(self, name: str) -> str | None:
        """The id of the MLflow experiment of that name, or None if there is none."""
        found = self._client.get_experiment_by_name(name)
        return None if found is None else _active(found)

    def find_run(self, experiment_id: str, tags: Mapping[str, str]) -> RunRecord | None:
        """The newest active run that has these tags, or None."""
        runs = self.runs(experiment_id)
        return next((run for run in runs if tags.items() <= run.tags.items()), None)

    @held()
    def save_view(
        self,
        experiment_id: str,
        fields: Sequence[str],
        tags: Sequence[str] = (),
        metrics: Sequence[str] = ("val_accuracy", "test_accuracy"),
    ) -> None:
        """Save how the linked page shows the runs: best first by the first of the metrics.

        MLflow's page shows no parameter and no metric until the user picks them. Its own saved
        views are experiment tags of this form.

        Args:
            experiment_id: whose page it is.
            fields: parameters that are shown, and the seed.
            tags: tags that are shown.
            metrics: metrics that are shown.
        """
        view = {
            "selectedColumns": [
                "attributes.`Duration`",
                *(f"tags.`{name}`" for name in tags),
                *(f"params.`{name}`" for name in (*fields, "seed")),
                *(f"metrics.`{name}`" for name in metrics),
            ],
            "orderByKey": f"metrics.`{metrics[0]}`",
            "orderByAsc": False,
        }
        tag = f"mlflow.sharedViewState.{_VIEW}"
        self._client.set_experiment_tag(experiment_id, tag, json.dumps(view))

    def link(self, experiment_id: str) -> str:
        """The address of the experiment's table of training runs in MLflow's pages."""
        server = without_password(self.uri) if self.uri.startswith("http") else _LOCAL_PAGES
        return (
            f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs"
            f"?workflowType=machine_learning&viewStateShareKey={_VIEW}"
        )

    @contextmanager
    def run(
        self,
        experiment_id: str,
        name: str,
        *,
        tags: Mapping[str, str],
        parent: str | None = None,
        resume: str | None = None,
    ) -> Iterator[Run]:
        """A run that ends FINISHED, KILLED by an interrupt, or FAILED with its reason.

        Args:
            experiment_id: where the run is filed.
            name: the run's name.
            tags: more tags of the run.
            parent: the id of the run it is shown under.
            resume: the id of a run to go on with instead of starting one.
        """
        if resume is not None and self._resumes(resume):
            run_id = resume
        else:
            run_id = self._start(experiment_id, name, tags, parent)
        run = Run(self._client, experiment_id, run_id)
        try:
            yield run
        except (Exception, KeyboardInterrupt) as error:
            if is_interrupt(error):
                self._end(run, "KILLED", "interrupted")
                raise KeyboardInterrupt from error
            self._end(run, "FAILED", f"{type(error).__name__}: {error}")
            raise
        else:
            self._end(run, run.status, run.reason)

    @held()
    def _start(
        self, experiment_id: str, name: str, tags: Mapping[str, str], parent: str | None
    ) -> str:
        all_tags = {
            "mlflow.user": provenance.user(),
            "mlflow.source.name": "mnist_lab",
            "mlflow.source.type": "LOCAL",
            **tags,
        }
        if parent is not None:
            all_tags[PARENT_TAG] = parent
        started = self._client.create_run(experiment_id, tags=all_tags, run_name=name)
        return str(started.info.run_id)

    @held()
    def _end(self, run: Run, status: str, reason: str) -> None:
        tags = {"reason": reason[:5_000]} if reason else {}
        if run.epochs_done:
            tags["epochs_done"] = str(run.epochs_done)
        if run.failed_by_itself:
            tags["failed_by_itself"] = "true"
        run.tag(tags)
        self._client.set_terminated(run.id, status)

    @held()
    def _resumes(self, run_id: str) -> bool:
        """Set a run going again, without the reason it ended for; False if it is not there."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException:  # the store was emptied, or is another one
            return False
        if run.info.lifecycle_stage != "active":
            return False
        if "reason" in run.data.tags:
            self._client.delete_tag(run_id, "reason")
        self._client.update_run(run_id, status="RUNNING")
        return True

    def answers(self, run_id: str) -> np.ndarray:
        """The predicted digits of the test images that a run recorded: (n,) uint8.

        Raises:
            TrackingError: the run has none: it did not finish, or is older than this record.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = self._client.download_artifacts(run_id, _ANSWERS, folder)
            except (MlflowException, OSError):
                raise TrackingError(
                    f"run {run_id} has no {_ANSWERS} among its artifacts; expected a finished run"
                ) from None
            return np.asarray(np.load(path, allow_pickle=False))

    def runs(self, experiment_id: str) -> list[RunRecord]:
        """All active runs of an experiment, the newest first."""
        if path := sqlite_store.local_path(self.uri):
            return sqlite_store.read_runs(path, experiment_id)
        return self.runs_by_api(experiment_id)

    def epochs(self, experiment_id: str) -> list[EpochRecord]:
        """Every value of every metric of an experiment's active runs."""
        if path := sqlite_store.local_path(self.uri):
            return sqlite_store.read_epochs(path, experiment_id)
        return self.epochs_by_api(experiment_id)

    def runs_by_api(self, experiment_id: str) -> list[RunRecord]:
        """`runs` by MLflow's public API, which any store has."""
        found: list[Any] = []
        token: str | None = None
        while token != "":
            page = self._client.search_runs(
                [experiment_id], run_view_type=ViewType.ACTIVE_ONLY, page_token=token
            )
            found.extend(page)
            token = page.token or ""
        return [
            RunRecord(
                run_id=run.info.run_id,
                name=run.info.run_name,
                status=run.info.status,
                start_ms=run.info.start_time,
                end_ms=run.info.end_time,
                params=dict(run.data.params),
                metrics=dict(run.data.metrics),
                tags=dict(run.data.tags),
            )
            for run in found
        ]

    def epochs_by_api(self, experiment_id: str) -> list[EpochRecord]:
        """`epochs` by MLflow's public API, which any store has."""
        return [
            EpochRecord(run.run_id, metric.key, metric.step, metric.value)
            for run in self.runs_by_api(experiment_id)
            for key in run.metrics
            for metric in self._client.get_metric_history(run.run_id, key)
        ]


_VIEW = "mnist_lab"
_ANSWERS = "test_answers.npy"
_LOCAL_PAGES = "http://127.0.0.1:5000"


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
        _prepare_for_models()
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
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        shapes = {"train": data.train_images.shape, "test": data.test_images.shape}
        dataset = Dataset(
            name=data.name,
            digest=data.sha256[:32],  # MLflow keeps 36 characters; the tag has the whole
            source_type="local",
            source=data.source,
            profile=json.dumps(shapes),
        )
        context = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(self.id, [DatasetInput(dataset, context)])
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
        info = self._log_model(model)
        if answers is not None:
            with self._artifact(_ANSWERS) as path:
                np.save(path, answers.astype(np.uint8))
        self._client.set_tag(self.id, "model_uri", info)
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
        self._client.log_batch(self.id, tags=[RunTag(key, value) for key, value in tags.items()])

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
        metrics = [Metric(key, float(value), now, step) for key, value in values.items()]
        self._client.log_batch(self.id, metrics=metrics)

    def _log_model(self, model: keras.Model) -> str:
        # The logged model is made first and by id: otherwise MLflow files it in the experiment
        # of the process, which is not this run's. Pinned requirements save MLflow from running
        # the model in a fresh process to see what it imports, which takes ten seconds.
        _prepare_for_models().join()
        logged = self._client.create_logged_model(
            self._experiment_id, name="model", source_run_id=self.id
        )
        info = Model.log(
            artifact_path=None,
            flavor=mlflow.keras,
            run_id=self.id,
            model_id=logged.model_id,
            model=model,
            signature=_SIGNATURE,
            pip_requirements=_pins(),
        )
        return str(info.model_uri)


def _pins() -> list[str]:
    versions = provenance.environment()
    return [f"{name}=={versions[f'version.{name}']}" for name in ("keras", "tensorflow", "mlflow")]


@cache
def _prepare_for_models() -> Thread:
    """Do in the background what MLflow does once a process when it logs its first model.

    It imports more of itself and searches all installed packages, half a second of Python. The
    first epoch's compilation leaves Python idle for longer than that.
    """

    def prepare() -> None:
        importlib.import_module("mlflow.pyfunc")
        importlib.import_module("mlflow.keras")
        warn_dependency_requirement_mismatches(_pins())

    thread = Thread(target=prepare, name="prepare-mlflow-models", daemon=True)
    thread.start()
    return thread


def open_store(create: bool = True) -> Store:
    """The store of MLFLOW_TRACKING_URI, or MLflow's default: mlflow.db in the current folder.

    Args:
        create: make a local database that does not exist; readers do not.

    Raises:
        TrackingError: it cannot be reached or written; said within seconds.
    """
    uri = mlflow.get_tracking_uri()
    shown = without_password(uri)
    path = sqlite_store.local_path(uri)
    if not create and path is not None and not path.exists():
        raise TrackingError(
            f"no runs are recorded yet: {path} does not exist; expected the folder where a study "
            "was run, or MLFLOW_TRACKING_URI"
        )
    probe(uri, shown)
    try:
        with impatient(), alone(path):
            store = Store(uri)
            store._client.search_experiments(max_results=1)
    except Exception as error:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {shown} does not answer as an MLflow store "
            f"({first_line(error, uri, shown)}); expected {ACCEPTED}"
        ) from None
    return store


def _active(found: Experiment) -> str:
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment '{found.name}' is deleted; bring it back with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or use another name"
        )
    return str(found.experiment_id)
