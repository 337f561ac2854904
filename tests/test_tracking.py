from __future__ import annotations

import itertools
import math
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import mnist_lab as lab
from mnist_lab import api_store, provenance, sqlite_store
from mnist_lab.connection import TrackingError, local_uri, without_password
from mnist_lab.process import this_process
from mnist_lab.progress import Progress
from mnist_lab.recording import record as record_training
from mnist_lab.tables import EPOCH_METRICS, FIELD_COLUMNS, no_runs
from mnist_lab.tracking import Store, open_store
from tests.conftest import served
from tests.servers import INITDB, postgresql


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


@pytest.fixture
def store(workspace: Path) -> Store:
    return open_store()


def test_the_store_is_mlflows_default(bare_workspace: Path, small: lab.Dataset) -> None:
    run_id = record(open_store(), small)
    assert mlflow.MlflowClient(f"sqlite:///{bare_workspace / 'mlflow.db'}").get_run(run_id)
    assert list((bare_workspace / "mlruns").rglob("model.keras"))


def test_a_run_records_everything(store: Store, mnist: lab.Dataset, workspace: Path) -> None:
    run_id = record(store, mnist, seed=7, validation_size=10_000, hidden=(32, 16))
    run = mlflow.MlflowClient().get_run(run_id)
    assert run.info.status == "FINISHED"
    config = lab.RunConfig(hidden=(32, 16), epochs=2, validation_size=10_000)
    assert run.data.params["hidden"] == "32-16"
    assert run.data.params == config.params() | {
        "seed": "7",
        "parameters": str(784 * 32 + 32 + 32 * 16 + 16 + 170),
    }
    for key in EPOCH_METRICS:
        history = mlflow.MlflowClient().get_metric_history(run_id, key)
        assert [metric.step for metric in history] == [1, 2], key
    tags = run.data.tags
    assert tags["data_sha256"] == mnist.sha256
    assert tags["config_digest"] == config.digest()
    assert tags["code_digest"] == provenance.code_digest()
    assert int(tags["threads"]) >= 1
    assert tags["version.tensorflow"] == version("tensorflow")
    assert tags["python"].startswith("3.")
    assert tags["cpu"]
    assert run.data.metrics["duration"] > run.data.metrics["train_seconds"] > 0
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "mnist"
    assert mnist.sha256.startswith(dataset.dataset.digest)
    assert len(dataset.dataset.digest) == 32
    state = provenance.git_state()
    if state.commit:
        assert tags["git_commit"] == state.commit
        assert tags["git_dirty"] == str(bool(state.diff)).lower()
    names = {file.path for file in mlflow.MlflowClient().list_artifacts(run_id)}
    assert names >= {"config.toml", "test_answers.npy"} | (
        {"git_diff.patch"} if state.diff else set()
    )

    # The model as logged, on the raw test images, gives the recorded accuracy.
    recorded = run.data.metrics["test_accuracy"]
    assert recorded > 0.9
    for uri in (f"runs:/{run_id}/model", tags["model_uri"]):
        keras_model = mlflow.keras.load_model(uri)
        generic = mlflow.pyfunc.load_model(uri)
        for probabilities in (
            keras_model.predict(mnist.test_images, verbose=0),
            generic.predict(mnist.test_images),
        ):
            assert probabilities.shape == (10_000, 10)
            accuracy = (np.asarray(probabilities).argmax(axis=1) == mnist.test_labels).mean()
            assert accuracy == pytest.approx(recorded, abs=1e-9)
    answers = lab.answers(run_id)
    assert answers.dtype == np.uint8
    assert (answers == np.asarray(probabilities).argmax(axis=1)).all()
    signature = generic.metadata.signature
    assert signature.inputs.inputs[0].shape == (-1, 28, 28)
    assert str(signature.inputs.inputs[0].type) == "uint8"
    requirements = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model"))
    pinned = (requirements / "requirements.txt").read_text().split()
    assert all("==" in line for line in pinned)


def test_both_ways_of_reading_agree(store: Store, small: lab.Dataset) -> None:
    for seed in range(3):
        record(store, small, seed=seed, validation_size=100 * seed)
    experiment = store.find_experiment("test")
    mlflow.MlflowClient().delete_run(record(store, small, seed=9))
    with store.run(experiment, "diverged", tags={"kind": "training"}) as run:
        run.log_epoch(lab.Epoch(1, math.nan, 0.1, math.nan, 0.1, 0.5))
        run.fail("loss nan")
    path = sqlite_store.local_path(store.uri)
    assert path is not None
    fast, slow = sqlite_store.read_runs(path, experiment), store.runs_by_api(experiment)
    assert len(fast) == 4

    def plain(record: sqlite_store.RunRecord) -> str:
        return repr(sorted(vars(record).items(), key=lambda item: item[0]))

    for one, other in zip(fast, slow, strict=True):
        for mapping in ("params", "tags", "metrics"):
            setattr(one, mapping, dict(sorted(getattr(one, mapping).items())))
            setattr(other, mapping, dict(sorted(getattr(other, mapping).items())))
        assert plain(one) == plain(other)
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
        runs = [sqlite_store.RunRecord("", "", "", 0, 0, {"epochs": text}) for text in epochs]
        return [len(part) for part in api_store._parts(runs)]

    assert sizes() == []
    assert sizes(*["5"] * 150) == [100, 50]
    assert sizes(*["300"] * 100) == [83, 17]
    assert sizes("30000", "5", "30000", "5", "5") == [1, 1, 1, 2]
    assert sizes("many", "-5", "") == [3]


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


def test_an_interrupted_run_is_killed_and_a_broken_one_failed(store: Store) -> None:
    experiment = store.experiment("test")
    for error, status in ((KeyboardInterrupt(), "KILLED"), (OSError("no disk"), "FAILED")):
        with (
            pytest.raises(type(error)),
            store.run(experiment, "run", tags={"kind": "training"}) as run,
        ):
            raise error
        ended = mlflow.MlflowClient().get_run(run.id)
        assert ended.info.status == status
        assert ended.data.tags["reason"]


def test_an_interrupt_at_any_moment_leaves_no_run_open_and_no_lock(store: Store) -> None:
    experiment = store.experiment("test")

    def log_until_interrupted(interrupt: threading.Timer) -> None:
        with store.run(experiment, "run", tags={"kind": "training"}) as run:
            interrupt.start()
            for number in itertools.count(1):
                run.log_epoch(lab.Epoch(number, 0.5, 0.9, 0.5, 0.9, 0.1))

    delays = np.random.default_rng(0).uniform(0.01, 0.15, size=25)
    for delay in delays:
        interrupt = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            log_until_interrupted(interrupt)
        interrupt.join()
    table, epochs = lab.runs("test"), lab.epochs("test")
    assert table["status"].tolist() == ["KILLED"] * len(delays)
    assert (table["epochs_done"] > 0).any()
    # Each epoch on record is whole.
    assert epochs[list(EPOCH_METRICS)].notna().all().all()


def test_an_interrupt_in_the_midst_of_c_code_is_one(store: Store) -> None:
    def interrupted_conversion() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise SystemError("returned a result with an exception set") from interrupt

    experiment = store.experiment("test")
    with (
        pytest.raises(KeyboardInterrupt),
        store.run(experiment, "run", tags={"kind": "training"}) as run,
    ):
        interrupted_conversion()
    assert mlflow.MlflowClient().get_run(run.id).info.status == "KILLED"


def test_a_run_names_the_process_that_writes_it(store: Store) -> None:
    experiment = store.experiment("test")
    with store.run(experiment, "run", tags={"kind": "training"}) as run:
        pass
    assert mlflow.MlflowClient().get_run(run.id).data.tags["process"] == this_process()
    store.set_tags(run.id, {"process": "another", "more": "yes"})
    with store.run(experiment, "run", tags={}, resume=run.id) as again:
        assert again.id == run.id
    tags = mlflow.MlflowClient().get_run(run.id).data.tags
    assert tags["process"] == this_process()
    assert tags["more"] == "yes"


def test_a_run_that_its_process_left_open_can_be_closed(store: Store) -> None:
    experiment = store.experiment("test")
    left = mlflow.MlflowClient().create_run(experiment, tags={"kind": "training"}).info.run_id
    store.close_run(left, "KILLED", "its process was killed", {"trial_state": "FAIL"})
    (record,) = store.runs(experiment)
    assert record.status == "KILLED"
    assert record.end_ms is not None
    assert (
        record.tags.items()
        >= {
            "kind": "training",
            "reason": "its process was killed",
            "trial_state": "FAIL",
        }.items()
    )
    store.close_run(left, "FINISHED")
    assert store.runs(experiment)[0].status == "FINISHED"


def test_a_deleted_experiment_is_named(store: Store) -> None:
    mlflow.MlflowClient().delete_experiment(store.experiment("gone"))
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        store.experiment("gone")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1",
        "http://127.0.0.1:{silent}",
        "postgresql://me:secret@127.0.0.1:1/lab",
        "postgresql://me:secret@127.0.0.1:{silent}/lab",
        "sqlite:////no/such/folder/mlflow.db",
        "nonsense://store",
        "file:///tmp/old-store",
    ],
)
def test_an_unreachable_store_is_said_within_seconds(
    uri: str, silent_port: int, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(silent=silent_port))
    began = time.perf_counter()
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI") as error:
        open_store()
    assert time.perf_counter() - began < 15
    assert "secret" not in str(error.value)
    assert "expected" in str(error.value)


@pytest.mark.skipif(
    INITDB is None and "CI" not in os.environ, reason="needs PostgreSQL (Debian: postgresql)"
)
def test_a_database_that_is_not_there_is_said_within_seconds(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql() as databases:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{databases}/another")
        began = time.perf_counter()
        with pytest.raises(TrackingError, match='database "another" does not exist') as error:
            open_store()
        assert time.perf_counter() - began < 15
    assert "secret" not in str(error.value)


def test_a_local_store_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b%").mkdir()
    monkeypatch.chdir(tmp_path / "a b%")
    assert local_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/a b%25/mlflow.db"
    assert (
        local_uri("sqlite+pysqlite:///./my%20runs.db?timeout=5")
        == f"sqlite+pysqlite:///{tmp_path}/a b%25/my runs.db?timeout=5"
    )
    assert local_uri("sqlite:////my%20runs/mlflow.db") == "sqlite:////my runs/mlflow.db"
    assert local_uri("http://host:5000") == "http://host:5000"


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:pw@host/db") == "postgresql://***@host/db"
    assert without_password("sqlite:///mlflow.db") == "sqlite:///mlflow.db"


def test_the_code_digest_is_that_of_what_decides_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest() -> str:
        provenance.code_digest.cache_clear()
        return provenance.code_digest()

    package = Path(provenance.__file__).parent
    for file in package.glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text())
    before = digest()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert digest() == before

    def change(module: str, old: str, new: str) -> str:
        path = tmp_path / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        changed = digest()
        path.write_text(text)
        return changed

    future = "from __future__ import annotations"
    # A comment, a docstring, a blank line, and modules that decide nothing do not count.
    assert change("training", future, f"# a comment\n\n{future}") == before
    assert change("training", '"""', '"""Another text. ') == before
    assert change("tables", future, f"{future}\nx = 1") == before
    assert change("config", future, f"{future}\nx = 1") == before
    # Code counts, in the trainer and in what it rests on, directly or not.
    for module in ("training", "models", "layers", "data", "backend"):
        assert change(module, future, f"{future}\nx = 1") != before, module
    provenance.code_digest.cache_clear()


def test_a_dirty_tree_is_recorded_with_its_untracked_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "a.py").write_text("one = 1\n")
    git("add", "a.py")
    git("commit", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "a.py"))
    provenance.git_state.cache_clear()
    clean = provenance.git_state()
    assert len(clean.commit) == 40
    assert clean.diff == ""
    (tmp_path / "a.py").write_text("one = 2\n")
    (tmp_path / "new.toml").write_text("trials = 3\n")
    provenance.git_state.cache_clear()
    dirty = provenance.git_state()
    provenance.git_state.cache_clear()
    assert "+one = 2" in dirty.diff
    assert "+trials = 3" in dirty.diff
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert status.stdout == " M a.py\n?? new.toml\n"  # the index is as it was
