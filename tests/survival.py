"""What must hold of a study's record, whoever was killed; and processes that can be killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

import mnist_lab as lab
from mnist_lab.retries import counts
from mnist_lab.tracking import open_store
from tests.conftest import environment
from tests.forked import Forked
from tests.samples import write_digits

STUDY = """
trials = {trials}
seed = 3
pruner = "median"

[config]
epochs = {epochs}
batch_size = 100
validation_size = 400

[search]
hidden = {{ type = "categorical", choices = [8, 64] }}
learning_rate = {{ type = "float", low = 1e-4, high = 1e-2, log = true }}
"""
NAME = "s data=digits"


def declare(workspace: Path, small: lab.Dataset, trials: int, epochs: int) -> None:
    """studies/s.toml, and digits.npz: a part of the real digits."""
    (workspace / "studies" / "s.toml").write_text(STUDY.format(trials=trials, epochs=epochs))
    write_digits(workspace / "digits.npz", small)


def study(workspace: Path, *options: str, **variables: str) -> Forked:
    """`python -m mnist_lab.study s` on digits.npz, in a process group of its own."""
    arguments = ["s", "--data", "digits.npz", *options]
    return Forked("mnist_lab.study", arguments, workspace, environment(**variables))


def until(holds: Callable[[], bool], process: Forked, seconds: float = 120) -> None:
    """Wait until something holds, while a process runs."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)  # looking takes time from what is looked at


def trials(url: str) -> list[FrozenTrial]:
    """The trials of the study, which is the only one of its storage."""
    storage = RDBStorage(url)
    try:
        assert optuna.get_all_study_names(storage) == [NAME]
        return optuna.load_study(study_name=NAME, storage=storage).trials
    finally:
        storage.engine.dispose()


def check(url: str, total: int) -> None:
    """The study has its total, each finished trial one whole finished run, and nothing runs on."""
    recorded = trials(url)
    assert sum(counts(trial) for trial in recorded) == total
    assert all(trial.state.is_finished() for trial in recorded)
    store = open_store()
    runs = store.runs(store.find_experiment("s"))
    assert {run.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"}
    table = lab.runs("s")
    assert not table["run_id"].duplicated().any()
    epochs = lab.epochs("s").groupby("run_id")["epoch"].apply(list)
    for trial in recorded:
        own = table[table["trial"] == trial.number]
        whole = own[own["status"] == "FINISHED"]
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            assert len(whole) == 1, own
            assert whole["state"].tolist() == [trial.state.name]
            assert whole[["test_accuracy", "test_loss", "model_uri"]].notna().all().all()
            done = epochs[whole["run_id"].iloc[0]]
            assert done == list(range(1, len(trial.intermediate_values) + 1))
            assert whole["epochs_done"].tolist() == [len(done)]
        else:
            assert whole.empty, own
            assert own["reason"].notna().all(), own
    parents = [run for run in runs if run.tags.get("kind") == "study"]
    assert len(parents) == 1
    assert set(table["parent"]) == {parents[0].run_id}
