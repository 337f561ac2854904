"""The record of all runs: opens the store, files and ends runs, reads them as plain records."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import click
import numpy as np

from mnist_lab import api_store, provenance, sqlite_store, sqlite_uri
from mnist_lab.connection import (
    ACCEPTED,
    TrackingError,
    alone,
    first_line,
    impatient,
    local_uri,
    probe,
    without_password,
)
from mnist_lab.declared import nearest
from mnist_lab.delivery import deliver, experiment_of, log_batch
from mnist_lab.interrupts import held, is_interrupt
from mnist_lab.line import Line
from mnist_lab.measured import PARENT_TAG, PROCESS_TAG, Measured
from mnist_lab.mlflow_backend import mlflow
from mnist_lab.new_store import Beside, make
from mnist_lab.process import this_process
from mnist_lab.records import EpochRecord, RunRecord
from mnist_lab.room import check_artifacts, check_database, check_temporary, elsewhere
from mnist_lab.run import ANSWERS, REASON_LENGTH, Run

__all__ = ["PARENT_TAG", "PROCESS_TAG", "Run", "Store", "open_store"]

_VIEW = "mnist_lab"
_LOCAL_PAGES = "http://127.0.0.1:5000"
_LONGEST_NAME = 250  # of a run; some databases refuse what MLflow has no room for
_NO_TAGS: Mapping[str, str] = MappingProxyType({})


class NoStoreError(TrackingError):
    """There is no database yet, and a reader makes none."""


class MissingAnswersError(TrackingError):
    """A run did not record what it answered to the test images."""


class Store:
    """An MLflow store that was reachable when it was opened."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._line = Line(uri)
        self._told: set[str] = set()  # experiments whose files are elsewhere
        self._names: dict[str, str] = {}  # of experiments, by id

    @held()
    def experiment(self, name: str) -> str:
        """The id of the MLflow experiment of that name, made if there is none.

        Raises:
            RoomError: its files and models could not be written.
        """
        found = self._line.ask(lambda client: experiment_of(client, name))
        check_artifacts(found.artifact_location)
        said = elsewhere(found.artifact_location, sqlite_uri.local_path(self.uri))
        if said and name not in self._told:
            click.echo(said, err=True)
            self._told.add(name)
        return _active(found)

    def find_experiment(self, name: str) -> str:
        """The id of the MLflow experiment of that name.

        Raises:
            TrackingError: there is none; lists those that there are.
        """
        found = self.lookup(name)
        if found is None:
            experiments = self._line.ask(lambda client: client.search_experiments())
            known = [e.name for e in experiments if e.experiment_id != "0"]
            listed = ", ".join(sorted(known)) or "none yet"
            raise TrackingError(
                f"no runs of '{name}' are recorded in {without_password(self.uri)}"
                f"{nearest(name, known) or '.'} Recorded: {listed}"
            )
        return found

    def lookup(self, name: str) -> str | None:
        """The id of the MLflow experiment of that name, or None if there is none."""
        found = self._line.ask(lambda client: client.get_experiment_by_name(name))
        return None if found is None else _active(found)

    def find_run(self, experiment_id: str, tags: Mapping[str, str]) -> RunRecord | None:
        """The newest active run that has these tags, or None."""
        runs = self.runs(experiment_id)
        return next((run for run in runs if tags.items() <= run.tags.items()), None)

    def has_run(self, run_id: str) -> bool:
        """Whether there is an active run of that id."""
        try:
            run = self._line.ask(lambda client: client.get_run(run_id))
        except mlflow.MlflowException:
            return False
        return bool(run.info.lifecycle_stage == "active")

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
        self._line.ask(
            lambda client: client.set_experiment_tag(experiment_id, tag, json.dumps(view))
        )

    def how_to_look(self, experiment_id: str) -> str:
        """What to do to see an experiment's runs in MLflow's pages, its link on a line of its own.

        `mlflow ui` shows MLflow's default store, whatever MLFLOW_TRACKING_URI says.
        """
        link = self.link(experiment_id)
        if self.uri.startswith("http"):
            return f"open\n  {link}"
        if self.uri == local_uri("sqlite:///mlflow.db") and "MLFLOW_TRACKING_URI" not in os.environ:
            return f"mlflow ui, then open\n  {link}"
        uri = shlex.quote(without_password(self.uri))
        return f"mlflow ui --backend-store-uri {uri}, then open\n  {link}"

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

        Raises:
            TrackingError: the store did not take all of it; says where it is kept.
        """
        run: Run | None = None
        try:
            with held():  # a Ctrl-C comes before there is a run, or once it can be ended
                measured = None if resume is None else self._resume(resume)
                if measured is None:
                    measured = self._start(experiment_id, name, tags, parent)
                run = Run(self._line, experiment_id, measured, resumed=resume is not None)
            yield run
        except (Exception, KeyboardInterrupt) as error:
            if run is None:
                raise
            interrupted = is_interrupt(error)
            status = "KILLED" if interrupted else "FAILED"
            reason = "interrupted" if interrupted else f"{type(error).__name__}: {error}"
            try:
                run.end(status, reason)
            except TrackingError as told:
                # It is kept on disk. What is told of one store is told once, of all that is kept,
                # but for what a worker kept; any other error is the greater news.
                if isinstance(error, TrackingError):
                    if set(str(error).splitlines()) <= set(str(told).splitlines()):
                        raise told from None
                    raise TrackingError(f"{error}\n{told}") from None
            if interrupted:
                raise KeyboardInterrupt from error
            raise
        run.end(run.status, run.reason)

    @held()
    def close_run(
        self, run_id: str, status: str, reason: str = "", tags: Mapping[str, str] = _NO_TAGS
    ) -> None:
        """End a run that its process left open.

        Args:
            run_id: which.
            status: MLflow's: "FINISHED", "FAILED" or "KILLED".
            reason: why it ends so, for its tag of that name; none by default.
            tags: more tags to set.
        """
        all_tags = {**tags, **({"reason": reason[:REASON_LENGTH]} if reason else {})}
        self.set_tags(run_id, all_tags)
        self._line.ask(lambda client: client.set_terminated(run_id, status))

    def last_sign(self, run: RunRecord) -> datetime:
        """When a run last told of an epoch, or began: UTC."""
        told = self._line.ask(lambda client: client.get_metric_history(run.run_id, "epoch_seconds"))
        newest = max([run.start_ms, *(value.timestamp for value in told)])
        return datetime.fromtimestamp(newest / 1_000, UTC)

    @held()
    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run that may have ended; all other tags stay."""
        self._line.ask(lambda client: log_batch(client, run_id, tags, {}, []))

    @held()
    def _start(
        self, experiment_id: str, name: str, tags: Mapping[str, str], parent: str | None
    ) -> Measured:
        all_tags = {
            "mlflow.user": provenance.user(),
            "mlflow.source.name": "mnist_lab",
            "mlflow.source.type": "LOCAL",
            PROCESS_TAG: this_process(),
            **tags,
        }
        if parent is not None:
            all_tags[PARENT_TAG] = parent
        started = self._line.ask(
            lambda client: client.create_run(
                experiment_id, tags=all_tags, run_name=name[:_LONGEST_NAME]
            )
        )
        return self._measured(started.info, all_tags)

    @held()
    def _resume(self, run_id: str) -> Measured | None:
        """Set a run going again, without the reason it ended for; None if it is not there."""
        process = {PROCESS_TAG: this_process()}

        def resume(client: mlflow.MlflowClient) -> mlflow.entities.RunInfo | None:
            try:
                run = client.get_run(run_id)
            except mlflow.MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None  # the store was emptied, or is another one
            if run.info.lifecycle_stage != "active":
                return None
            if "reason" in run.data.tags:
                client.delete_tag(run_id, "reason")
            log_batch(client, run_id, process, {}, [])
            client.update_run(run_id, status="RUNNING")
            return run.info

        info = self._line.ask(resume)
        return None if info is None else self._measured(info, process)

    def _measured(self, info: mlflow.entities.RunInfo, tags: dict[str, str]) -> Measured:
        """The account of a run that was started."""
        number = info.experiment_id
        if number not in self._names:
            self._names[number] = self._line.ask(lambda client: client.get_experiment(number)).name
        return Measured(
            run_id=info.run_id,
            experiment=self._names[number],
            name=info.run_name,
            store=self._line.shown,
            start_ms=info.start_time,
            tags=tags,
        )

    @held()
    def deliver(self, measured: Measured, folder: Path) -> str:
        """Put a run that was kept on disk on record: its id in this store.

        Args:
            measured: the run.
            folder: that it is kept in.

        Raises:
            TrackingError: the store does not take it; the folder stays as it is.
            UserError: the run was deleted in the store.
        """
        return self._line.ask(lambda client: deliver(client, measured, folder))

    def answers(self, run_id: str) -> np.ndarray:
        """The predicted digits of the test images that a run recorded: (n,) uint8.

        Raises:
            MissingAnswersError: the run has none: it did not finish, or is older than this
                record, or its artifacts were deleted.
            TrackingError: the store does not answer.
        """
        missing = MissingAnswersError(
            f"run {run_id} has no {ANSWERS} among its artifacts; expected a finished run"
        )
        try:
            files = self._line.ask(lambda client: client.list_artifacts(run_id))
        except mlflow.MlflowException:  # there is no such run
            raise missing from None
        if all(file.path != ANSWERS for file in files):
            raise missing
        with tempfile.TemporaryDirectory() as folder:
            path = self._line.ask(lambda client: client.download_artifacts(run_id, ANSWERS, folder))
            return np.asarray(np.load(path, allow_pickle=False))

    def runs(self, experiment_id: str) -> list[RunRecord]:
        """All active runs of an experiment, the newest first."""
        if path := sqlite_uri.local_path(self.uri):
            return self._line.ask(lambda _: sqlite_store.read_runs(path, experiment_id))
        if not self.uri.startswith("http"):
            return self.runs_by_api(experiment_id)
        return self._line.ask(
            lambda client: api_store.read_runs_of_server(client, self.uri, experiment_id)
        )

    def epochs(
        self, experiment_id: str, runs: Sequence[RunRecord] | None = None
    ) -> list[EpochRecord]:
        """Every value of every metric of an experiment's active runs.

        Args:
            experiment_id: which.
            runs: its runs, if they were read already.
        """
        if path := sqlite_uri.local_path(self.uri):
            return self._line.ask(lambda _: sqlite_store.read_epochs(path, experiment_id))
        known = self.runs(experiment_id) if runs is None else runs
        if not self.uri.startswith("http"):
            return self._line.ask(lambda client: api_store.read_epochs(client, known))
        return self._line.ask(
            lambda client: api_store.read_epochs_of_server(client, self.uri, known)
        )

    def runs_by_api(self, experiment_id: str) -> list[RunRecord]:
        """`runs` by MLflow's public API, which any store has."""
        return self._line.ask(lambda client: api_store.read_runs(client, experiment_id))

    def epochs_by_api(self, experiment_id: str) -> list[EpochRecord]:
        """`epochs` by MLflow's public API, which any store has."""
        runs = self.runs_by_api(experiment_id)
        return self._line.ask(lambda client: api_store.read_epochs(client, runs))


def open_store(create: bool = True, uri: str | None = None, beside: Beside | None = None) -> Store:
    """The store of MLFLOW_TRACKING_URI, or MLflow's default: mlflow.db in the current folder.

    Args:
        create: make a local database that does not exist; readers do not.
        uri: of another store.
        beside: who makes a database's tables, if there is none; None for this process.

    Raises:
        NoStoreError: there is no local database, and none is to be made.
        TrackingError: it cannot be reached or written; said within seconds.
        RoomError: there is no room for what a run writes; not said to readers.
    """
    uri = local_uri(uri or mlflow.get_tracking_uri())
    shown = without_password(uri)
    path = sqlite_uri.local_path(uri)
    probe(uri, shown)
    missing = path is not None and not os.path.exists(path)  # or in a folder not to be looked into
    if missing and not create:
        raise NoStoreError(
            f"no runs are recorded yet: {path} does not exist; expected the folder where a study "
            "was run, or MLFLOW_TRACKING_URI"
        )
    if create:
        check_temporary()
        if path is not None:
            check_database(path)
    try:
        with impatient(), alone(path):
            if path is not None and not path.exists():
                make(path, beside)
            store = Store(uri)
            store._line.client.search_experiments(max_results=1)
    except Exception as error:
        said = first_line(error, uri, shown)
        if uri.startswith("file:") and "MLFLOW_TRACKING_URI" not in os.environ:
            raise TrackingError(
                f"{shown} has runs of an old MLflow, which it takes for its store where "
                f"MLFLOW_TRACKING_URI is not set, and which cannot be used ({said}); set "
                "MLFLOW_TRACKING_URI=sqlite:///mlflow.db for one beside it, or use another folder"
            ) from None
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: {shown} does not answer as an MLflow store "
            f"({said}); expected {ACCEPTED}"
        ) from None
    return store


def _active(found: mlflow.entities.Experiment) -> str:
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment '{found.name}' is deleted; bring it back with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or use another name"
        )
    return str(found.experiment_id)
