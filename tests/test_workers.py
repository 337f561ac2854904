"""Training in other processes: of this machine, and of a cluster with its own servers."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import distributed
import mlflow
import optuna
import pytest

import mnist_lab as lab
from mnist_lab import cluster
from mnist_lab.declaration import read
from mnist_lab.postgresql import alone_on
from mnist_lab.progress import Progress
from mnist_lab.provenance import cores
from mnist_lab.search import run_study
from mnist_lab.space import StudyDeclaration
from mnist_lab.team import _Later
from mnist_lab.tracking import open_store
from mnist_lab.work import Alone
from tests.conftest import Command, served
from tests.servers import INITDB, dask, postgresql
from tests.survival import NAME, check, declare, study, trials, until

EXPERIMENT = """
title = "widths"
question = "Is 16 better than 8?"
claim = "Yes."
baseline = "8"
seeds = 2

[config]
batch_size = 100
epochs = 3

[variants.8]
hidden = 8

[variants.16]
hidden = 16
"""


@pytest.fixture(autouse=True)
def chosen_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of these tests' processes are the lab's choice."""
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)


@pytest.mark.slow
def test_one_worker_does_the_same_trials_as_the_command_itself(
    workspace: Path, small: lab.Dataset
) -> None:
    declare(workspace, small, trials=5, epochs=2)
    url = f"sqlite:///{workspace}/studies/s.db"
    found = []
    for options in (("--workers=1",), ()):
        with study(workspace, "--confirm=0", *options) as process:
            _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert err == ""
        check(url, 5)
        found.append([(t.params, t.intermediate_values, t.state) for t in trials(url)])
        (workspace / "studies" / "s.db").unlink()
        (workspace / "mlflow.db").unlink()
    assert found[0] == found[1]


@pytest.mark.slow
def test_an_experiment_is_trained_by_workers_that_share_the_cores(
    workspace: Path, small: lab.Dataset, lab_: Command
) -> None:
    declare(workspace, small, trials=1, epochs=1)
    (workspace / "experiments").mkdir()
    (workspace / "experiments" / "e.toml").write_text(EXPERIMENT)
    arguments = ("experiment", "e", "--data", "digits.npz", "--workers", "2")
    done = lab_(*arguments)
    assert done.returncode == 0, done.stderr
    table = lab.runs("e")
    assert table["status"].tolist() == ["FINISHED"] * 4
    assert set(zip(table["variant"], table["seed"], strict=True)) == {
        (variant, seed) for variant in ("8", "16") for seed in (0, 1)
    }
    assert set(table["threads"]) == {max(1, cores() // 2)}
    # Nothing is missing: nobody is started.
    done = lab_(*arguments)
    assert done.returncode == 0
    assert len(lab.runs("e")) == 4


@pytest.mark.slow
def test_ctrl_c_ends_the_runs_of_all_workers_and_loses_nothing(
    workspace: Path, small: lab.Dataset
) -> None:
    declare(workspace, small, trials=4, epochs=100_000)  # none ends while the other begins
    url = f"sqlite:///{workspace}/studies/s.db"

    def both_train() -> bool:
        try:
            table = lab.runs("s")
        except lab.UserError:
            return False
        return int((table["loss"].notna() & (table["status"] == "RUNNING")).sum()) == 2

    with study(workspace, "--workers=2", "--confirm=0") as process:
        until(both_train, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "go on with\n  python -m mnist_lab.study s --data digits.npz" in err
    assert "--workers 2" in err
    table = lab.runs("s")
    assert (table["status"] == "RUNNING").sum() == 0
    assert (table["status"] == "KILLED").sum() == 2
    waiting = [t.params for t in trials(url) if t.state == optuna.trial.TrialState.WAITING]
    stopped = [t.params for t in trials(url) if t.state == optuna.trial.TrialState.FAIL]
    assert len(waiting) == 2
    assert waiting == stopped


@pytest.mark.slow
@pytest.mark.skipif(
    INITDB is None and "CI" not in os.environ, reason="needs PostgreSQL (Debian: postgresql)"
)
def test_a_study_runs_on_a_cluster_with_servers_of_its_own(
    bare_workspace: Path, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands at once, in folders that share nothing, as on two machines."""
    workspace = bare_workspace  # without a store, nor is one made
    folders = (workspace, workspace / "other")
    (folders[1] / "studies").mkdir(parents=True)
    for folder in folders:
        declare(folder, small, trials=4, epochs=2)
    artifacts = ("--serve-artifacts", "--artifacts-destination", str(workspace / "artifacts"))
    with postgresql() as databases:
        store = ("server", "--workers", "2", "--backend-store-uri", f"{databases}/mlflow")
        with served(workspace, *store, *artifacts) as port, dask(workspace, 2) as scheduler:
            uri = f"http://127.0.0.1:{port}"
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
            url = f"{databases}/optuna"
            options = ("--scheduler", scheduler, "--storage", url, "--confirm=1")
            with (
                study(folders[0], *options, MLFLOW_TRACKING_URI=uri) as first,
                study(folders[1], *options, MLFLOW_TRACKING_URI=uri) as second,
            ):
                ends = [process.communicate(timeout=300) for process in (first, second)]
            for process, (out, err) in zip((first, second), ends, strict=True):
                assert process.returncode == 0, err
                assert set(re.sub("confirms .*", "confirms", err).splitlines()) <= {
                    "waiting for another process, which confirms"
                }
                assert f"{uri}/#/experiments/" in out
                assert "secret" not in out
                assert "View run" not in out  # MLflow's own line, which has the password
            check(url, 4)
            assert not two_at_once(url)
            assert two_at_once(url, "something else")
            table = lab.runs("s")
            processes = {run.tags["process"] for run in open_store().runs("1")}
            assert len(processes) == 3  # the command's own, for the study, and two workers'
            confirmed = table[table["stage"] == "confirmation"]
            assert confirmed["status"].tolist() == ["FINISHED"] * 2
            assert set(table["threads"]) == {max(1, cores() // 2)}
            best = table.sort_values("val_accuracy").iloc[-1]
            model = mlflow.keras.load_model(best["model_uri"])
            answers = model.predict(small.test_images, verbose=0).argmax(axis=1)
            assert (answers == small.test_labels).mean() == best["test_accuracy"]
        # Nothing was written into the folder but what the servers keep there.
        assert not (workspace / "mlflow.db").exists()
        assert not (workspace / "studies" / "s.db").exists()


@pytest.mark.slow
def test_tls_is_passed_through(workspace: Path, small: lab.Dataset) -> None:
    declare(workspace, small, trials=1, epochs=1)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=127.0.0.1"),
        ],
        cwd=workspace,
        check=True,
        capture_output=True,
    )
    certificate, key = str(workspace / "cert.pem"), str(workspace / "key.pem")
    files = ("--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key)
    elsewhere = workspace / "elsewhere"  # where workers are started is their own affair
    elsewhere.mkdir()
    variables = {
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": certificate,
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": certificate,
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": key,
    }
    with dask(elsewhere, 1, *files, scheme="tls") as scheduler:
        with study(workspace, "--scheduler", scheduler, "--confirm=0") as process:
            _, err = process.communicate(timeout=100)
        assert process.returncode == 2  # without the keys nobody is let in
        assert "does not answer" in err
        with study(workspace, "--scheduler", scheduler, "--confirm=0", **variables) as process:
            _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    check(f"sqlite:///{workspace}/studies/s.db", 1)


def two_at_once(url: str, what: str = "storage") -> bool:
    """Whether one may use a database for something while another is alone on its storage."""
    together, waits = threading.Event(), threading.Event()

    def other() -> None:
        with alone_on(url, what, waits.set):
            together.set()

    thread = threading.Thread(target=other)
    with alone_on(url):
        thread.start()
        deadline = time.monotonic() + 60
        while not (together.is_set() or waits.is_set()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        met = together.wait(1)
    thread.join(20)
    assert together.is_set()
    return met


def processes(team: cluster.Cluster) -> set[int]:
    """The processes of its workers."""
    return set(team._client.run(os.getpid).values())


def test_workers_that_do_not_come_back_are_told(
    workspace: Path, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unknown:
        """As a task is where mnist_lab is not installed."""

        def __reduce__(self) -> tuple[object, ...]:
            return importlib.import_module, ("no_such_module",)

    monkeypatch.setattr(cluster, "_LOST_SECONDS", 1)
    place = cluster.place_of("sqlite:///mlflow.db", small, None)
    with (
        dask(workspace, 1) as scheduler,
        cluster.running_cluster(scheduler, place) as team,
        distributed.Client(scheduler, set_as_default=False) as client,
    ):
        assert team.room() == 1
        team.begin(Unknown(), Progress("trials", 1))  # type: ignore[arg-type]
        with pytest.raises(cluster.ClusterError, match=r"cannot read the work .*no_such_module"):
            team.ended(60)
        client.retire_workers(list(client.nthreads()), close_workers=True, remove=True)
        while client.nthreads():
            time.sleep(0.1)
        team.room()
        time.sleep(1.2)
        with pytest.raises(cluster.ClusterError, match="none has come back within 1 s"):
            team.room()


@pytest.mark.slow
def test_a_worker_that_its_nanny_does_not_bring_back_is_replaced(
    workspace: Path, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_AWAY_SECONDS", 1)

    async def leave(nanny: distributed.Nanny, exitcode: int) -> None:
        await nanny._unregister()

    monkeypatch.setattr(distributed.Nanny, "_on_worker_exit", leave)
    place = cluster.place_of("sqlite:///mlflow.db", small, None)
    with cluster.local_cluster(2, place) as team:
        assert team.room() == 2
        # No share of the memory after which Dask would pause a worker, for good.
        known = team._client.scheduler_info()["workers"].values()
        assert {worker["memory_limit"] or None for worker in known} == {None}
        first = processes(team)
        os.kill(next(iter(first)), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while team.room() == 2:
            time.sleep(0.1)
        while team.room() < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second = processes(team)
        assert len(second) == 2
        assert len(first & second) == 1  # the other one was left alone


def test_workers_elsewhere_cannot_write_a_study_in_a_file_of_this_machine(
    workspace: Path, small: lab.Dataset
) -> None:
    place = cluster.place_of("http://10.0.0.1:5000", small, None)
    told = r"the workers of tcp://10\.0\.0\.1:8786 cannot write to sqlite:///s\.db.*--storage"
    with (
        pytest.raises(cluster.ClusterError, match=told),
        cluster.running_cluster("tcp://10.0.0.1:8786", place, "sqlite:///s.db"),
    ):
        pass


@pytest.mark.usefixtures("undrawn")
def test_workers_start_when_there_is_work(workspace: Path, small: lab.Dataset) -> None:
    came = []

    class Team(Alone):
        def room(self) -> int:
            came.append(sorted(path.name for path in (workspace / "studies").iterdir()))
            return super().room()

    store = open_store()
    later = _Later(lambda: Team(store, small))
    assert not later.busy()
    later.stop()
    assert came == []
    declare(workspace, small, trials=1, epochs=1)
    declaration = read(workspace / "studies" / "s.toml", StudyDeclaration)
    url = f"sqlite:///{workspace}/studies/s.db"
    run_study(declaration, "s", NAME, small, store, url, later)
    assert "s.db" in came[0]
    times = len(came)
    run_study(declaration, "s", NAME, small, store, url, later)
    assert len(came) == times  # there was none


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scheduler", "tcp://127.0.0.1:9"), "tcp://127.0.0.1:9 does not answer"),
        (("--scheduler", "nonsense"), "'nonsense' is no address; expected"),
        (("--scheduler", "127.0.0.1:8786"), "is no address; expected"),
        (("--scheduler", "tcp://[abc"), "is no address; expected"),
        (("--scheduler", "tcp://10.0.0.1:8786"), "cannot write to sqlite:///"),
        (("--workers", "2", "--scheduler", "tcp://127.0.0.1:9"), "one or the other"),
        (("--workers", "0"), "0 is not in the range"),
    ],
)
def test_workers_that_cannot_be_had_are_told(
    lab_: Command,
    workspace: Path,
    small: lab.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 3)
    declare(workspace, small, trials=1, epochs=1)
    done = lab_("study", "s", "--data", "digits.npz", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert NAME not in done.stdout
