"""The ways to search, each by a real study on a handful of digits."""

from __future__ import annotations

import io
from pathlib import Path

import mlflow
import optuna
import pandas as pd
import pytest

import mnist_lab as lab
from mnist_lab.retries import counts
from mnist_lab.study_figures import front
from tests.conftest import Command, Done
from tests.samples import write_digits

CONFIG = """
[config]
epochs = 2
validation_size = 100
batch_size = 50
"""
RATES = """
[search]
learning_rate = { type = "float", low = 1e-4, high = 1e-1, log = true }
momentum = { type = "float", low = 0.0, high = 0.9 }
"""


@pytest.fixture
def run(lab_: Command, workspace: Path, small: lab.Dataset) -> Command:
    """Run a study of a given text on 300 digits."""
    write_digits(workspace / "few.npz", small, train_images=300, test_images=100)

    def command(text: str, *arguments: str) -> Done:
        (workspace / "studies" / "s.toml").write_text(text)
        return lab_("study", "s", "--data", "few.npz", "--confirm=0", *arguments)

    return command


def study(workspace: Path) -> optuna.Study:
    url = f"sqlite:///{workspace}/studies/s.db"
    return optuna.load_study(study_name="s data=few", storage=url)


def test_a_grid_is_tried_point_by_point_whoever_stops_it(run: Command, workspace: Path) -> None:
    text = f'trials = 4\nsampler = "grid"\npruner = "none"\n{CONFIG}[search]\n'
    text += 'hidden = { type = "categorical", choices = [[], 8, [16, 8], [512]] }\n'
    done = run(text, "--trials", "2")
    assert done.returncode == 0, done.stderr
    done = run(text)
    assert done.returncode == 0, done.stderr
    table = lab.runs("s")
    assert table["hidden"][0] == "512"  # the baseline's
    assert table["variant"].tolist() == ["baseline", "trial", "trial", "trial"]
    assert set(table["hidden"]) == {"none", "8", "16-8", "512"}
    assert "4 trials (4 complete)" in done.stdout
    more = run(text, "--trials", "5")
    assert more.returncode == 2
    assert "--trials: 5 is more than the 4 points of the grid" in more.stderr


def test_values_that_are_refused_together_cost_their_trial_alone(
    run: Command, workspace: Path
) -> None:
    text = f'trials = 4\nsampler = "grid"\npruner = "none"\n{CONFIG}[search]\n'
    text += 'hidden = { type = "categorical", choices = [[8, 8], 8] }\n'
    text += 'residual = { type = "categorical", choices = [false, true] }\n'
    done = run(text)
    assert done.returncode == 0, done.stderr
    assert "4 trials (3 complete, 1 failed)" in done.stdout
    assert "1 failed: RunConfig: residual" in done.stdout
    assert "have no run" not in done.stdout
    (failed,) = lab.runs("s").query("state == 'FAIL'").to_dict("records")
    assert failed["status"] == "FAILED"
    assert failed["reason"].startswith("RunConfig: residual")
    # What was refused, and the circumstances, as of any other run.
    assert (failed["hidden"], failed["residual"], failed["batch_size"]) == ("8", True, 50)
    assert failed["seed"] == 0
    assert len(failed["data_sha256"]) == 64
    assert failed["duration"] > 0
    run_ = mlflow.MlflowClient().get_run(failed["run_id"])
    assert run_.data.tags["version.keras"]
    assert run_.inputs.dataset_inputs[0].dataset.name == "few"
    assert len(study(workspace).trials) == 4
    again = run(text)
    assert again.returncode == 0, again.stderr
    assert len(study(workspace).trials) == 4


FRAGILE = """
def space(trial):
    if trial.suggest_float("rate", 0.0, 1.0) < 2.0:
        raise ValueError("no such rate")
"""


def test_a_space_that_gives_nothing_ends_the_command_and_blocks_nothing(
    run: Command, workspace: Path
) -> None:
    (workspace / "studies" / "fragile.py").write_text(FRAGILE)
    text = f'trials = 3\nspace = "fragile.py:space"\n{CONFIG}'
    for count in (1, 2):
        done = run(text)
        assert done.returncode == 2
        assert "no such rate" in done.stderr
        assert len({tuple(trial.params.items()) for trial in study(workspace).trials}) == count


def test_a_space_that_fails_again_and_again_ends_the_command_though_it_once_did_not(
    run: Command, workspace: Path
) -> None:
    (workspace / "there").touch()
    (workspace / "studies" / "fragile.py").write_text(
        "from pathlib import Path\ndef space(trial):\n    n = trial.suggest_int('n', 8, 16)\n"
        "    return {'hidden': n + len(Path('there').read_text())}\n"
    )
    text = f'trials = 30\nspace = "fragile.py:space"\n{CONFIG}'
    assert run(text, "--trials", "1").returncode == 0
    (workspace / "there").unlink()
    done = run(text)
    assert done.returncode == 2
    assert "fragile.py:4: space failed: FileNotFoundError" in done.stderr
    assert [t.state.name for t in study(workspace).trials] == ["COMPLETE", *["FAIL"] * 5]


def test_a_space_that_gives_what_is_fixed_is_told(run: Command, workspace: Path) -> None:
    path = workspace / "studies" / "rates.py"
    path.write_text(
        "def space(trial):\n    rate = trial.suggest_float('rate', 1e-4, 1e-2, log=True)\n"
        "    return {'hidden': 8, 'learning_rate': rate}\n"
    )
    text = f'trials = 20\nspace = "rates.py:space"\n{CONFIG}'
    said = "rates.py: space gave learning_rate, which belongs to [config] alone; leave one of them"
    done = run(f"{text}learning_rate = 1e-3\n")
    assert done.returncode == 2
    assert said in done.stderr
    assert lab.runs("s").empty
    assert run(text, "--trials", "1").returncode == 0
    # The default, told: the study is the same one, and yet its function cannot give another.
    done = run(f"{text}learning_rate = 1e-3\n")
    assert done.returncode == 2
    assert said in done.stderr
    assert sum(map(counts, study(workspace).trials)) == 6  # and not all of them
    assert run(text, "--trials", "7").returncode == 0


def test_a_study_without_a_trained_trial_can_be_mended(run: Command, workspace: Path) -> None:
    text = f'trials = 1\nsampler = "random"\npruner = "none"\n{CONFIG}hidden = 8\n[search]\n'
    text += 'pixel_low = { type = "categorical", choices = [0.1, 0.9] }\n'
    text += 'pixel_high = { type = "categorical", choices = [1.0, 0.5] }\n'
    done = run(text)
    assert done.returncode == 2
    assert "pixel_" in done.stderr
    assert [trial.state.name for trial in study(workspace).trials] == ["FAIL"]
    done = run(text.replace("0.9", "0.2"))
    assert done.returncode == 0, done.stderr
    assert [trial.state.name for trial in study(workspace).trials] == ["COMPLETE"]
    assert "begun with other settings" in run(text, "--trials", "2").stderr


DELETES = """
import optuna

def space(trial):
    if trial.number == 1:
        optuna.delete_study(study_name="s data=few", storage="sqlite:///studies/s.db")
    return {"hidden": trial.suggest_int("n", 8, 16)}
"""


def test_a_study_that_is_deleted_while_it_runs_is_told(run: Command, workspace: Path) -> None:
    (workspace / "studies" / "deletes.py").write_text(DELETES)
    done = run(f'trials = 3\nspace = "deletes.py:space"\n{CONFIG}')
    assert done.returncode == 2
    assert "the study was deleted from sqlite:///" in done.stderr
    assert "Traceback" not in done.stderr
    assert (lab.runs("s")["status"] == "FINISHED").sum() == 1


def test_several_seeds_are_averaged_and_pruned_across(run: Command, workspace: Path) -> None:
    text = f'trials = 6\nseed = 5\nseeds_per_trial = 3\nsampler = "random"\n{CONFIG}[search]\n'
    text = text.replace("epochs = 2", "epochs = 2\nhidden = 8")
    text += 'learning_rate = { type = "categorical", choices = [1e-6, 1e-3, 1e-2, 2e-2] }\n'
    done = run(text)
    assert done.returncode == 0, done.stderr
    assert "the mean over trainings with seeds 5 to 7" in done.stdout
    table = lab.runs("s")
    trials = study(workspace).trials
    assert len(trials) == 6
    for trial in trials:
        runs = table[table["trial"] == trial.number]
        assert runs["seed"].tolist() == [5, 6, 7][: len(runs)]
        assert set(runs["state"]) == {trial.state.name}
        if trial.state.name == "COMPLETE":
            assert len(runs) == 3
            assert trial.value == pytest.approx(runs["val_accuracy"].mean())
            # The epochs of the first training, then a step for each further one.
            assert list(trial.intermediate_values) == [1, 2, 3, 4]
            means = runs["val_accuracy"].expanding().mean().tolist()
            assert [trial.intermediate_values[i] for i in (2, 3, 4)] == pytest.approx(means)
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert pruned
    assert all(len(table[table["trial"] == trial.number]) < 3 for trial in pruned)
    # A trial is one line, though it has several runs.
    lines = [line for line in done.stdout.splitlines() if "COMPLETE" in line or "PRUNED" in line]
    assert len(lines) == 6


@pytest.mark.figures
def test_several_objectives_end_in_a_pareto_front(run: Command, workspace: Path) -> None:
    text = 'trials = 4\nobjectives = ["val_accuracy", "parameters"]\nsampler = "nsgaii"\n'
    text += f'pruner = "none"\n{CONFIG}[search]\n'
    text += 'hidden = { type = "int", low = 8, high = 32, step = 8 }\n'
    done = run(text)
    assert done.returncode == 0, done.stderr
    assert "Pareto front of val_accuracy, parameters" in done.stdout
    table = lab.runs("s")
    goals = ["val_accuracy", "parameters"]
    members = table[front(table, goals)].sort_values("val_accuracy", ascending=False)
    client = mlflow.MlflowClient()
    parent = table["parent"][0]
    saved = pd.read_csv(client.download_artifacts(parent, "pareto.csv", str(workspace)))
    assert saved["val_accuracy"].tolist() == members["val_accuracy"].tolist()
    assert set(saved["trial"]) == set(members["trial"])
    # The best of it by the first objective is the best configuration.
    assert f"Best configuration (trial {saved['trial'][0]}, val_accuracy" in done.stdout
    figures = {file.path for file in client.list_artifacts(parent, "figures/search")}
    assert "figures/search/pareto_front.png" in figures


DEPTH = """
def space(trial):
    layers = trial.suggest_int("layers", 1, 2)
    return {"hidden": [trial.suggest_categorical(f"width_{i}", [8, 512]) for i in range(layers)]}
"""


def test_a_conditional_space_is_searched_and_its_edit_is_refused(
    run: Command, workspace: Path
) -> None:
    (workspace / "studies" / "deep.py").write_text(DEPTH)
    text = f'trials = 3\nspace = "deep.py:space"\nfirst = {{ layers = 1, width_0 = 512 }}\n{CONFIG}'
    done = run(text)
    assert done.returncode == 0, done.stderr
    table = lab.runs("s")
    assert table["hidden"][0] == "512"
    assert table["variant"].tolist() == ["baseline", "trial", "trial"]
    assert "Best configuration" in done.stdout
    (workspace / "studies" / "deep.py").write_text(DEPTH.replace("[8, 512]", "[16, 512]"))
    edited = run(text, "--trials", "4")
    assert edited.returncode == 2
    assert "what deep.py:space does: recorded" in edited.stderr
    assert len(lab.runs("s")) == 3


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        ("cmaes", "successive_halving"),
        pytest.param("nsgaii", "hyperband", marks=pytest.mark.slow),
    ],
)
def test_samplers_and_pruners_go_together_and_resume(
    run: Command, workspace: Path, sampler: str, pruner: str
) -> None:
    text = f'trials = 5\nsampler = "{sampler}"\npruner = "{pruner}"\n{CONFIG}hidden = 8\n{RATES}'
    for total in ("3", "5"):
        done = run(text, "--trials", total)
        assert done.returncode == 0, done.stderr
    table = lab.runs("s")
    assert len(table) == 5
    assert table["learning_rate"].nunique() == 5


def test_a_study_older_than_these_settings_goes_on(run: Command, workspace: Path) -> None:
    text = f"{CONFIG}hidden = 8\n[search]\n"
    text += "learning_rate = { type = 'float', low = 1e-3, high = 1.0 }\n"
    assert run(text, "--trials", "1").returncode == 0
    old = study(workspace)
    declared = old.user_attrs["declaration"]
    for key in ("objectives", "seeds_per_trial", "space", "first"):
        del declared[key]
    assert declared["search.learning_rate"] == {
        "type": "float",
        "low": 0.001,
        "high": 1.0,
        "log": False,
    }
    old.set_user_attr("declaration", declared)
    done = run(text, "--trials", "2")
    assert done.returncode == 0, done.stderr
    assert len(lab.runs("s")) == 2


def test_the_results_of_a_study_are_a_file(run: Command, workspace: Path) -> None:
    text = f"{CONFIG}hidden = 8\n{RATES}"
    done = run(text, "--trials", "2", "--output", "out.csv")
    assert done.returncode == 0, done.stderr
    written = (workspace / "out.csv").read_text()
    table = pd.read_csv(io.StringIO(written))
    assert table["trial"].tolist() == [0, 1]
    assert {"learning_rate", "momentum", "val_accuracy", "code_digest"} <= set(table)
    assert str(workspace) not in written
    wrong = run(text, "--trials", "2", "--output", "no/out.csv")
    assert wrong.returncode == 2
    assert "--output: no/out.csv: there is no folder no/" in wrong.stderr


def test_the_first_trial_may_be_one_whose_values_are_refused(run: Command) -> None:
    text = f'trials = 4\nsampler = "random"\npruner = "none"\n{CONFIG}hidden = 8\n[search]\n'
    text += 'pixel_low = { type = "categorical", choices = [0.1, 0.9] }\n'
    text += 'pixel_high = { type = "categorical", choices = [1.0, 0.5] }\n'
    done = run(text)
    assert done.returncode == 0, done.stderr
    states = lab.runs("s")["state"].tolist()
    assert states[0] == "FAIL"
    assert "COMPLETE" in states


def test_a_space_that_gives_nothing_can_be_mended(run: Command, workspace: Path) -> None:
    (workspace / "studies" / "low.py").write_text(
        "def space(trial):\n    activation = trial.suggest_categorical('act', ['tanh', 'relu'])\n"
        "    width = trial.suggest_int('n', 8, 16)\n"
        "    return {'hiden': width, 'activation': activation}\n"
    )
    text = f'trials = 20\nspace = "low.py:space"\n{CONFIG}'
    done = run(text)
    assert done.returncode == 2
    assert "did you mean 'hidden'?" in done.stderr
    assert len(study(workspace).trials) == 1
    # Nothing was trained: the function can be mended.
    path = workspace / "studies" / "low.py"
    # Its parameters can be others: the study has none to keep to.
    path.write_text(path.read_text().replace("hiden", "hidden").replace("'relu'", "'elu'"))
    done = run(text, "--trials", "2")
    assert done.returncode == 0, done.stderr
    assert [trial.state.name for trial in study(workspace).trials] == ["COMPLETE", "COMPLETE"]
    assert set(lab.runs("s").query("status == 'FINISHED'")["activation"]) <= {"tanh", "elu"}
    assert (lab.runs("s")["status"] == "FAILED").sum() == 1  # it stays on record
    # Now something was.
    path.write_text(path.read_text().replace("8, 16", "8, 32"))
    assert "begun with other settings" in run(text, "--trials", "3").stderr


def test_what_is_first_can_be_mended_and_all_else_with_it(run: Command, workspace: Path) -> None:
    """No trial was begun, so there is nothing that others could not be compared with."""
    (workspace / "studies" / "n.py").write_text(
        "def space(trial):\n    return {'hidden': trial.suggest_int('n', 8, 16)}\n"
    )
    text = f'trials = 1\nspace = "n.py:space"\nfirst = {{ n = 99 }}\n{CONFIG}'
    done = run(text)
    assert done.returncode == 2
    assert "first: " in done.stderr
    done = run('metric = "val_loss"\n' + text.replace("99", "9"))
    assert done.returncode == 0, done.stderr
    assert lab.runs("s")["hidden"].tolist() == ["9"]


def test_a_study_that_began_no_trial_can_be_edited(run: Command, workspace: Path) -> None:
    text = f"trials = 1\n{CONFIG}[search]\nhidden = {{ type = 'int', low = 8, high = 16 }}\n"
    assert run(text, "--timeout", "0.000001").returncode == 0
    assert len(lab.runs("s")) == 0
    done = run(text.replace("8,", "10,"))
    assert done.returncode == 0, done.stderr
    assert len(lab.runs("s")) == 1


def test_an_empty_study_of_something_else_is_not_deleted(run: Command, workspace: Path) -> None:
    url = f"sqlite:///{workspace}/studies/s.db"
    optuna.create_study(study_name="s data=few", storage=url, direction="minimize")
    text = f"trials = 1\n{CONFIG}[search]\nhidden = {{ type = 'int', low = 8, high = 16 }}\n"
    done = run(text)
    assert done.returncode == 2
    assert "is not a study of mnist_lab: 0 trials were begun by something else" in done.stderr
    assert study(workspace).direction.name == "MINIMIZE"


def test_the_file_of_a_study_may_be_renamed_meanwhile(
    lab_: Command, workspace: Path, small: lab.Dataset
) -> None:
    write_digits(workspace / "few.npz", small, train_images=300, test_images=100)
    (workspace / "studies" / "n.py").write_text(
        "from pathlib import Path\ndef space(trial):\n"
        "    Path('studies/s.toml').rename('studies/t.toml')\n"
        "    return {'hidden': trial.suggest_int('n', 8, 16)}\n"
    )
    (workspace / "studies" / "s.toml").write_text(f'trials = 1\nspace = "n.py:space"\n{CONFIG}')
    done = lab_(
        *("study", "s", "--data", "few.npz", "--confirm", "1", "--output", "s.csv"), draws=False
    )
    assert done.returncode == 0, done.stderr
    assert "Confirmation" in done.stdout
    assert len(pd.read_csv(workspace / "s.csv")) == 3  # the trial, and two of the confirmation


def test_a_study_of_something_else_is_refused(run: Command, workspace: Path) -> None:
    def foreign() -> optuna.Study:
        url = f"sqlite:///{workspace}/studies/s.db"
        return optuna.create_study(study_name="s data=few", storage=url, direction="minimize")

    foreign().optimize(lambda trial: trial.suggest_int("hidden", 1, 500), n_trials=2)
    text = f"trials = 1\n{CONFIG}[search]\nhidden = {{ type = 'int', low = 8, high = 16 }}\n"
    done = run(text)
    assert done.returncode == 2
    assert "is not a study of mnist_lab: 2 trials were begun by something else" in done.stderr
    assert "to minimize where this study is to maximize" in done.stderr
    assert "declaration" not in study(workspace).user_attrs


def test_a_first_trial_that_the_space_cannot_give_is_refused(run: Command, workspace: Path) -> None:
    (workspace / "studies" / "n.py").write_text(
        "def space(trial):\n    return {'hidden': [8] * trial.suggest_int('layers', 1, 3)}\n"
    )
    for first, said in (
        ("layers = 9", "The value 9 of the parameter 'layers' is out of the range"),
        ("layers = 2, typo = 3", "does not ask for typo; it asks for layers"),
    ):
        done = run(f'trials = 1\nspace = "n.py:space"\nfirst = {{ {first} }}\n{CONFIG}')
        assert done.returncode == 2
        assert said in done.stderr
        assert "first: " in done.stderr
    assert run(f'trials = 1\nspace = "n.py:space"\nfirst.layers = 2\n{CONFIG}').returncode == 0
    assert lab.runs("s")["hidden"].tolist() == ["8-8"]


EPOCHS = """
def space(trial):
    return {"hidden": 8, "epochs": trial.suggest_categorical("epochs", [5, 3])}
"""


@pytest.mark.parametrize("setting", ['pruner = "hyperband"', "seeds_per_trial = 2"])
def test_a_space_cannot_give_epochs_where_trials_are_compared_step_by_step(
    run: Command, workspace: Path, setting: str
) -> None:
    (workspace / "studies" / "epochs.py").write_text(EPOCHS)
    config = CONFIG.replace("epochs = 2\n", "")
    done = run(f'trials = 9\n{setting}\nspace = "epochs.py:space"\n{config}')
    assert done.returncode == 2
    assert "epochs.py:space gave epochs = " in done.stderr
    failed = [trial for trial in study(workspace).trials if trial.state.name == "FAIL"]
    assert failed
    assert not any(map(counts, failed))  # it costs the study none of its trials


def test_a_trial_of_other_epochs_fails_alone_where_others_were_trained(
    run: Command, workspace: Path
) -> None:
    (workspace / "studies" / "epochs.py").write_text(EPOCHS)
    config = CONFIG.replace("epochs = 2\n", "")
    text = 'trials = 6\nsampler = "random"\npruner = "hyperband"\nspace = "epochs.py:space"\n'
    done = run(f"{text}first.epochs = 5\n{config}")  # which is what [config] has
    assert done.returncode == 0, done.stderr
    found = [(trial.params["epochs"], trial.state.name) for trial in study(workspace).trials]
    assert len(found) == 6
    assert {state for epochs, state in found if epochs == 3} == {"FAIL"}
    assert "FAIL" not in {state for epochs, state in found if epochs == 5}
