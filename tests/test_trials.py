"""A study whose trials have to wait, or whose store or storage fails in their midst."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import text

import mnist_lab as lab
from mnist_lab import recovery
from mnist_lab.connection import TrackingError
from mnist_lab.declaration import read
from mnist_lab.opening import StudyError
from mnist_lab.outcome import Outcome
from mnist_lab.process import this_process
from mnist_lab.search import run_study
from mnist_lab.space import StudyDeclaration
from mnist_lab.tracking import PARENT_TAG, Store, open_store
from mnist_lab.work import Alone, Task, Team
from tests.conftest import Command
from tests.survival import NAME, check, declare, trials

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def run(workspace: Path, small: lab.Dataset) -> Callable[..., Outcome]:
    """Run a study of one trial with a team."""

    def command(team: Callable[[Store, lab.Dataset], Team], more: str = "") -> Outcome:
        declare(workspace, small, trials=1, epochs=1)
        path = workspace / "studies" / "s.toml"
        path.write_text(more + path.read_text())
        store, declaration = open_store(), read(path, StudyDeclaration)
        return run_study(declaration, "s", NAME, small, store, url(workspace), team(store, small))

    return command


def url(workspace: Path) -> str:
    return f"sqlite:///{workspace}/studies/s.db"


def test_a_trial_that_waits_for_a_worker_is_not_forgotten(
    workspace: Path, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Busy(Alone):
        """Has other work for a while, as a cluster that others use has."""

        looks = 0

        def busy(self) -> bool:
            if super().busy():  # a long time passes
                storage = RDBStorage(url(workspace))
                with storage.engine.begin() as connection:
                    old = "UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00'"
                    connection.execute(text(old))
                storage.engine.dispose()
            return super().busy()

        def ended(self, timeout: float) -> list[Task]:
            self.looks += 1
            return super().ended(timeout) if self.looks > 2 else []

    # Of a process of another machine nothing is known but its heart.
    monkeypatch.setattr(recovery, "is_here", lambda process: False)
    assert run(Busy).done == 1
    check(url(workspace), 1)
    assert len(trials(url(workspace))) == 1


def test_a_storage_that_fails_in_the_midst_is_told_and_its_trial_tried_again(
    workspace: Path, run: Callable[..., Outcome]
) -> None:
    path = workspace / "studies" / "s.db"

    class Breaks(Alone):
        def ended(self, timeout: float) -> list[Task]:
            path.with_suffix(".kept").write_bytes(path.read_bytes())
            path.write_bytes(b"no database" * 1_000)
            return super().ended(timeout)

    with pytest.raises(StudyError, match=r"--storage: sqlite:.*s\.db cannot be used"):
        run(Breaks)
    path.with_suffix(".kept").replace(path)
    for beside in path.parent.glob("s.db-*"):
        beside.unlink()
    # A process that is still there is at work on it; this one has lost it.
    with RDBStorage(url(workspace)).engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE trial_user_attributes SET value_json = '[0, \"gone\"]' "
                "WHERE key = 'process'"
            )
        )
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2000-01-01'"))
    assert run(Alone).done == 1
    assert [trial.state.name for trial in trials(url(workspace))] == ["FAIL", "COMPLETE"]


def test_of_a_trial_with_several_seeds_no_run_fails_when_the_store_is_away_at_its_end(
    workspace: Path, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tags = Store.set_tags

    def away(self: Store, run_id: str, tags: dict[str, str]) -> None:
        raise TrackingError("away")

    monkeypatch.setattr(Store, "set_tags", away)
    run(Alone, "seeds_per_trial = 2\n")
    table = lab.runs("s")
    assert table["status"].tolist() == ["FINISHED"] * 2
    assert table["state"].isna().tolist() == [True, False]
    # The next call finds a process of its own at work; another one's is dead by then.
    monkeypatch.setattr(Store, "set_tags", set_tags)
    mlflow.MlflowClient().set_tag(table["run_id"][0], "process", _dead())
    run(Alone, "seeds_per_trial = 2\n")
    assert lab.runs("s")["state"].tolist() == ["COMPLETE"] * 2


def test_a_run_that_a_server_made_twice_does_not_stand_for_the_trial(
    workspace: Path, run: Callable[..., Outcome]
) -> None:
    run(Alone)
    client = mlflow.MlflowClient()
    made = client.get_run(lab.runs("s")["run_id"][0])
    kept = ("kind", "study", "trial", "variant", "call", PARENT_TAG)
    tags = {**{key: made.data.tags[key] for key in kept}, "process": _dead()}
    twin = client.create_run(made.info.experiment_id, tags=tags).info.run_id
    run(Alone)
    ended = client.get_run(twin)
    assert ended.info.status == "FAILED"
    assert "trial_state" not in ended.data.tags
    check(url(workspace), 1)


def test_a_study_that_was_shown_in_another_store_meanwhile_keeps_its_run(
    workspace: Path, small: lab.Dataset, lab_: Command
) -> None:
    declare(workspace, small, trials=1, epochs=1)
    command = ("study", "s", "--data", "digits.npz", "--confirm=0")
    for variables in ({}, {"MLFLOW_TRACKING_URI": "sqlite:///other.db"}, {}):
        assert lab_(*command, **variables).returncode == 0
    store = open_store()
    runs = store.runs(store.find_experiment("s"))
    (parent,) = [run for run in runs if run.tags.get("kind") == "study"]
    assert set(lab.runs("s")["parent"]) == {parent.run_id}


def test_a_run_that_is_gone_on_with_and_finishes_has_no_reason(store: Store) -> None:
    experiment = store.experiment("e")
    with store.run(experiment, "a", tags={}) as first:
        pass
    client = mlflow.MlflowClient()
    with store.run(experiment, "a", tags={}, resume=first.id):
        client.set_tag(first.id, "reason", "interrupted")  # another one's Ctrl-C
    ended = client.get_run(first.id)
    assert ended.info.status == "FINISHED"
    assert "reason" not in ended.data.tags


def _dead() -> str:
    """A process of this machine that has ended."""
    machine, number, started = this_process().rsplit(" ", 2)
    return f"{machine} {number} {float(started) + 60:.2f}"
