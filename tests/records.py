"""Runs on record, made in a moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import mnist_lab as lab
from mnist_lab.progress import Progress
from mnist_lab.recording import record as record_training
from mnist_lab.tracking import Store


def record(store: Store, data: lab.Dataset, seed: int = 0, **fields: object) -> str:
    """Train and record one run, as a study does; its id."""
    config = lab.RunConfig(**{"hidden": (16,), "epochs": 2, **fields})
    experiment = store.experiment("test")
    tags = {"kind": "training", "trial": str(seed), "variant": "v", "trial_state": "COMPLETE"}
    with store.run(experiment, f"run {seed}", tags=tags) as run:
        record_training(config, data, seed, run, Progress("runs", 1))
    return run.id


def log_history(run_id: str, key: str, steps: int) -> None:
    """So many values of a metric of a run, straight in the database, in a moment."""
    values = [(run_id, key, 1 / step, step, 1_700_000_000_000) for step in range(1, steps + 1)]
    with closing(sqlite3.connect("mlflow.db")) as database, database:
        for table, rows in (("metrics", values), ("latest_metrics", values[-1:])):
            database.executemany(
                f"INSERT INTO {table} (run_uuid, key, value, step, timestamp, is_nan) "
                "VALUES (?, ?, ?, ?, ?, FALSE)",
                rows,
            )


def copy_run(run_id: str, copies: int) -> None:
    """So many more runs like one, straight in the database, in a moment."""
    with closing(sqlite3.connect("mlflow.db")) as database, database:
        for table in ("runs", "params", "tags", "metrics", "latest_metrics"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            copied = ", ".join("?" if column == "run_uuid" else column for column in columns)
            database.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {copied} FROM {table} WHERE run_uuid = ?",
                [(f"{number:032x}", run_id) for number in range(copies)],
            )
