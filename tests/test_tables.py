"""Runs and epochs as tables."""

from __future__ import annotations

import math
import tracemalloc

import mlflow
import numpy as np
import pandas as pd
import pytest

import mnist_lab as lab
from mnist_lab.connection import TrackingError
from mnist_lab.tables import EPOCH_METRICS, FIELD_COLUMNS, no_runs
from mnist_lab.tracking import Store
from tests.records import copy_run, log_history, record


def test_a_users_own_run_of_many_steps_costs_the_table_of_epochs_little(store: Store) -> None:
    experiment = store.experiment("test")
    with store.run(experiment, "run", tags={"kind": "training", "variant": "v"}) as run:
        run.log_epoch(lab.Epoch(1, 0.5, 0.9, math.nan, math.nan, 0.1))
        run.log_epoch(lab.Epoch(2, math.nan, 0.1, 0.5, 0.9, 0.1))
    copy_run(run.id, 299)
    before = lab.epochs("test")
    assert len(before) == 600
    assert before.iloc[:2][[*EPOCH_METRICS]].isna().sum().sum() == 3
    with store.run(experiment, "a user's own", tags={}) as own:
        pass
    log_history(own.id, "loss", 20_000)
    tracemalloc.start()
    after = lab.epochs("test")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pd.testing.assert_frame_equal(after, before)
    assert peak < 50e6  # bytes; runs times steps would be six million rows


def test_tables_are_typed(store: Store, small: lab.Dataset) -> None:
    first = record(store, small, seed=4, validation_size=100)
    second = record(store, small, seed=5, hidden=(16, 8))
    experiment = store.find_experiment("test")
    with store.run(experiment, "a study", tags={"kind": "study"}):
        pass
    with store.run(experiment, "broken", tags={"kind": "training"}) as run:
        run.fail("a reason")
    table = lab.runs("test")
    assert table["run_id"].tolist() == [first, second, run.id]
    assert table["hidden"].tolist()[:2] == ["16", "16-8"]
    for column in ("trial", "seed", "batch_size", "epochs", "parameters", "validation_size"):
        assert table[column].dtype == pd.Int64Dtype(), column
    for column in ("learning_rate", "val_accuracy", "test_accuracy", "loss", "duration"):
        assert table[column].dtype == np.float64, column
    for column in ("residual", "nesterov"):
        assert table[column].dtype == pd.BooleanDtype(), column
    assert table["residual"].tolist()[:2] == [False, False]
    assert table["momentum"].dtype == np.float64  # float or None
    # What is measured and what is configured have a column each.
    assert table["loss"].dtype == np.float64
    assert table["loss_function"].tolist()[:2] == ["cross_entropy", "cross_entropy"]
    assert table.columns.is_unique
    assert set(FIELD_COLUMNS.values()) <= set(table)
    assert table["seed"].tolist()[:2] == [4, 5]
    assert table["status"].tolist() == ["FINISHED", "FINISHED", "FAILED"]
    assert table["reason"].tolist()[2] == "a reason"
    assert math.isnan(table["val_accuracy"][1])
    assert table["seed"].isna().tolist() == [False, False, True]
    assert str(table["start_time"].dtype).startswith("datetime64")
    mlflow.keras.load_model(table["model_uri"][0])

    assert table["patch_size"].tolist()[:2] == [7, 7]

    epochs = lab.epochs("test")
    assert epochs["run_id"].tolist() == [first, first, second, second]
    assert epochs["epoch"].tolist() == [1, 2, 1, 2]
    assert epochs["variant"].tolist() == ["v"] * 4
    assert epochs["epoch"].dtype == np.int64
    assert epochs["loss"].notna().all()
    assert epochs["val_accuracy"].isna().tolist() == [False, False, True, True]
    assert epochs["val_accuracy"][1] == table["val_accuracy"][0]


def test_each_field_has_a_column_of_the_type_of_its_values() -> None:
    numeric = {"integer": "Int64", "number": "float64", "boolean": "boolean"}
    table = no_runs()
    for field, schema in lab.RunConfig.model_json_schema()["properties"].items():
        kinds = {option.get("type", "object") for option in schema.get("anyOf", [schema])}
        (kind,) = kinds - {"null"}
        assert str(table[FIELD_COLUMNS[field]].dtype) == numeric.get(kind, "object"), field


def test_tables_without_runs_are_empty(store: Store) -> None:
    store.experiment("empty")
    assert len(lab.runs("empty")) == 0
    assert len(lab.epochs("empty")) == 0
    assert "val_accuracy" in lab.runs("empty")


def test_an_unknown_name_lists_those_recorded(store: Store) -> None:
    store.experiment("baseline")
    with pytest.raises(TrackingError, match="did you mean 'baseline'") as error:
        lab.runs("basline")
    assert "Recorded: baseline" in str(error.value)


def test_a_users_own_run_has_no_numbers_where_it_has_text(store: Store) -> None:
    client = mlflow.MlflowClient()
    run = client.create_run(store.experiment("test"), tags={"kind": "training", "trial": "first"})
    client.log_param(run.info.run_id, "epochs", "x")
    client.log_param(run.info.run_id, "seed", "1e23")
    client.log_param(run.info.run_id, "batch_size", "2.5")
    client.log_param(run.info.run_id, "learning_rate", "fast")
    (row,) = lab.runs("test").itertuples()
    assert pd.isna([row.epochs, row.seed, row.batch_size, row.learning_rate, row.trial]).all()
    assert len(lab.epochs("test")) == 0


def test_an_infinite_loss_is_infinite_in_the_tables(store: Store) -> None:
    client = mlflow.MlflowClient()
    run_id = client.create_run(store.experiment("test"), tags={"kind": "training"}).info.run_id
    client.log_metric(run_id, "loss", math.inf, step=1)
    client.log_metric(run_id, "val_loss", -math.inf, step=1)
    for table in (lab.runs("test"), lab.epochs("test")):
        assert table["loss"].tolist() == [math.inf]
        assert table["val_loss"].tolist() == [-math.inf]


def test_of_a_step_that_was_logged_twice_the_last_value_counts(store: Store) -> None:
    client = mlflow.MlflowClient()
    run_id = client.create_run(store.experiment("test"), tags={"kind": "training"}).info.run_id
    for value, moment, step in ((3.0, 2_000, 1), (1.0, 1_000, 1), (5.0, 1_000, 2)):
        client.log_metric(run_id, "loss", value, moment, step)
    client.log_metric(run_id, "loss", math.nan, 3_000, 2)
    client.log_metric(run_id, "val_loss", math.nan, 1_000, 3)
    table = lab.epochs("test")
    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["loss"].fillna(-1).tolist() == [3.0, -1.0, -1.0]
    assert math.isnan(lab.runs("test")["loss"][0])
