"""What is left of trials whose process was killed."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import text

from mnist_lab.opening import disposed, make_storage, quiet
from mnist_lab.process import this_process
from mnist_lab.recovery import PROCESS, call_off, fail_and_retry, fail_dead_trials, owned
from mnist_lab.retries import counts


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/s.db"


def begun(storage: RDBStorage) -> optuna.Study:
    """A study with one trial under way."""
    study = optuna.create_study(study_name="s", storage=storage)
    study.ask().suggest_int("hidden", 8, 16)
    return study


def test_a_killed_trial_is_tried_again(url: str) -> None:
    storage = make_storage(url)
    with quiet(), disposed(storage):
        study = begun(storage)
        fail_and_retry(study, storage, 0)
        first, again = study.trials
        assert (first.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
        assert again.params == first.params
        assert not counts(first)


def test_one_that_had_failed_by_itself_is_not(url: str) -> None:
    storage = make_storage(url)
    with quiet(), disposed(storage):
        study = begun(storage)
        storage.set_trial_user_attr(study.trials[0]._trial_id, "failure", "loss nan")
        fail_and_retry(study, storage, 0)  # it was killed before the study was told
        (trial,) = study.trials
        assert trial.state == TrialState.FAIL
        assert counts(trial)


def test_the_trial_in_place_of_one_that_was_called_off_is_not_called_off(url: str) -> None:
    storage = make_storage(url)
    with quiet(), disposed(storage):
        study = begun(storage)
        storage.set_trial_user_attr(study.trials[0]._trial_id, "called_off", True)
        fail_and_retry(study, storage, 0)  # it was killed in the midst of it
        first, again = study.trials
        assert not counts(first)
        assert "called_off" not in again.user_attrs
        # Called off in full, it leaves what is to be tried next to its caller.
        study.ask()
        call_off("s", storage, 1)
        assert len(study.trials) == 2
        assert not counts(study.trials[1])


def test_a_trial_that_was_failed_by_one_who_was_killed_just_then_is_tried_again(url: str) -> None:
    storage, spared = make_storage(url), dict[int, float]()
    with quiet(), disposed(storage):
        study = begun(storage)
        storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.FAIL)
        study.ask().suggest_int("hidden", 8, 16)
        call_off("s", storage, 1)
        for _ in range(2):  # the second look finds it done
            fail_dead_trials(study, storage, spared)
            assert [trial.state.name for trial in study.trials] == ["FAIL"] * 2 + ["WAITING"] * 2
        assert study.trials[2].params == study.trials[0].params
        assert study.trials[3].params == study.trials[1].params
        assert not any(counts(trial) for trial in study.trials)


def test_a_heart_that_stood_still_with_its_machine_costs_no_trial(url: str) -> None:
    storage, spared = make_storage(url), dict[int, float]()
    with quiet(), disposed(storage):
        study = begun(storage)
        study.ask()
        for number, process in enumerate((this_process(), "elsewhere/1/2 3 4.00")):
            trial_id = study.trials[number]._trial_id
            storage.set_trial_user_attr(trial_id, PROCESS, owned(number, process))
            storage.record_heartbeat(trial_id)
        fail_dead_trials(study, storage, spared)  # their hearts beat
        for states in (["RUNNING", "FAIL", "WAITING"], ["FAIL", "FAIL", "WAITING", "WAITING"]):
            with storage.engine.begin() as connection:
                old = "UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00'"
                connection.execute(text(old))
            fail_dead_trials(study, storage, spared)
            # Once: a process may live that is not at work on it any more.
            assert [trial.state.name for trial in study.trials] == states
