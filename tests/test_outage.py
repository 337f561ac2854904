"""What becomes of runs when their store is away: a real server is killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import mlflow
import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab import unsent
from mnist_lab.connection import TrackingError
from mnist_lab.delivery import deliver
from mnist_lab.measured import PARENT_TAG, Measured, Value
from mnist_lab.process import this_process
from mnist_lab.progress import Progress
from mnist_lab.recording import record as record_training
from mnist_lab.start import start
from mnist_lab.tables import EPOCH_METRICS
from mnist_lab.tracking import Store, open_store
from tests.conftest import Command, Done, environment
from tests.samples import write_digits

GAP_SECONDS = float(os.environ.get("TEST_OUTAGE_SECONDS", "4"))
EPOCHS = 3


class Server:
    """An `mlflow server` that can be killed and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(Path(sys.executable).parent / "mlflow"), "server", "--workers", "1"),
                    *("--port", str(self.port), "--backend-store-uri", "sqlite:///mlflow.db"),
                ],
                cwd=self.folder,
                env=environment(
                    MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"
                ),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What its database holds, read past the server."""
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            return database.execute(query).fetchall()


@pytest.fixture
def server(workspace: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (workspace / "server").mkdir()
    shutil.copy(empty_store, workspace / "server" / "mlflow.db")
    server = Server(workspace / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.kill()


def train(store: Store, data: lab.Dataset, after: int, happens: threading.Thread) -> str:
    """Train and record a run, in which something happens after an epoch; its id."""
    config = lab.RunConfig(hidden=(16,), epochs=EPOCHS, validation_size=100)
    experiment = store.experiment("test")

    def watch(epoch: lab.Epoch) -> bool:
        if epoch.number == after:
            happens.start()
            happens.join(0.5)
        return False

    try:
        with store.run(experiment, "parent", tags={"kind": "study"}) as parent:
            tags = {"kind": "training", "variant": "v"}
            with store.run(experiment, "run", tags=tags, parent=parent.id) as run:
                record_training(config, data, 0, run, Progress("runs", 1), watch)
                run.tag({"trial_state": "COMPLETE"})
    finally:
        happens.join()
    return run.id


def assert_is_whole(server: Server, data: lab.Dataset, run_id: str) -> None:
    """All that a run measures is on record, once."""
    table = lab.runs("test")
    assert table["run_id"].tolist() == [run_id]
    (run,) = table.to_dict("records")
    assert run["status"] == "FINISHED"
    assert run["state"] == "COMPLETE"
    assert run["seed"] == 0
    assert run["epochs_done"] == EPOCHS
    epochs = lab.epochs("test")
    assert epochs["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert epochs[list(EPOCH_METRICS)].notna().all().all()
    once = "SELECT key, step, count(*) AS n FROM metrics GROUP BY run_uuid, key, step HAVING n > 1"
    assert server.rows(once) == []
    assert server.rows("SELECT count(*) FROM inputs WHERE source_type = 'DATASET'") == [(1,)]
    ready = "SELECT count(*) FROM logged_models WHERE lifecycle_stage = 'active' AND status = 2"
    assert server.rows(ready) == [(1,)]
    names = {file.path for file in mlflow.MlflowClient().list_artifacts(run_id)}
    assert names >= {"config.toml", "test_answers.npy"}
    model = mlflow.keras.load_model(run["model_uri"])
    answers = model.predict(data.test_images, verbose=0).argmax(axis=1)
    assert (answers == lab.answers(run_id)).all()
    assert np.mean(answers == data.test_labels) == run["test_accuracy"]
    mlflow.pyfunc.load_model(f"runs:/{run_id}/model")


def test_a_request_is_tried_for_a_minute_and_given_up_after_two() -> None:
    def setting(name: str) -> float:
        return float(os.environ[f"MLFLOW_HTTP_REQUEST_{name}"])

    tries = int(setting("MAX_RETRIES"))
    waits = [setting("BACKOFF_FACTOR") * 2**number for number in range(1, tries)]
    assert sum(waits) >= 60
    assert sum(waits) + setting("BACKOFF_JITTER") * len(waits) <= 120


def test_a_server_killed_and_started_again_in_mid_run_costs_nothing(
    server: Server, small: lab.Dataset
) -> None:
    def outage() -> None:
        server.kill()
        time.sleep(GAP_SECONDS)
        server.start()

    store = open_store()
    run_id = train(store, small, 1, threading.Thread(target=outage))
    assert_is_whole(server, small, run_id)
    assert lab.runs("test")["parent"].notna().all()
    assert not unsent.FOLDER.exists()
    statuses = server.rows("SELECT status FROM runs")
    assert statuses == [("FINISHED",)] * 2


def test_what_a_server_that_is_gone_did_not_take_is_kept_and_sent_later(
    server: Server, small: lab.Dataset, lab_: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    with monkeypatch.context() as impatient:
        impatient.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(TrackingError) as error:
            train(store, small, 1, threading.Thread(target=server.kill))
        told = str(error.value)
        assert server.uri in told
        assert f"{EPOCHS} epochs, test metrics, model" in told
        assert "python -m mnist_lab.send" in told
        failed = lab_("send")
        assert failed.returncode == 2
        assert "cannot be reached" in failed.stderr

    parent, folder = unsent.kept()
    kept = unsent.read(folder)
    assert str(folder.absolute()) in told
    assert [(v.key, v.step) for v in kept.metrics if v.key == "loss"] == [
        ("loss", step) for step in range(1, EPOCHS + 1)
    ]
    assert kept.is_complete
    assert kept.status == "FINISHED"
    assert (folder / "model" / "data" / "model.keras").is_file()
    assert (folder / "files" / "test_answers.npy").is_file()
    assert unsent.read(parent).status == "FAILED"

    server.start()
    server.wait()
    # Killed in the midst of sending: a part of the metrics and half a model are there already.
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("test").experiment_id
    client.create_logged_model(experiment, name="model", source_run_id=kept.run_id)
    client.log_batch(
        kept.run_id,
        metrics=[mlflow.entities.Metric(v.key, v.value, v.ms, v.step) for v in kept.metrics[:7]],
    )
    # Meanwhile somebody has closed the run, as one whose process was killed.
    open_store().close_run(kept.run_id, "FAILED", "its process was killed")
    # And killed at the very end of sending.
    assert deliver(client, kept, folder) == kept.run_id
    sent = lab_("send")
    assert sent.returncode == 0
    assert f"sent 'run' ({kept.run_id}): {EPOCHS} epochs, test metrics, model" in sent.stdout
    assert "2 sent, 0 left" in sent.stdout
    assert_is_whole(server, small, kept.run_id)
    assert client.get_run(kept.run_id).info.end_time == kept.end_ms
    assert "reason" not in client.get_run(kept.run_id).data.tags
    assert not unsent.FOLDER.exists()
    again = lab_("send")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_server_that_is_back_at_the_end_of_the_run_gets_all_of_it(
    server: Server, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = open_store()
    config = lab.RunConfig(hidden=(16,), epochs=EPOCHS, validation_size=100)

    def watch(epoch: lab.Epoch) -> bool:
        if epoch.number == 1:
            server.kill()
        if epoch.number == EPOCHS:
            server.start()
            server.wait()
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "6")
        return False

    with store.run(store.experiment("test"), "run", tags={"kind": "training"}) as run:
        record_training(config, small, 0, run, Progress("runs", 1), watch)
        run.tag({"trial_state": "COMPLETE"})
    assert_is_whole(server, small, run.id)
    assert not unsent.FOLDER.exists()


def kept_run(run_id: str, **fields: object) -> Measured:
    """A run of two epochs, as it is kept on disk."""
    store = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    measured = Measured(run_id, "test", run_id, store, 1_700_000_000_000)
    measured.add(
        {"kind": "training", "process": this_process()},
        {"seed": "3"},
        [
            Value(key, 0.5, 1_700_000_000_000 + step, step)
            for key in EPOCH_METRICS
            for step in (1, 2)
        ],
    )
    for name, value in fields.items():
        setattr(measured, name, value)
    unsent.keep(measured, Path("nothing"))
    return measured


def test_runs_that_the_store_does_not_have_are_made_anew(workspace: Path, lab_: Command) -> None:
    parent = kept_run("f" * 32, status="FAILED", end_ms=1_700_000_009_000, metrics=[])
    parent.tags["kind"] = "study"
    unsent.keep(parent, Path("nothing"))
    child = kept_run("a" * 32, status="FINISHED", end_ms=1_700_000_005_000)
    child.tags[PARENT_TAG] = parent.run_id
    unsent.keep(child, Path("nothing"))
    assert lab_("send").stdout.count("made anew as") == 2
    (run,) = lab.runs("test").to_dict("records")
    records = open_store().runs(open_store().find_experiment("test"))
    study = next(record for record in records if record.tags["kind"] == "study")
    assert run["parent"] == study.run_id
    assert run["seed"] == 3
    assert run["start_time"].timestamp() == 1_700_000_000
    assert run["duration"] != run["duration"]
    # A kill after the run was made, and before its folder was removed.
    unsent.keep(child, Path("nothing"))
    assert run["run_id"] in lab_("send").stdout
    assert len(lab.runs("test")) == 1
    assert len(lab.epochs("test")) == 2


def test_a_run_whose_process_was_killed_is_sent_as_failed(workspace: Path, lab_: Command) -> None:
    running = kept_run("b" * 32)
    assert "still being trained" in lab_("send").stdout
    machine, _, _ = this_process().rsplit(" ", 2)
    running.tags["process"] = f"{machine} {2**22 + 1} 0.00"
    unsent.keep(running, Path("nothing"))
    assert "1 sent" in lab_("send").stdout
    (run,) = lab.runs("test").to_dict("records")
    assert run["status"] == "FAILED"
    assert run["epochs_done"] == 2
    assert "process ended" in run["reason"]


def test_a_run_of_a_machine_that_is_gone_is_sent_in_the_end(workspace: Path, lab_: Command) -> None:
    old = kept_run("b" * 32)
    old.tags["process"] = "elsewhere/1/2/ 3 4.00"
    recent = kept_run("c" * 32)
    recent.tags |= old.tags
    for measured in (old, recent):
        unsent.keep(measured, Path("nothing"))
    yesterday = time.time() - 25 * 3600
    os.utime(unsent.FOLDER / old.run_id / "record.json", (yesterday, yesterday))
    told = lab_("send").stdout
    assert f"{'c' * 32}' may still be trained on another machine (elsewhere)" in told
    assert "1 sent, 1 left" in told
    assert lab.runs("test")["status"].tolist() == ["FAILED"]


def test_a_run_is_sent_by_one_process_at_a_time(
    workspace: Path, lab_: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_run("c" * 32, status="FINISHED")
    (folder,) = unsent.kept()
    taken, asks = unsent.taken, threading.Event()

    def told(place: Path) -> AbstractContextManager[Measured | None]:
        asks.set()
        return taken(place)

    monkeypatch.setattr(unsent, "taken", told)
    done: list[Done] = []
    other = threading.Thread(target=lambda: done.append(lab_("send")))
    with taken(folder):
        other.start()
        assert asks.wait(60)
        other.join(0.5)
        assert other.is_alive()
        unsent.forget(folder)  # as after it was sent
    other.join(60)
    assert done[0].stdout == "0 sent, 0 left\n"


def test_what_is_kept_while_it_is_sent_is_kept_anew(workspace: Path) -> None:
    kept_run("c" * 32)
    (folder,) = unsent.kept()
    other = threading.Thread(target=lambda: kept_run("c" * 32, status="FINISHED"))
    with unsent.taken(folder):
        other.start()
        other.join(0.5)
        assert other.is_alive()
        unsent.forget(folder)
    other.join(60)
    assert unsent.read(folder).status == "FINISHED"


def test_a_command_that_trains_says_what_waits_to_be_sent(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start("mnist_lab.runner", None, None)
    assert capsys.readouterr() == ("", "")
    for run_id in ("c" * 32, "d" * 32):
        kept_run(run_id, status="FINISHED")
    start("mnist_lab.runner", None, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert "unsent/ keeps 2 runs" in err
    assert "python -m mnist_lab.send" in err


def test_a_record_that_cannot_be_read_is_named(workspace: Path, lab_: Command) -> None:
    kept_run("c" * 32, status="FINISHED")
    path = unsent.FOLDER / ("c" * 32) / "record.json"
    path.write_text("{}")
    done = lab_("send")
    assert done.returncode == 2
    assert "record.json: cannot be read" in done.stderr


@pytest.mark.slow
def test_a_command_whose_server_is_gone_ends_with_one_message(
    server: Server, small: lab.Dataset, lab_: Command, tmp_path: Path
) -> None:
    write_digits(tmp_path / "small.npz", small)
    (tmp_path / "two.toml").write_text(
        'title = "t"\nquestion = "q"\nclaim = "c"\nbaseline = "a"\nseeds = [0, 1]\n'
        "[config]\nhidden = [8]\nepochs = 2\n[variants.a]\n[variants.b]\nlearning_rate = 0.01\n"
    )

    def kill_in_mid_run() -> None:
        while not server.rows("SELECT 1 FROM metrics WHERE key = 'loss'"):
            time.sleep(0.01)
        server.kill()

    killer = threading.Thread(target=kill_in_mid_run)
    killer.start()
    command = ("experiment", str(tmp_path / "two.toml"), "--data", str(tmp_path / "small.npz"))
    done = lab_(*command, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    killer.join()
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "mnist_lab.send" in done.stderr
    server.start()
    server.wait()
    assert lab_("send").returncode == 0
    finished = lab.runs("two")["status"].tolist()
    assert finished
    assert set(finished) == {"FINISHED"}
    done = lab_(*command)
    assert done.returncode == 0
    assert f"4 runs, {4 - len(finished)} of them trained now" in done.stdout
