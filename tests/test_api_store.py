"""What MLflow's public API and a server give is what the local database gives."""

from __future__ import annotations

import math
from pathlib import Path

import mlflow
import pandas as pd
import pytest

import mnist_lab as lab
from mnist_lab import api_store, records, sqlite_store, sqlite_uri
from mnist_lab.tracking import Store, open_store
from tests.conftest import served
from tests.records import copy_run, log_history, record


def plain(record: records.RunRecord) -> str:
    """A run, whatever the order of its parameters, tags and metrics; NaN is NaN."""
    values = vars(record)
    return repr({k: sorted(v.items()) if isinstance(v, dict) else v for k, v in values.items()})


def test_both_ways_of_reading_agree(store: Store, small: lab.Dataset) -> None:
    for seed in range(3):
        record(store, small, seed=seed, validation_size=100 * seed)
    experiment = store.find_experiment("test")
    mlflow.MlflowClient().delete_run(record(store, small, seed=9))
    with store.run(experiment, "diverged", tags={"kind": "training"}) as run:
        run.log_epoch(lab.Epoch(1, math.nan, 0.1, math.nan, 0.1, 0.5))
        run.fail("loss nan")
    path = sqlite_uri.local_path(store.uri)
    assert path is not None
    fast, slow = sqlite_store.read_runs(path, experiment), store.runs_by_api(experiment)
    assert len(fast) == 4

    assert list(map(plain, fast)) == list(map(plain, slow))
    by_sql = sorted(map(repr, sqlite_store.read_epochs(path, experiment)))
    by_api = sorted(map(repr, store.epochs_by_api(experiment)))
    assert by_sql == by_api


def test_a_server_records_the_same(
    workspace: Path, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "server").mkdir()
    (workspace / "mlflow.db").unlink()
    with served(workspace / "server", "ui", "--workers", "1") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        store = open_store()
        run_id = record(store, small, validation_size=100)
        remote = lab.runs("test").iloc[0], lab.epochs("test")
        experiment = store.find_experiment("test")
        with store.run(experiment, "diverged", tags={"kind": "training"}) as run:
            run.log_epoch(lab.Epoch(1, math.nan, 0.1, math.inf, 0.1, 0.5))
        assert list(map(plain, store.runs(experiment))) == list(
            map(plain, store.runs_by_api(experiment))
        )
        by_histories = sorted(map(repr, store.epochs_by_api(experiment)))
        assert sorted(map(repr, store.epochs(experiment))) == by_histories
        mlflow.MlflowClient().delete_run(run.id)
        model = mlflow.keras.load_model(remote[0]["model_uri"])
        answers = model.predict(small.test_images, verbose=0).argmax(axis=1)
        assert (answers == small.test_labels).mean() == remote[0]["test_accuracy"]
        assert store.link("1").startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?")
        assert not (workspace / "mlflow.db").exists()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(workspace / "server")
    local = lab.runs("test").iloc[0], lab.epochs("test")
    assert local[0]["run_id"] == run_id
    pd.testing.assert_series_equal(local[0], remote[0])
    pd.testing.assert_frame_equal(local[1], remote[1])


def test_a_server_is_asked_for_as_many_histories_as_it_gives_at_once() -> None:
    def sizes(*epochs: str) -> list[int]:
        runs = [records.RunRecord("", "", "", 0, 0, {"epochs": text}) for text in epochs]
        return [len(part) for part in api_store._parts(runs)]

    assert sizes() == []
    assert sizes(*["5"] * 150) == [100, 50]
    assert sizes(*["300"] * 100) == [83, 17]
    assert sizes("30000", "5", "30000", "5", "5") == [1, 1, 1, 2]
    assert sizes("many", "-5", "") == [3]


@pytest.mark.slow
def test_long_histories_come_from_a_server_in_few_requests(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long, and whatever runs of his own a user has beside them."""
    here = open_store()
    experiment = here.experiment("test")
    with here.run(experiment, "run", tags={"kind": "training", "variant": "v"}) as run:
        mlflow.MlflowClient().log_param(run.id, "epochs", 13_000)
    log_history(run.id, "loss", 13_000)
    log_history(run.id, "val_accuracy", 10)
    copy_run(run.id, 1)
    with here.run(experiment, "a user's own", tags={}) as own:
        mlflow.MlflowClient().log_param(own.id, "epochs", "many")
    log_history(own.id, "loss", 25_000)
    log_history(own.id, "more", 10)
    local = lab.epochs("test")
    assert len(local) == 2 * 13_000

    one_by_one: list[tuple[str, str]] = []
    get_metric_history = mlflow.MlflowClient.get_metric_history

    def watched(self: mlflow.MlflowClient, run_id: str, key: str) -> object:
        one_by_one.append((run_id, key))
        return get_metric_history(self, run_id, key)

    monkeypatch.setattr(mlflow.MlflowClient, "get_metric_history", watched)
    with served(workspace, "ui", "--workers", "1") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        remote = lab.epochs("test")
        assert one_by_one == []
        there = open_store()
        everything = there.epochs(experiment)
        assert one_by_one == [(own.id, "loss")]  # there may be more than the server gives at once
        by_api = there.epochs_by_api(experiment)
    pd.testing.assert_frame_equal(remote, local)
    assert sorted(map(repr, everything)) == sorted(map(repr, by_api))
