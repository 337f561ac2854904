"""Studies whose workers and processes are killed, for real; what is recorded stays whole."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import mlflow
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

import mnist_lab as lab
from mnist_lab import recovery
from mnist_lab.declaration import read
from mnist_lab.process import is_dead
from mnist_lab.progress import Progress, Watcher
from mnist_lab.recovery import PROCESS, owned
from mnist_lab.retries import RETRIES
from mnist_lab.search import run_study
from mnist_lab.space import StudyDeclaration
from mnist_lab.tracking import Store, open_store
from mnist_lab.trial import TrialTask
from mnist_lab.work import Alone, Bench, Task
from tests.conftest import Command, environment, slow
from tests.forked import Forked
from tests.survival import NAME, check, declare, study, trials, until


def running() -> list[tuple[str, str]]:
    """The trials that are being trained, with the process at work on each."""
    store = open_store()
    if store.lookup("s") is None:
        return []
    return [
        (run.tags["trial"], run.tags["process"])
        for run in store.runs(store.find_experiment("s"))
        if run.status == "RUNNING" and "trial" in run.tags and run.metrics
        if not is_dead(run.tags["process"])
    ]


def test_a_killed_worker_costs_its_trial_one_more_try(workspace: Path, small: lab.Dataset) -> None:
    declare(workspace, small, trials=3, epochs=40)
    url = f"sqlite:///{workspace}/studies/s.db"
    with study(workspace, "--workers=2", "--confirm=0") as process:
        until(lambda: bool(running()), process)
        number, worker = running()[0]
        os.kill(int(worker.split()[1]), signal.SIGKILL)
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    check(url, 3)
    failed = trials(url)[int(number)]
    assert failed.state == TrialState.FAIL
    (again,) = [t for t in trials(url) if t.system_attrs.get("failed_trial") == int(number)]
    assert again.params == failed.params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)
    table = lab.runs("s")
    (run,) = table[table["trial"] == int(number)].itertuples()
    assert run.status == "FAILED"
    assert run.reason == "its process was killed"
    assert "3 trials" in out


def whole_study(workspace: Path) -> Forked:
    """The study with all that a user's does: it draws its figures as well."""
    arguments = ["s", "--data", "digits.npz", "--confirm=1"]
    return Forked("mnist_lab.study", arguments, workspace, environment(), draws=True)


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_study_that_is_killed_again_and_again_ends_whole(
    bare_workspace: Path, small: lab.Dataset, kills: int
) -> None:
    workspace = bare_workspace  # the first call that lives long enough makes the store
    declare(workspace, small, trials=6, epochs=15)
    url = f"sqlite:///{workspace}/studies/s.db"
    moments = random.Random(5)
    for _ in range(kills):
        with whole_study(workspace) as process:
            try:
                _, err = process.communicate(timeout=moments.uniform(0.5, 5))
                assert process.returncode == 0, err
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
    with whole_study(workspace) as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert err == ""
    check(url, 6)
    confirmed = lab.runs("s").query("stage == 'confirmation' and status == 'FINISHED'")
    assert sorted(zip(confirmed["variant"], confirmed["seed"], strict=True)) == sorted(
        {(variant, 10_000) for variant in confirmed["variant"]}
    )
    assert len(confirmed) == 2


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 8])
def test_processes_that_begin_one_study_do_it_together(
    bare_workspace: Path, small: lab.Dataset, count: int
) -> None:
    workspace = bare_workspace  # one of them makes the store
    declare(workspace, small, trials=10, epochs=2)
    path = workspace / "studies" / "s.toml"
    path.write_text(path.read_text().replace("[8, 64]", "[8, 512]"))  # has the baseline's width
    url = f"sqlite:///{workspace}/studies/s.db"
    contexts = [study(workspace, "--confirm=1") for _ in range(count)]
    processes = [context.__enter__() for context in contexts]
    ends = [process.communicate(timeout=500) for process in processes]
    for context, process, (_, err) in zip(contexts, processes, ends, strict=True):
        context.__exit__(None, None, None)
        assert process.returncode == 0, err
        assert "Traceback" not in err
    check(url, 10)
    assert sum(trial.user_attrs.get("variant") == "baseline" for trial in trials(url)) == 1
    store = open_store()
    assert store.runs("0") == []
    confirmed = lab.runs("s").query("stage == 'confirmation'")
    assert len(confirmed) == len(set(zip(confirmed["variant"], confirmed["seed"], strict=True))) > 0


def test_a_trial_that_fits_into_no_memory_fails_alone(
    lab_: Command, workspace: Path, small: lab.Dataset
) -> None:
    declare(workspace, small, trials=2, epochs=1)
    path = workspace / "studies" / "s.toml"
    text = path.read_text().replace('pruner = "median"', 'pruner = "none"\nsampler = "grid"')
    text = text[: text.index("[search]")] + "[search]\n"
    text += 'hidden = { type = "categorical", choices = [8, [65536, 65536, 65536, 65536]] }\n'
    path.write_text(text)
    done = lab_("study", "s", "--data", "digits.npz", "--confirm=0")
    assert done.returncode == 0, done.stderr
    assert "2 trials (1 failed, 1 complete)" in done.stdout
    check(f"sqlite:///{workspace}/studies/s.db", 2)
    failed = lab.runs("s").query("status == 'FAILED'").iloc[0]
    assert failed["hidden"] == "65536-65536-65536-65536"
    assert failed["failed_by_itself"]
    assert re.fullmatch(
        r"out of memory: a training of hidden layers \[65536, 65536, 65536, 65536\] by 100 images "
        r"needs at least 43\d\.\d GiB; \d+\.\d GiB are available",
        failed["reason"],
    )


@pytest.mark.slow
def test_a_trial_whose_worker_is_killed_again_and_again_is_given_up(
    workspace: Path, small: lab.Dataset
) -> None:
    declare(workspace, small, trials=1, epochs=100_000)  # it is killed before it ends
    url = f"sqlite:///{workspace}/studies/s.db"
    with study(workspace, "--workers=1", "--confirm=0") as process:
        for death in range(1, RETRIES + 2):
            until(lambda: bool(running()), process)
            number, worker = running()[0]
            os.kill(int(worker.split()[1]), signal.SIGKILL)
            if death <= RETRIES:
                known = int(number)
                until(lambda known=known: len(trials(url)) > known + 1, process)  # type: ignore[misc]
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "1 trial (1 failed)" in out
    check(url, 1)
    assert len(trials(url)) == RETRIES + 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow.db", "studies/s.db"])
def test_killed_while_it_makes_a_database_the_study_begins_anew(
    bare_workspace: Path, small: lab.Dataset, name: str
) -> None:
    workspace = bare_workspace
    declare(workspace, small, trials=1, epochs=1)
    whole = workspace / name
    unfinished = whole.with_name(f".{whole.name}.unfinished")
    with study(workspace, "--confirm=0") as process:
        until(unfinished.exists, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert not whole.exists()
    with study(workspace, "--confirm=0") as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    check(f"sqlite:///{workspace}/studies/s.db", 1)
    assert not unfinished.exists()


class Twice(Alone):
    """Begins each task twice, as Dask does when the worker of the first was killed in mid-trial."""

    def __init__(self, store: Store, data: lab.Dataset, url: str) -> None:
        super().__init__(store, data)
        self.url = url

    def ended(self, timeout: float) -> list[Task]:
        task, _ = self._begun[-1]
        assert isinstance(task, TrialTask)
        storage = RDBStorage(self.url)
        trial_id = storage.get_trial_id_from_study_id_trial_number(1, task.number)
        asked = storage.get_trial(trial_id).user_attrs[PROCESS]
        # The first worker had written down that the trial is its own.
        storage.set_trial_user_attr(trial_id, PROCESS, owned(task.number, "elsewhere 1 1"))
        task.run(Bench(self._store, self._data, Progress("epochs", 1)))
        assert storage.get_trial(trial_id).state == TrialState.RUNNING
        assert "run_id" not in storage.get_trial(trial_id).user_attrs
        storage.set_trial_user_attr(trial_id, PROCESS, asked)
        storage.engine.dispose()
        done = super().ended(timeout)
        task.run(Bench(self._store, self._data, Progress("epochs", 1)))  # it has ended by now
        return done


@pytest.mark.usefixtures("undrawn")
def test_a_trial_that_is_begun_again_is_not_trained_again(
    workspace: Path, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{workspace}/studies/s.db"
    store = open_store()
    declare(workspace, small, trials=2, epochs=1)
    declaration = read(workspace / "studies" / "s.toml", StudyDeclaration)
    run_study(declaration, "s", NAME, small, store, url, Twice(store, small, url))
    check(url, 2)
    assert len(trials(url)) == len(lab.runs("s")) == 2

    # Its machine is gone for good: the trial's end is that of its run.
    (first, _) = lab.runs("s")["run_id"]
    client = mlflow.MlflowClient()
    client.set_tag(first, "process", "elsewhere 1 1")
    client.update_run(first, status="RUNNING")
    for overdue, status in ((timedelta(days=1), "RUNNING"), (timedelta(0), "FINISHED")):
        monkeypatch.setattr(recovery, "_OVERDUE", overdue)
        run_study(declaration, "s", NAME, small, store, url, Alone(store, small))
        assert client.get_run(first).info.status == status


class GivesAway(Progress):
    """Fails the first trial in its midst, as another process does when its heart has stopped."""

    def __init__(self, url: str) -> None:
        super().__init__("epochs", 1)
        self._storage = RDBStorage(url)
        self._done = False

    def epoch(self, epoch: lab.Epoch) -> None:
        if not self._done:
            self._done = self._storage.set_trial_state_values(1, TrialState.FAIL)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("objectives", ["", *slow('objectives = ["val_accuracy", "parameters"]')])
def test_a_trial_that_was_given_away_costs_nobody_anything(
    workspace: Path, small: lab.Dataset, objectives: str
) -> None:
    url = f"sqlite:///{workspace}/studies/s.db"
    store = open_store()
    declare(workspace, small, trials=2, epochs=2)
    path = workspace / "studies" / "s.toml"
    path.write_text(objectives + path.read_text().replace('"median"', '"none"'))
    declaration = read(path, StudyDeclaration)

    class Team(Alone):
        gives_away: GivesAway | None = None

        def begin(self, task: Task, watcher: Watcher) -> None:
            self.gives_away = self.gives_away or GivesAway(url)
            super().begin(task, self.gives_away)

    run_study(declaration, "s", NAME, small, store, url, Team(store, small))
    assert [trial.state.name for trial in trials(url)] == ["FAIL", "COMPLETE", "COMPLETE"]
    table = lab.runs("s")
    assert table["trial"].tolist() == [0, 1, 2]
    assert table["status"].tolist() == ["FAILED", "FINISHED", "FINISHED"]
    assert "gave no sign of life" in table["reason"][0] or "UpdateFinished" in table["reason"][0]
