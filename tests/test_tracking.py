"""What a run puts on record, and how it ends."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import signal
import threading
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import mlflow
import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab import provenance, room, sqlite_uri, unsent
from mnist_lab.data import MNIST
from mnist_lab.process import this_process
from mnist_lab.tables import EPOCH_METRICS
from mnist_lab.tracking import Run, Store, open_store
from tests.records import record


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
    assert mlflow.data.get_source(dataset).load() == str(MNIST)
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


def test_how_to_look_at_runs_opens_the_store_that_has_them(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    assert store.how_to_look("7") == f"mlflow ui, then open\n  {store.link('7')}"
    other = tmp_path / "of others"
    other.mkdir()
    shutil.copy("mlflow.db", other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{quote(str(other))}/mlflow.db")
    command, _, link = open_store().how_to_look("7").partition(", then open\n  ")
    *called, uri = shlex.split(command)
    assert called == ["mlflow", "ui", "--backend-store-uri"]
    assert sqlite_uri.local_path(uri) == other / "mlflow.db"
    assert link == store.link("7")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert (
        open_store()
        .how_to_look("7")
        .startswith(f"mlflow ui --backend-store-uri sqlite:///{workspace}")
    )
    served = Store("http://someone:secret@lab.example:5000")
    assert served.how_to_look("7").startswith("open\n  http://someone:***@lab.example:5000/#/")


def test_a_killed_or_broken_training_tells_how_long_it_took(
    store: Store, small: lab.Dataset
) -> None:
    experiment = store.experiment("test")
    config = lab.RunConfig(hidden=(8,), epochs=2)
    taken: dict[str, Run] = {}
    with (
        contextlib.suppress(KeyboardInterrupt),
        store.run(experiment, "killed", tags={}) as run,
    ):
        taken["killed"] = run
        run.log_start(config, 0, 1, small, 1)
        run.log_epoch(lab.Epoch(1, 0.5, 0.9, 0.5, 0.9, 2.5))
        raise KeyboardInterrupt
    with store.run(experiment, "refused", tags={}) as run:
        taken["refused"] = run
        run.log_circumstances({"hidden": "8"}, {"values": "{}"}, 0, small)
        run.fail("refused")
    with store.run(experiment, "parent", tags={}) as run:
        taken["parent"] = run
    client = mlflow.MlflowClient()
    metrics = {name: client.get_run(run.id).data.metrics for name, run in taken.items()}
    assert metrics["killed"]["train_seconds"] == 2.5
    assert metrics["killed"]["duration"] > 0
    assert list(metrics["refused"]) == ["duration"]
    assert metrics["parent"] == {}


@pytest.mark.parametrize("linked", [False, True])
def test_files_in_this_folder_or_behind_its_link_are_not_elsewhere(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, linked: bool
) -> None:
    if linked:
        (workspace / "mlruns").symlink_to(tmp_path_factory.mktemp("large"))
    database = workspace / "mlflow.db"
    for address in (f"{workspace}/mlruns/1", f"file://{workspace}/mlruns/1", "mlflow-artifacts:/1"):
        assert room.elsewhere(address, database) == ""
    assert "kept in /C#/a?b/%41" in room.elsewhere("/C#/a?b/%41/mlruns/1", database)
    assert "kept in /a b/mlruns" in room.elsewhere("file:///a%20b/mlruns/1", database)
    assert room.elsewhere("/other/mlruns/1", Path("/other/mlflow.db")) == ""


def test_where_files_are_kept_elsewhere_it_is_said_once(
    workspace: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = open_store()
    store.experiment("test")
    assert capsys.readouterr().err == ""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy("mlflow.db", copy)
    monkeypatch.chdir(copy)
    store = open_store()
    for _ in range(2):
        store.experiment("test")
    said = capsys.readouterr().err
    assert said.count("note: files and models of these runs are kept in") == 1
    assert f"{workspace}/mlruns/" in said
    assert "is not there and will be made" in said


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


def test_a_run_that_is_deleted_while_it_is_written_is_told(store: Store) -> None:
    written: list[str] = []

    def write() -> None:
        experiment = store.experiment("test")
        with (
            store.run(experiment, "parent", tags={}) as parent,
            store.run(experiment, "run", tags={}, parent=parent.id) as run,
        ):
            written.extend((run.id, parent.id))
            mlflow.MlflowClient().delete_run(run.id)
            run.tag({"key": "value"})

    with pytest.raises(lab.UserError, match="was deleted in the store; bring it back with `mlflow"):
        write()
    deleted, parent = written
    assert [unsent.read(folder).run_id for folder in unsent.kept()] == [deleted]
    # Whoever began it has ended, and says why.
    info, data = (lambda run: (run.info, run.data))(mlflow.MlflowClient().get_run(parent))
    assert info.status == "FAILED"
    assert deleted in data.tags["reason"]
