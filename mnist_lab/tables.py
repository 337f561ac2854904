"""Recorded runs and their epochs as typed pandas tables."""

from __future__ import annotations

import pandas as pd

from mnist_lab.config import RunConfig
from mnist_lab.sqlite_store import RunRecord
from mnist_lab.tracking import PARENT_TAG, Store, open_store

EPOCH_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "epoch_seconds")
FINAL_METRICS = ("test_loss", "test_accuracy", "duration")

_INTEGERS = ["trial", "seed", "parameters", "threads", "epochs_done"]
_TEXT_TAGS = {"state": "trial_state", "study": "study", "reason": "reason"}
_MORE_TAGS = ("git_commit", "git_dirty", "data_sha256", "model_uri")


def runs(name: str, store: Store | None = None) -> pd.DataFrame:
    """The training runs recorded under a study's or experiment's name, the oldest first.

    Args:
        name: the name of the MLflow experiment, which is the study's.
        store: the MLflow store; by default the one of MLFLOW_TRACKING_URI.

    Returns:
        One row a run. `run_id`, `name`, `variant`, `trial` (Int64), `state` (COMPLETE, PRUNED,
        FAIL), `status` (MLflow's), `study`, `parent` (run id of the study); the fields of
        `RunConfig`, with `hidden` as "512" or "512-256"; `seed`, `parameters`; the last values
        of `loss`, `accuracy`, `val_loss`, `val_accuracy`, `epoch_seconds`; `test_loss`,
        `test_accuracy`, `duration` (s); `start_time`, `end_time` (UTC); `threads`, `git_commit`,
        `git_dirty`, `data_sha256`, `model_uri`, `reason` (of a failure). Integers are Int64;
        what was not recorded is <NA> or NaN.

    Raises:
        TrackingError: no such name, or the store cannot be reached.
    """
    store = store or open_store(create=False)
    records = [
        record
        for record in store.runs(store.find_experiment(name))
        if record.tags.get("kind") == "training"
    ]
    records.sort(key=lambda record: (record.start_ms, record.run_id))
    return _typed(pd.DataFrame([_row(record) for record in records], columns=_columns()))


def epochs(name: str, store: Store | None = None) -> pd.DataFrame:
    """The epochs of the runs that `runs` lists: one row per run and epoch, in order.

    Args:
        name: as for `runs`.
        store: as for `runs`.

    Returns:
        `run_id`, `trial` (Int64), `seed` (Int64), `epoch` (int64, from 1), `loss`, `accuracy`,
        `val_loss`, `val_accuracy`, `epoch_seconds` (float64, NaN where not measured).

    Raises:
        TrackingError: no such name, or the store cannot be reached.
    """
    store = store or open_store(create=False)
    table = runs(name, store)[["run_id", "trial", "seed"]]
    histories = pd.DataFrame(
        store.epochs(store.find_experiment(name)), columns=["run_id", "key", "epoch", "value"]
    )
    histories = histories[histories["key"].isin(EPOCH_METRICS)]
    wide = histories.pivot_table(
        index=["run_id", "epoch"], columns="key", values="value", dropna=False, observed=True
    )
    wide = wide.reindex(columns=list(EPOCH_METRICS)).dropna(how="all").reset_index()
    wide = wide.astype({"epoch": "int64"} | dict.fromkeys(EPOCH_METRICS, "float64"))
    order = pd.Series(range(len(table)), index=table["run_id"])
    merged = table.merge(wide, on="run_id")
    merged = merged.sort_values(
        ["run_id", "epoch"], key=lambda c: c.map(order) if c.name == "run_id" else c
    )
    merged.columns.name = None
    return merged.reset_index(drop=True)


def _columns() -> list[str]:
    return [
        *("run_id", "name", "variant", "trial", "state", "status", "study", "parent"),
        *RunConfig.model_fields,
        *("seed", "parameters", "epochs_done"),
        *EPOCH_METRICS,
        *FINAL_METRICS,
        *("start_time", "end_time", "threads", *_MORE_TAGS, "reason"),
    ]


def _row(record: RunRecord) -> dict[str, object]:
    tags, metrics = record.tags, record.metrics
    return {
        **record.params,
        **{key: metrics.get(key) for key in (*EPOCH_METRICS, *FINAL_METRICS)},
        **{column: tags.get(tag) for column, tag in _TEXT_TAGS.items()},
        **{
            key: tags.get(key)
            for key in ("variant", "trial", "threads", "epochs_done", *_MORE_TAGS)
        },
        "run_id": record.run_id,
        "name": record.name,
        "status": record.status,
        "parent": tags.get(PARENT_TAG),
        "start_time": record.start_ms,
        "end_time": record.end_ms,
    }


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    for name, info in RunConfig.model_fields.items():
        if info.annotation is int:
            table[name] = pd.to_numeric(table[name]).astype("Int64")
        elif info.annotation is float:
            table[name] = pd.to_numeric(table[name]).astype("float64")
    for name in _INTEGERS:
        table[name] = pd.to_numeric(table[name]).astype("Int64")
    for name in (*EPOCH_METRICS, *FINAL_METRICS):
        table[name] = table[name].astype("float64")
    for name in ("start_time", "end_time"):
        table[name] = pd.to_datetime(pd.to_numeric(table[name]), unit="ms", utc=True)
    table["git_dirty"] = table["git_dirty"].map({"true": True, "false": False}).astype("boolean")
    return table
