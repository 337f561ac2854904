"""What is left of trials whose process was killed."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from mnist_lab.opening import disposed, make_storage, quiet
from mnist_lab.recovery import call_off, counts, fail_and_retry


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
