from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import struct
import termios
import time
from contextlib import closing
from pathlib import Path

import mlflow
import optuna
import pandas as pd
import pytest

import mnist_lab as lab
from mnist_lab.declaration import read
from mnist_lab.process import this_process
from mnist_lab.space import StudyDeclaration
from tests.conftest import Command, environment
from tests.forked import Forked
from tests.samples import write_digits
from tests.survival import until

SMALL = """
title = "a small search"
trials = 4
seed = 3

[config]
epochs = 3
validation_size = 400

[search]
hidden = { type = "int", low = 8, high = 512, log = true }
batch_size = { type = "categorical", choices = [64, 128] }
learning_rate = { type = "float", low = 1e-4, high = 1e-2, log = true }
"""

# Two widths in place of many, each of which would be a net of its own to compile.
QUICK = SMALL.replace(
    '{ type = "int", low = 8, high = 512, log = true }',
    '{ type = "categorical", choices = [8, 512] }',
)

DIVERGING = """
seed = 3

[config]
hidden = [32, 32, 32]
activation = "selu"
optimizer = "sgd"
validation_size = 400

[search]
learning_rate = { type = "categorical", choices = [1e-3, 500.0] }
"""

# The search alone; what comes after it has tests of its own.
DATA = ("--data", "digits.npz", "--confirm=0")


@pytest.fixture
def study(workspace: Path, small: lab.Dataset) -> Path:
    """studies/small.toml, with digits.npz beside the folder: a part of the real digits."""
    path = workspace / "studies" / "small.toml"
    path.write_text(QUICK)
    write_digits(workspace / "digits.npz", small)
    return path


def trials(workspace: Path, name: str = "small data=digits") -> list[optuna.trial.FrozenTrial]:
    url = f"sqlite:///{workspace}/studies/small.db"
    return optuna.load_study(study_name=name, storage=url).trials


def test_a_study_runs_records_and_resumes(lab_: Command, study: Path, workspace: Path) -> None:
    study.write_text(SMALL)
    first = lab_("study", "small", *DATA, "--trials=3")
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""  # no progress in a pipe
    assert "small data=digits: 3 trials" in first.stdout
    assert "Best configuration" in first.stdout
    link = re.search(r"http://127\.0\.0\.1:5000/#/experiments/(\d+)/runs\?\S+", first.stdout)
    assert link is not None
    assert "runs?workflowType=machine_learning" in link[0]

    table = lab.runs("small")
    assert table["trial"].tolist() == [0, 1, 2]
    assert table["variant"].tolist() == ["baseline", "trial", "trial"]
    baseline = table.iloc[0]
    assert (baseline["hidden"], baseline["batch_size"], baseline["learning_rate"]) == (
        "512",
        128,
        0.001,
    )
    assert table[["test_accuracy", "test_loss", "val_accuracy", "model_uri"]].notna().all().all()
    parents = set(table["parent"])
    assert len(parents) == 1
    parent = mlflow.MlflowClient().get_run(parents.pop())
    assert parent.info.status == "FINISHED"
    assert parent.info.experiment_id == link[1]
    experiment = mlflow.MlflowClient().get_experiment(link[1])
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"

    # The total is 5 now: two more, drawn anew, under the same parent.
    second = lab_("study", "small", *DATA, "--trials", "5")
    assert second.returncode == 0, second.stderr
    table = lab.runs("small")
    assert table["trial"].tolist() == [0, 1, 2, 3, 4]
    assert table["parent"].nunique() == 1
    assert table["learning_rate"].nunique() == 5
    assert set(table["state"]) <= {"COMPLETE", "PRUNED"}
    epochs = lab.epochs("small")
    assert len(epochs) == table["epochs_done"].sum()
    assert mlflow.MlflowClient().get_run(parent.info.run_id).info.status == "FINISHED"

    # Nothing is missing: nothing is trained.
    third = lab_("study", "small", *DATA, "--trials", "5")
    assert third.returncode == 0
    assert len(lab.runs("small")) == 5

    # Options that change nothing name the same study.
    same = lab_("study", "small", *DATA, "--epochs=3", "--seed=3", "--trials=5")
    assert same.returncode == 0
    assert len(lab.runs("small")) == 5

    # The trials in Optuna and the runs in MLflow are the same.
    for trial, (_, run) in zip(trials(workspace), table.iterrows(), strict=True):
        assert trial.user_attrs["run_id"] == run["run_id"]
        assert trial.params["learning_rate"] == run["learning_rate"]
        if trial.value is not None and run["state"] == "COMPLETE":
            assert trial.value == run["val_accuracy"]


def test_the_same_seed_gives_the_same_study(lab_: Command, study: Path, workspace: Path) -> None:
    assert lab_("study", "small", *DATA).returncode == 0
    one = trials(workspace)
    recorded = lab.runs("small")
    (workspace / "studies" / "small.db").unlink()
    client = mlflow.MlflowClient()
    client.set_tag(recorded["run_id"][0], "trial_state", "PRUNED")
    machine, number, _ = this_process().rsplit(" ", 2)
    dead = f"{machine} {number} 1.00"
    client.set_tag(recorded["run_id"][0], "process", dead)
    tags = {"kind": "training", "study": "small data=digits", "trial": "3", "process": dead}
    tags["mlflow.parentRunId"] = recorded["parent"][0]
    experiment = client.get_run(recorded["run_id"][0]).info.experiment_id
    killed = client.create_run(experiment, tags=tags).info.run_id
    anew = lab_("study", "small", *DATA)
    assert anew.returncode == 0
    # It is another study: the runs of the one before are neither counted nor touched.
    assert "small data=digits: 4 trials (" in anew.stdout
    assert anew.stdout.count("COMPLETE") + anew.stdout.count("PRUNED") == 4
    table = lab.runs("small")
    assert table["run_id"].tolist()[:4] == recorded["run_id"].tolist()
    assert table["state"][0] == "PRUNED"
    assert table["parent"].nunique() == 2
    # But what was under way when its process was killed has ended.
    assert client.get_run(killed).info.status == "FAILED"
    other = trials(workspace)
    assert [t.params for t in one] == [t.params for t in other]
    assert [t.intermediate_values for t in one] == [t.intermediate_values for t in other]


def test_overrides_make_another_study(lab_: Command, study: Path, workspace: Path) -> None:
    for options in (["--epochs", "1"], ["--epochs", "2"], ["--epochs", "1", "--seed", "8"]):
        done = lab_("study", "small", *DATA, "--trials", "1", *options)
        assert done.returncode == 0, done.stderr
    table = lab.runs("small")
    assert table["study"].tolist() == [
        "small epochs=1 data=digits",
        "small epochs=2 data=digits",
        "small epochs=1 seed=8 data=digits",
    ]
    assert table["epochs"].tolist() == [1, 2, 1]
    assert table["seed"].tolist() == [3, 3, 8]


def test_an_edited_study_is_refused_and_its_runs_stay(
    lab_: Command, study: Path, workspace: Path
) -> None:
    study.write_text(SMALL)
    assert lab_("study", "small", *DATA, "--trials", "1").returncode == 0
    study.write_text(SMALL.replace("high = 512", "high = 600"))
    done = lab_("study", "small", *DATA, "--trials", "2")
    assert done.returncode == 2
    assert "search.hidden" in done.stderr
    assert '"high": 512' in done.stderr
    assert '"high": 600' in done.stderr
    assert len(lab.runs("small")) == 1


@pytest.mark.slow
def test_a_study_older_than_a_field_goes_on(lab_: Command, study: Path, workspace: Path) -> None:
    arguments = ("study", "small", *DATA, "--epochs=1")
    assert lab_(*arguments, "--trials", "1").returncode == 0
    url = f"sqlite:///{workspace}/studies/small.db"
    recorded = optuna.load_study(study_name="small epochs=1 data=digits", storage=url)
    declared = recorded.user_attrs["declaration"]
    del declared["config.mixup"]
    recorded.set_user_attr("declaration", declared)
    done = lab_(*arguments, "--trials", "2")
    assert done.returncode == 0, done.stderr
    assert len(lab.runs("small")) == 2


def test_pruned_trials_are_recorded_in_full(lab_: Command, study: Path, workspace: Path) -> None:
    text = QUICK.replace("trials = 4", "trials = 8").replace("epochs = 3", "epochs = 4")
    study.write_text(text)
    done = lab_("study", "small", *DATA)
    assert done.returncode == 0, done.stderr
    table = lab.runs("small")
    pruned = table[table["state"] == "PRUNED"]
    assert len(pruned) > 0
    assert (pruned["epochs_done"] < 4).all()
    assert (pruned["status"] == "FINISHED").all()
    assert pruned[["val_accuracy", "test_accuracy", "model_uri", "duration"]].notna().all().all()
    complete = table[table["state"] == "COMPLETE"]
    assert (complete["epochs_done"] == 4).all()


def test_a_diverging_trial_fails_alone(lab_: Command, study: Path, workspace: Path) -> None:
    study.write_text(DIVERGING)
    done = lab_("study", "small", *DATA, "--trials", "5")
    assert done.returncode == 0, done.stderr
    table = lab.runs("small")
    assert len(table) == 5
    assert table["state"][0] == "COMPLETE"
    failed = table[table["state"] == "FAIL"]
    assert len(failed) > 0
    assert (failed["status"] == "FAILED").all()
    assert failed["reason"].str.contains("loss nan").all()
    # A failure of the configuration's own counts: nothing is missing.
    assert lab_("study", "small", *DATA, "--trials", "5").returncode == 0
    assert len(lab.runs("small")) == 5


def test_an_interrupt_loses_no_finished_trial(study: Path, workspace: Path) -> None:
    study.write_text(QUICK.replace("epochs = 3", "epochs = 300"))
    arguments = ["small", *DATA, "--trials", "1000"]
    with Forked("mnist_lab.study", arguments, workspace, environment()) as process:
        until(lambda: len(epochs_so_far()) > 3, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "python -m mnist_lab.study small --trials 1000 --data digits.npz" in err
    assert out == ""
    table = lab.runs("small")
    assert table["status"].tolist()[-1] == "KILLED"
    assert (table["status"].iloc[:-1] == "FINISHED").all()
    assert mlflow.MlflowClient().get_run(table["parent"].iloc[0]).info.status == "KILLED"
    # The interrupted trial's parameters are the next to be tried.
    interrupted = trials(workspace)[len(table) - 1]
    assert interrupted.state == optuna.trial.TrialState.FAIL
    waiting = [t for t in trials(workspace) if t.state == optuna.trial.TrialState.WAITING]
    assert [t.system_attrs["fixed_params"] for t in waiting] == [interrupted.params]


def epochs_so_far() -> list[int]:
    """The epochs on record of a study that another process runs."""
    try:
        return lab.epochs("small")["epoch"].tolist()
    except lab.UserError:
        return []


@pytest.mark.slow
def test_an_interrupted_study_goes_on_with_the_baseline(
    lab_: Command, study: Path, workspace: Path
) -> None:
    study.write_text(QUICK.replace("epochs = 3", "epochs = 40"))
    arguments = ["small", *DATA, "--trials", "2"]
    with Forked("mnist_lab.study", arguments, workspace, environment()) as process:
        until(lambda: bool(epochs_so_far()), process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    done = lab_("study", "small", *DATA, "--trials", "2")
    assert done.returncode == 0, done.stderr
    table = lab.runs("small")
    finished = table[table["status"] == "FINISHED"]
    assert len(finished) == 2
    assert "baseline" in finished["variant"].tolist()
    assert (finished["epochs_done"] == 40).any()


def test_progress_is_drawn_on_a_terminal(study: Path, workspace: Path) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    arguments = ["small", *DATA, "--trials", "2"]
    terminal = os.ttyname(follower)
    with Forked("mnist_lab.study", arguments, workspace, environment(), terminal) as process:
        written = b""
        while process.poll() is None or select.select([leader], [], [], 0)[0]:
            if select.select([leader], [], [], 0.1)[0]:
                written += os.read(leader, 4096)
    os.close(follower)
    os.close(leader)
    assert process.returncode == 0
    screen = written.decode()
    assert "trials: 100%" in screen
    assert "epochs:" in screen
    assert "val_accuracy=" in screen
    assert "oneDNN" not in screen
    assert "Warning" not in screen


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("trials = 4", "trials = 0", "small.toml:3: trials: 0 is not accepted"),
        ("trials = 4", "trails = 4", "small.toml:3: trails: unknown key; did you mean 'trials'?"),
        ("trials = 4", "trials = ", "small.toml:3: trials: not TOML: Invalid value (at line 3"),
        # What is left open is named where it begins, not where reading ended.
        ("seed = 3", "seed = [3", "small.toml:4: seed: not TOML: Unclosed array (at line 6"),
        ("128] }", "128 }", "small.toml:12: batch_size: not TOML: Unclosed array (at line 12"),
        (
            "low = 1e-4, high = 1e-2, log = true }\n",
            "choices = [1e-3,\n  1e-2",
            "small.toml:13: learning_rate: not TOML: Unclosed array (at end of document)",
        ),
        ('"a small search"', '"""a small search"', "small.toml:2: title: not TOML: Unterminated"),
        ("[search]", "[search", "small.toml:10: not TOML: Expected ']'"),
        ("seed = 3", "seed = 3\nseed = 4", "at line 5"),
        ("epochs = 3", "epoch = 3", "small.toml:7: config.epoch: unknown key; did you mean"),
        ("epochs = 3", "epochs = 2.5", "small.toml:7: config.epochs: 2.5 is not accepted"),
        ("validation_size = 400", "validation_size = 0", "never on test images"),
        (
            "hidden =",
            "hiden =",
            "search.hiden: not a field that can be searched; did you mean 'hidden'?",
        ),
        ("low = 8", "low = 0", "small.toml:11: search.hidden: "),
        ("low = 8, high = 512", "low = 8, high = 4", "low 8 is not below high 4"),
        ("low = 8", "lo = 8", "search.hidden.lo: unknown key; did you mean 'low'?"),
        ('type = "int"', 'type = "integer"', "did you mean 'int'?"),
        ('type = "int", ', "", "search.hidden: lacks its type"),
        ("epochs = 3", 'optimizer = "sgd"\nnesterov = true', "nesterov: needs a momentum above 0"),
        ("[search]", "[config.search]", "search: unknown key"),
        ('{ type = "int", low = 8, high = 512, log = true }', "8", "8 is not accepted: it should"),
        ("[64, 128]", "[64, 64]", "are not all different"),
        ("[64, 128]", "[]", "search.batch_size.choices"),
        ("[64, 128]", '["a"]', "batch_size: 'a' is not accepted"),
        ("epochs = 3", "epochs = 3\nbatch_size = 3", "fixed in [config] as well"),
        ("seed = 3", 'sampler = "tpee"', "did you mean 'tpe'?"),
        ("seed = 3", 'metric = "test_accuracy"', "did you mean 'val_accuracy'?"),
        ("[search]", "[serch]", "serch: unknown key; did you mean 'search'?"),
        (
            "seed = 3",
            'seed = 3\nfirst = { a = """in [0, 1)\n""" }\npruner = "medan"',
            "small.toml:7: pruner: 'medan' is not accepted",
        ),
        (
            "[search]",
            '[search.patch_size]\nchoices = [\n  [4],\n  [7]\n]\ntype = "in"\n[search]',
            "small.toml:15: search.patch_size.type: 'in' is not accepted",
        ),
    ],
)
def test_a_wrong_study_file_names_file_line_and_key(
    study: Path, old: str, new: str, said: str
) -> None:
    assert old in SMALL
    study.write_text(SMALL.replace(old, new))
    with pytest.raises(lab.UserError) as error:
        read(study, StudyDeclaration)
    assert said in str(error.value)
    assert "small.toml" in str(error.value)


def test_mistakes_end_with_2_and_leave_nothing(lab_: Command, study: Path, workspace: Path) -> None:
    (workspace / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    before = sorted(workspace.rglob("*"))
    for arguments, said in (
        (["smal"], "no study named 'smal'; did you mean 'small'? Known: small"),
        (["small", "--trials", "0"], "--trials"),
        (["small", "--trails", "3"], "--trails"),
        (["small", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["small", "--data", "broken.npz"], "broken.npz"),
        (["small", "--storage", "sqlite:////no/folder/x.db"], "--storage"),
        (["small", "--storage", "nonsense"], "--storage"),
        (["small", "--storage", "sqlite:///:memory:"], "in the memory of one process"),
        (["small", "--storage", "sqlite:///mlflow.db"], "is the database of an MLflow store"),
        ([os.fsdecode(b"\xff")], r"'\udcff' is not UTF-8"),
        (["small", "--data", os.fsdecode(b"\xff.npz")], r"'\udcff.npz' is not UTF-8"),
    ):
        done = lab_("study", *arguments)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert sorted(workspace.rglob("*")) == before, arguments
    assert mlflow.MlflowClient().get_experiment_by_name("small") is None
    with closing(sqlite3.connect(workspace / "mlflow.db")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
    assert "studies" not in names
    began = time.perf_counter()
    done = lab_("study", "small", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert time.perf_counter() - began < 15
    assert done.returncode == 2
    assert "MLFLOW_TRACKING_URI: http://127.0.0.1:9 cannot be reached" in done.stderr


def test_a_study_is_found_by_path(lab_: Command, study: Path, workspace: Path) -> None:
    (workspace / "elsewhere").mkdir()
    shutil.move(study, workspace / "elsewhere" / "mine.toml")
    done = lab_("study", "elsewhere/mine.toml", *DATA, "--trials", "1", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert (workspace / "elsewhere" / "mine.db").is_file()
    assert len(lab.runs("mine")) == 1


def test_compare_prints_and_writes(lab_: Command, study: Path, workspace: Path) -> None:
    assert lab_("study", "small", *DATA, "--trials", "3").returncode == 0
    table = lab.runs("small").sort_values("val_accuracy", ascending=False)
    shown = lab_("compare", "small")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    accuracies = [f"{value:.4f}" for value in table["val_accuracy"]]
    lines = shown.stdout.splitlines()[2:5]
    assert [accuracy in line for accuracy, line in zip(accuracies, lines, strict=True)] == [
        True
    ] * 3
    assert "workflowType=machine_learning" in shown.stdout

    csv = pd.read_csv(io.StringIO(lab_("compare", "small", "--format", "csv").stdout))
    assert csv["run_id"].tolist() == table["run_id"].tolist()
    assert csv["test_accuracy"].tolist() == table["test_accuracy"].tolist()
    records = json.loads(lab_("compare", "small", "--format", "json").stdout)
    assert [record["val_loss"] for record in records] == table["val_loss"].tolist()
    markdown = lab_("compare", "small", "--format", "markdown", "--output", "table.md")
    assert markdown.stdout == ""
    assert (workspace / "table.md").read_text().startswith("|")
    assert lab_("compare", "small", "--output", "no/folder.md").returncode == 2
    wrong = lab_("compare", "smal")
    assert wrong.returncode == 2
    assert "did you mean 'small'?" in wrong.stderr


def test_optuna_dashboard_reads_the_study(lab_: Command, study: Path, workspace: Path) -> None:
    from optuna_dashboard import wsgi

    assert lab_("study", "small", *DATA, "--trials", "2").returncode == 0
    app = wsgi(f"sqlite:///{workspace}/studies/small.db")
    status: list[str] = []
    request = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/studies",
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
    }
    body = b"".join(app(request, lambda code, headers, *more: status.append(code)))
    assert status == ["200 OK"]
    assert b"small data=digits" in body
