"""Runs of an experiment that nobody is at work on any more."""

from __future__ import annotations

import time

import mlflow
import pandas as pd
import pytest

from mnist_lab.cells import Recorded, close_dead_runs
from mnist_lab.process import this_process
from mnist_lab.tracking import Store

HOUR = 3_600_000  # milliseconds


@pytest.mark.parametrize(
    ("process", "began", "last_epoch", "epoch_seconds", "status"),
    [
        ("elsewhere/1/2 3 4.00", 5, 2, 60, "FAILED"),
        ("elsewhere/1/2 3 4.00", 5, 0.5, 60, "RUNNING"),
        ("elsewhere/1/2 3 4.00", 5, 2, 600, "RUNNING"),  # its epochs are long
        ("elsewhere/1/2 3 4.00", 2, None, None, "FAILED"),
        ("elsewhere/1/2 3 4.00", 0.5, None, None, "RUNNING"),
        ("", 5, 2, 60, "RUNNING"),  # this process
    ],
)
def test_a_run_of_a_machine_that_is_gone_is_given_up(
    store: Store,
    process: str,
    began: float,
    last_epoch: float | None,
    epoch_seconds: float | None,
    status: str,
) -> None:
    client, now = mlflow.MlflowClient(), int(time.time() * 1000)
    experiment = store.experiment("e")
    tags = {"kind": "training", "experiment": "e", "process": process or this_process()}
    run = client.create_run(experiment, start_time=now - int(began * HOUR), tags=tags).info.run_id
    if last_epoch is not None and epoch_seconds is not None:
        for step, ago in ((1, 4.0), (2, last_epoch)):
            moment = now - int(ago * HOUR)
            client.log_metric(run, "epoch_seconds", epoch_seconds, moment, step)
    close_dead_runs(store, experiment, {"experiment": "another"})
    assert client.get_run(run).info.status == "RUNNING"
    close_dead_runs(store, experiment, {"experiment": "e"})
    ended = client.get_run(run)
    assert ended.info.status == status
    assert ("no sign of life" in ended.data.tags.get("reason", "")) == (status == "FAILED")


def test_a_run_that_ended_before_it_named_its_data_was_interrupted() -> None:
    runs = pd.DataFrame(
        {
            "experiment": "e",
            "status": ["KILLED", "KILLED"],
            "code_digest": pd.array([pd.NA, "c"], dtype="string"),
            "data_sha256": pd.array([pd.NA, "other"], dtype="string"),
            "failed_by_itself": pd.NA,
            "reason": "interrupted",
        }
    )
    assert Recorded(runs, "e", "c", "d").unfit == {"interrupted": 1, "trained on other data": 1}
