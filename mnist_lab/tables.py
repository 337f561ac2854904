"""Recorded runs and their epochs as typed pandas tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from types import UnionType
from typing import Literal, Union, get_args, get_origin

import numpy as np
import pandas as pd

from mnist_lab.config import RunConfig
from mnist_lab.records import EpochRecord, RunRecord
from mnist_lab.tracking import PARENT_TAG, Store, open_store

EPOCH_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "epoch_seconds")
FINAL_METRICS = ("test_loss", "test_accuracy", "train_seconds", "duration")

# The column of each field of `RunConfig`: the column `loss` is the measured loss, as MLflow's
# metric of that name.
FIELD_COLUMNS = {name: name for name in RunConfig.model_fields} | {"loss": "loss_function"}

_INTEGERS = ["trial", "seed", "parameters", "threads", "epochs_done"]
_TAGS = {
    "variant": "variant",
    "trial": "trial",
    "state": "trial_state",
    "study": "study",
    "experiment": "experiment",
    "stage": "stage",
    "tuned": "tuned",
    "epochs_done": "epochs_done",
    "threads": "threads",
    "config_digest": "config_digest",
    "code_digest": "code_digest",
    "git_commit": "git_commit",
    "git_dirty": "git_dirty",
    "data_sha256": "data_sha256",
    "model_uri": "model_uri",
    "failed_by_itself": "failed_by_itself",
    "reason": "reason",
}


def runs(name: str, store: Store | None = None) -> pd.DataFrame:
    """The training runs recorded under a study's or experiment's name, the oldest first.

    Args:
        name: the name of the MLflow experiment, which is the study's.
        store: the MLflow store; by default the one of MLFLOW_TRACKING_URI.

    Returns:
        One row a run. `run_id`, `name`, `variant`; of a study `trial` (Int64), `state` (COMPLETE,
        PRUNED, FAIL), `study`; of an experiment `experiment`, `stage` ("tuning" or "verdict"),
        `tuned` (the tuned values as text); of a study's confirmation `study`, `experiment` and
        `stage` ("confirmation"), and no trial; `status` (MLflow's), `parent` (run id of the study
        or experiment); the fields of `RunConfig` (`loss` as `loss_function`): int Int64, float
        float64, bool boolean, all others text, as `hidden` "512" or "512-256"; `seed`,
        `parameters`, `epochs_done`; the last values of `loss`, `accuracy`, `val_loss`,
        `val_accuracy`, `epoch_seconds`; `test_loss`,
        `test_accuracy`, `train_seconds` (s, all epochs, compilation included), `duration` (s);
        `start_time`, `end_time` (UTC); `threads`, `config_digest`, `code_digest`, `git_commit`,
        `git_dirty`, `data_sha256`, `model_uri`; of a failed run `failed_by_itself` (boolean; a
        loss that is NaN or infinite, or too little memory) and `reason`. Integers are Int64; what
        was not recorded is <NA> or NaN.

    Raises:
        TrackingError: no such name, or the store cannot be reached.
    """
    store = store or open_store(create=False)
    return _table(_trainings(store.runs(store.find_experiment(name))))


def _trainings(records: Sequence[RunRecord]) -> list[RunRecord]:
    found = [record for record in records if record.tags.get("kind") == "training"]
    return sorted(found, key=lambda record: (record.start_ms, record.run_id))


def counted(runs: pd.DataFrame) -> pd.Series[bool]:
    """Which runs count: those that finished, and those that failed by themselves."""
    failed = (runs["status"] == "FAILED") & runs["failed_by_itself"].fillna(False).astype(bool)
    return (runs["status"] == "FINISHED") | failed


def no_runs() -> pd.DataFrame:
    """The table that `runs` gives where there are none."""
    return _table([])


def _table(records: Sequence[RunRecord]) -> pd.DataFrame:
    # Column by column: a dictionary for each row would take half of the time of all.
    table: dict[str, list[object]] = {
        "run_id": [record.run_id for record in records],
        "name": [record.name for record in records],
        "status": [record.status for record in records],
        "parent": [record.tags.get(PARENT_TAG) for record in records],
        "start_time": [record.start_ms for record in records],
        "end_time": [record.end_ms for record in records],
    }
    params = {**FIELD_COLUMNS, "seed": "seed", "parameters": "parameters"}
    for param, column in params.items():
        table[column] = [record.params.get(param) for record in records]
    for metric in (*EPOCH_METRICS, *FINAL_METRICS):
        table[metric] = [record.metrics.get(metric) for record in records]
    for column, tag in _TAGS.items():
        table[column] = [record.tags.get(tag) for record in records]
    # Without a row pandas would take text for numbers.
    return _typed(pd.DataFrame(table, columns=_columns(), dtype=None if records else object))


def epochs(name: str, store: Store | None = None) -> pd.DataFrame:
    """The epochs of the runs that `runs` lists: one row per run and epoch, in order.

    Args:
        name: as for `runs`.
        store: as for `runs`.

    Returns:
        `run_id`, `variant`, `trial` (Int64), `seed` (Int64), `epoch` (int64, from 1), `loss`,
        `accuracy`, `val_loss`, `val_accuracy`, `epoch_seconds` (float64, NaN where not measured).

    Raises:
        TrackingError: no such name, or the store cannot be reached.
    """
    store = store or open_store(create=False)
    experiment_id = store.find_experiment(name)
    records = [_of_epochs(record) for record in _trainings(store.runs(experiment_id))]
    table = _table(records)[["run_id", "variant", "trial", "seed"]]
    wide = _wide(store.epochs(experiment_id, records), table["run_id"])
    order = pd.Series(range(len(table)), index=table["run_id"])
    merged = table.merge(wide, on="run_id")
    merged = merged.sort_values(
        ["run_id", "epoch"], key=lambda c: c.map(order) if c.name == "run_id" else c
    )
    merged.columns.name = None
    return merged.reset_index(drop=True)


def _of_epochs(record: RunRecord) -> RunRecord:
    """A run without the metrics that are not those of an epoch."""
    own = {key: record.metrics[key] for key in EPOCH_METRICS if key in record.metrics}
    return replace(record, metrics=own)


def _wide(histories: Sequence[EpochRecord], run_ids: pd.Series[str]) -> pd.DataFrame:
    """A row for each epoch of these runs: its number, and a column for each of its metrics.

    A user's own runs in the experiment may have metrics of these names and a million steps.
    """
    long = pd.DataFrame(histories, columns=EpochRecord._fields)
    long = long.rename(columns={"step": "epoch"})
    long = long[long["run_id"].isin(run_ids) & long["key"].isin(EPOCH_METRICS)]
    long = long.astype({"epoch": "int64", "value": "float64"})
    long["value"] = _unclamped(long["value"])
    cell = ["run_id", "epoch", "key"]
    try:
        wide = long.set_index(cell)["value"].unstack("key")
    except ValueError:  # something was logged twice: the last counts, as with MLflow
        long = long.sort_values(["timestamp", "value"], na_position="first")
        wide = long.drop_duplicates(cell, keep="last").set_index(cell)["value"].unstack("key")
    return wide.reindex(columns=list(EPOCH_METRICS)).reset_index()


def answers(run_id: str, store: Store | None = None) -> np.ndarray:
    """The digits that a run's model saw in the test images, in their order: (m,) uint8.

    Args:
        run_id: of a finished run, as in `runs`.
        store: as for `runs`.

    Raises:
        TrackingError: none are recorded, or the store cannot be reached.
    """
    return (store or open_store(create=False)).answers(run_id)


def _columns() -> list[str]:
    return [
        *("run_id", "name", "variant", "trial", "state", "status", "study"),
        *("experiment", "stage", "tuned", "parent"),
        *FIELD_COLUMNS.values(),
        *("seed", "parameters", "epochs_done"),
        *EPOCH_METRICS,
        *FINAL_METRICS,
        *("start_time", "end_time", "threads", "config_digest", "code_digest"),
        *("git_commit", "git_dirty", "data_sha256", "model_uri", "failed_by_itself", "reason"),
    ]


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    for field, info in RunConfig.model_fields.items():
        name = FIELD_COLUMNS[field]
        types = _types(info.annotation)
        if types == {bool}:
            table[name] = _booleans(table[name])
        elif types == {int}:
            table[name] = _integers(table[name])
        elif types == {float}:
            table[name] = pd.to_numeric(table[name], errors="coerce").astype("float64")
    for name in _INTEGERS:
        table[name] = _integers(table[name])
    for name in (*EPOCH_METRICS, *FINAL_METRICS):
        table[name] = _unclamped(table[name].astype("float64"))
    for name in ("start_time", "end_time"):
        table[name] = pd.to_datetime(pd.to_numeric(table[name]), unit="ms", utc=True)
    for name in ("git_dirty", "failed_by_itself"):
        table[name] = _booleans(table[name])
    return table


def _integers(texts: pd.Series[str]) -> pd.Series[int]:
    """Whole numbers, and <NA> for whatever else a user's own run has under the name."""
    numbers = pd.to_numeric(texts, errors="coerce")
    return numbers.where((numbers % 1 == 0) & (numbers.abs() < 2**53)).astype("Int64")


def _unclamped(values: pd.Series[float]) -> pd.Series[float]:
    """Infinite where it was: MLflow keeps the largest number there is instead."""
    return values.where(values.abs() < sys.float_info.max, values * 2)


def _types(annotation: object) -> set[object]:
    """What the values of a field are, None aside: {int} of `int | None` and of Literal[4, 7]."""
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_types, get_args(annotation))) - {type(None)}
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    return {annotation}


_BOOLEANS = {"True": True, "true": True, "False": False, "false": False}


def _booleans(texts: pd.Series[str]) -> pd.Series[bool]:
    return texts.map(_BOOLEANS).astype("boolean")
