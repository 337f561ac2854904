"""Writes what a run has measured to an MLflow store. All of it may be repeated to no effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mnist_lab import logged_model
from mnist_lab.config import UserError
from mnist_lab.measured import PARENT_TAG, PROCESS_TAG, Measured, Value
from mnist_lab.mlflow_backend import mlflow

_FIRST_ID_TAG = "first_run_id"  # of a run that had to be made anew: the id it was trained under
_KIND = "custom_model_development"  # of an experiment: its page opens on a table of runs
_AT_ONCE = 100  # of each kind; MLflow takes no more parameters in one request


def experiment_of(client: mlflow.MlflowClient, name: str) -> mlflow.entities.Experiment:
    """The experiment of a name, made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            client.create_experiment(name, tags={"mlflow.experimentKind": _KIND})
        except mlflow.MlflowException:  # another process made it just now, or the next line fails
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return found or client.get_experiment_by_name(name)


def log_batch(
    client: mlflow.MlflowClient,
    run_id: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Sequence[Value],
) -> None:
    """Write tags, parameters and values of metrics, in one request if there are not too many."""
    all_tags = [mlflow.entities.RunTag(*item) for item in tags.items()]
    all_params = [mlflow.entities.Param(*item) for item in params.items()]
    values = [mlflow.entities.Metric(v.key, v.value, v.ms, v.step) for v in metrics]
    for first in range(0, max(map(len, (all_tags, all_params, values))), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        # What MLflow is set to send later, it may lose without a word.
        client.log_batch(run_id, values[part], all_params[part], all_tags[part], synchronous=True)


def log_dataset(client: mlflow.MlflowClient, run_id: str, dataset: Mapping[str, str]) -> None:
    """Name the data that a run was trained on."""
    context = [mlflow.entities.InputTag("mlflow.data.context", "training")]
    entity = mlflow.entities.Dataset(**dataset)
    client.log_inputs(run_id, [mlflow.entities.DatasetInput(entity, context)])


def forget_reason(client: mlflow.MlflowClient, run_id: str) -> None:
    """Take from a run the reason for which it had ended before it was gone on with."""
    if "reason" in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, "reason")


def deliver(client: mlflow.MlflowClient, measured: Measured, folder: Path) -> str:
    """Put a run on record as if it had been written while it was measured.

    The run of its id is completed, where the store has it; otherwise it is made anew.

    Args:
        client: of the store.
        measured: the run; one that has no status ended with its process.
        folder: with its files/ and its model/, so far as it has them.

    Returns:
        The id of the run in this store.

    Raises:
        UserError: the run, or its experiment, was deleted in the store.
    """
    run = _find(client, measured) or _create(client, measured)
    if run.info.lifecycle_stage != "active":
        raise UserError(
            f"{folder}: run {run.info.run_id} was deleted in the store; bring it back with "
            f"`mlflow runs restore --run-id {run.info.run_id}`, or remove the folder"
        )
    run_id = str(run.info.run_id)
    tags = _tags(client, measured, run)
    if measured.dataset is not None:
        log_dataset(client, run_id, measured.dataset)
    resumed = _was_resumed(run, measured)
    if (folder / "files").is_dir() and not resumed:
        client.log_artifacts(run_id, str(folder / "files"))
    if measured.has_model:
        tags["model_uri"] = logged_model.upload_once(
            client, run.info.experiment_id, run_id, folder / "model"
        )
    if resumed:
        # How it went on and ended is on record already.
        _send_missing(client, run_id, folder / "files")
        log_batch(client, run_id, {}, measured.params, measured.metrics)
        return run_id
    log_batch(client, run_id, tags, measured.params, measured.metrics)
    if "reason" in run.data.tags and "reason" not in tags:  # given to it while it was missing
        client.delete_tag(run_id, "reason")
    status = measured.status or ("FINISHED" if measured.is_complete else "FAILED")
    client.set_terminated(run_id, status, measured.end_ms)
    return run_id


def _send_missing(client: mlflow.MlflowClient, run_id: str, files: Path) -> None:
    """Send the files that a run does not have."""
    for path in sorted(path for path in files.rglob("*") if path.is_file()):
        place = path.parent.relative_to(files).as_posix()
        inside = None if place == "." else place
        known = {file.path.rpartition("/")[2] for file in client.list_artifacts(run_id, inside)}
        if path.name not in known:
            client.log_artifact(run_id, str(path), inside)


def _was_resumed(run: mlflow.entities.Run, measured: Measured) -> bool:
    """Whether another process has gone on with a run since this was kept of it."""
    writer, kept = run.data.tags.get(PROCESS_TAG), measured.tags.get(PROCESS_TAG)
    return writer is not None and kept is not None and writer != kept


def _tags(
    client: mlflow.MlflowClient, measured: Measured, run: mlflow.entities.Run
) -> dict[str, str]:
    """The tags of a run as they are to be in the store that it is sent to."""
    tags = dict(measured.tags)
    if not measured.status and not measured.is_complete:
        tags["reason"] = "its process ended before the training did"
        tags["epochs_done"] = str(measured.epochs)
    if parent := tags.get(PARENT_TAG):
        tags[PARENT_TAG] = _here(client, run.info.experiment_id, parent)
    return tags


def _find(client: mlflow.MlflowClient, measured: Measured) -> mlflow.entities.Run | None:
    """The run in the store, whether it was made there in time or by an earlier delivery."""
    if run := _get(client, measured.run_id):
        return run
    experiment = client.get_experiment_by_name(measured.experiment)
    if experiment is None:
        return None
    return _get(client, _here(client, experiment.experiment_id, measured.run_id))


def _get(client: mlflow.MlflowClient, run_id: str) -> mlflow.entities.Run | None:
    try:
        return client.get_run(run_id)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _here(client: mlflow.MlflowClient, experiment_id: str, run_id: str) -> str:
    """The id that a run has in the store, if it was made anew; otherwise the one it had first."""
    found = client.search_runs([experiment_id], f"tags.{_FIRST_ID_TAG} = '{run_id}'")
    return str(found[0].info.run_id) if found else run_id


def _create(client: mlflow.MlflowClient, measured: Measured) -> mlflow.entities.Run:
    experiment = experiment_of(client, measured.experiment)
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"the MLflow experiment '{measured.experiment}' is deleted; bring it back with "
            f"`mlflow experiments restore -x {experiment.experiment_id}`"
        )
    return client.create_run(
        experiment.experiment_id,
        start_time=measured.start_ms,
        tags={**measured.tags, _FIRST_ID_TAG: measured.run_id},
        run_name=measured.name,
    )
