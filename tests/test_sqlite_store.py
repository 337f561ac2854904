from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import mlflow
import pytest
from sqlalchemy import make_url

import mnist_lab as lab
from mnist_lab.sqlite_uri import file_uri, local_path
from mnist_lab.tracking import open_store
from tests.conftest import Command, environment
from tests.forked import Forked
from tests.survival import check, declare, trials, until

# Ready, set, go: all open the new store at the same moment.
_WRITE = """
import sys, time
from pathlib import Path
from mnist_lab import Epoch
from mnist_lab.tracking import open_store
Path("ready", sys.argv[1]).touch()
while not Path("go").exists():
    time.sleep(0.001)
store = open_store()
experiment = store.experiment("together")
with store.run(experiment, sys.argv[1], tags={"kind": "training", "variant": "v"}) as run:
    for number in range(1, 6):
        run.log_epoch(Epoch(number, 0.5, 0.9, 0.5, 0.9, 0.1))
        run.log_text(f"{number}.txt", sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 8])
def test_processes_make_one_store_together_and_write_at_once(
    bare_workspace: Path, count: int
) -> None:
    (bare_workspace / "write.py").write_text(_WRITE)
    ready = bare_workspace / "ready"
    ready.mkdir()
    with ExitStack() as running:
        processes = [
            running.enter_context(Forked("write", [f"run {number}"], bare_workspace, environment()))
            for number in range(count)
        ]
        until(lambda: len(list(ready.iterdir())) == count, processes[0])
        (bare_workspace / "go").touch()
        for process in processes:
            _, errors = process.communicate(timeout=900)
            assert (process.returncode, errors) == (0, "")
    names = [e.name for e in open_store()._line.client.search_experiments()]
    assert sorted(names) == ["Default", "together"]
    table = lab.runs("together")
    assert sorted(table["name"]) == [f"run {number}" for number in range(count)]
    assert table["status"].eq("FINISHED").all()
    epochs = lab.epochs("together")
    assert len(epochs) == 5 * count
    assert epochs.notna()[["loss", "val_accuracy"]].all().all()


@pytest.mark.parametrize(
    "name", ["a b", "é", "(1)", "a+b", "me@home:c", "a,b&c=d;e", "a#b", "100%", "%41", "a?b", "{a}"]
)
def test_the_file_of_a_uri_is_that_which_sqlalchemy_opens(name: str) -> None:
    path = Path("/some") / name / "mlflow.db"
    for uri in (file_uri(path), f"sqlite:///{quote(str(path))}"):
        assert local_path(uri) == path
        assert make_url(uri).database == str(path)
    for as_given in (f"sqlite:///{path}", f"sqlite+pysqlite:///{path}?timeout=5"):
        assert local_path(as_given) == Path(make_url(as_given).database or "")


def test_other_stores_have_no_file() -> None:
    for uri in ("sqlite://", "sqlite:///:memory:", "http://host", "postgresql:///lab", "mlruns"):
        assert local_path(uri) is None


@pytest.mark.slow
def test_a_study_runs_in_a_folder_of_any_name(
    lab_: Command, small: lab.Dataset, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which MLflow's default URI quotes much, and of its study's what a URI would misread."""
    folder = workspace / "a b é%+#(1) @,&"
    (folder / "studies").mkdir(parents=True)
    monkeypatch.chdir(folder)
    declare(folder, small, trials=1, epochs=1)
    mine = (folder / "studies").rename(folder / "my %41 {studies}?")
    command = ("study", f"{mine.name}/s.toml", "--data", "digits.npz")
    storage = f"sqlite:///{quote(f'{mine.name}/s.db')}"

    first = lab_(*command, "--confirm", "0")
    assert (first.returncode, first.stderr) == (0, "")
    assert f"optuna-dashboard {storage}\n" in first.stdout
    check(storage, 1)
    more = lab_(*command, "--confirm", "2", "--trials", "2")
    assert (more.returncode, more.stderr) == (0, "")
    assert [trial.state.is_finished() for trial in trials(storage)] == [True, True]
    assert {path.name for path in folder.iterdir()} == {
        *("digits.npz", "mlflow.db", "mlruns", mine.name)
    }

    table = lab.runs("s")
    by_mlflow = mlflow.search_runs(experiment_names=["s"])
    assert set(table["run_id"]) < set(by_mlflow["run_id"])
    for run_id, uri in zip(table["run_id"], table["model_uri"], strict=True):
        assert "learning_rate = " in mlflow.artifacts.load_text(f"runs:/{run_id}/config.toml")
        assert mlflow.keras.load_model(uri).count_params() > 0
    shown = lab_("compare", "s")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert all(f"{accuracy:.4f}" in shown.stdout for accuracy in table["test_accuracy"])
    assert mlflow.keras.load_model("models:/s data=digits@champion").count_params() > 0
