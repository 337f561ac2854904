"""Experiments, from the command to the verdict."""

from __future__ import annotations

import signal
from pathlib import Path

import pandas as pd
import pytest

import mnist_lab as lab
from mnist_lab import recording
from mnist_lab.process import this_process
from tests.conftest import Command, environment
from tests.forked import Forked
from tests.questions import TUNED, WIDTH, client, on_record, parents
from tests.samples import write_digits
from tests.survival import until

DIVERGING = """
baseline = "sound"
seeds = 2

[config]
hidden = [32, 32, 32]
activation = "selu"
optimizer = "sgd"
epochs = 4

[variants.sound]
learning_rate = 0.01

[variants.broken]
learning_rate = 1000.0
"""


@pytest.mark.figures
def test_an_experiment_ends_in_a_verdict_and_trains_only_what_is_missing(
    experiment_: Command, experiments: Path, workspace: Path
) -> None:
    first = experiment_("width", "--output", "one.csv")
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""  # no progress in a pipe
    for said in (
        "width data=digits: 6 runs, 6 of them trained now",
        "Question: Does a wider hidden layer help?",
        "paired t-test",
        "±0.005",  # the margin of 50 images
        "workflowType=machine_learning",
    ):
        assert said in first.stdout
    (wide,) = [line for line in first.stdout.splitlines() if line.startswith("wide")]
    assert wide.endswith("better")

    # Seed by seed, so that what is interrupted is balanced.
    table = lab.runs("width")
    assert table["name"].tolist() == [
        f"{variant} seed {seed}" for seed in range(3) for variant in ("narrow", "wide")
    ]
    assert set(table["stage"]) == {"verdict"}
    assert set(table["experiment"]) == {"width data=digits"}
    config = lab.RunConfig(hidden=32, epochs=2, batch_size=100)
    assert table["config_digest"][1] == config.digest()
    assert (table["status"] == "FINISHED").all()
    assert (table["train_seconds"] > 0).all()
    assert lab.epochs("width").groupby("variant").size().to_dict() == {"narrow": 6, "wide": 6}

    (parent,) = parents("width")
    assert parent.info.status == "FINISHED"
    assert set(table["parent"]) == {parent.info.run_id}
    assert parent.data.tags["claim"] == "Yes, by over 1,000 images."
    artifacts = {file.path for file in client().list_artifacts(parent.info.run_id)}
    assert artifacts == {"experiment.json", "results.csv", "verdict.csv", "figures"}
    figures = {file.path for file in client().list_artifacts(parent.info.run_id, "figures")}
    assert figures == {
        f"figures/{stem}.png"
        for stem in (
            "learning_curves",
            "differences",
            "accuracy_parameters",
            "accuracy_seconds",
            "confusion",
            "misclassified",
        )
    }

    # The verdict is that of the public function on the public table.
    verdict = lab.compare(table, baseline="narrow", margin=0.005)
    assert verdict["verdict"].tolist() == ["baseline", "better"]
    saved = client().download_artifacts(parent.info.run_id, "verdict.csv", str(workspace))
    shown = ["variant", "n", "mean", "difference", "p_holm", "verdict"]
    pd.testing.assert_frame_equal(pd.read_csv(saved)[shown], verdict[shown], check_dtype=False)

    # Again: nothing is trained, and the results are the same to the byte.
    again = experiment_("width", "--output", "two.csv", draws=False)
    assert again.returncode == 0, again.stderr
    assert ", 0 of them trained now" in again.stdout
    assert lab.runs("width")["run_id"].tolist() == table["run_id"].tolist()
    assert len(parents("width")) == 1
    one = (workspace / "one.csv").read_text()
    assert (workspace / "two.csv").read_text() == one
    results = pd.read_csv(workspace / "one.csv")
    assert results["variant"].tolist() == ["narrow"] * 3 + ["wide"] * 3
    assert results["seed"].tolist() == [0, 1, 2] * 2
    assert results["test_accuracy"].tolist() == [
        table["test_accuracy"][i] for i in (0, 2, 4, 1, 3, 5)
    ]
    for secret in (*table["run_id"], str(workspace)):
        assert secret not in one

    # A seed and a variant more: what was there stays, what is missing is trained.
    more = WIDTH.replace("seeds = 3", "seeds = [2, 1, 0, 7]") + "[variants.tanh]\nhidden = 8\n"
    (experiments / "width.toml").write_text(more + 'activation = "tanh"\n')
    third = experiment_("width", draws=False)
    assert third.returncode == 0, third.stderr
    assert "12 runs, 6 of them trained now" in third.stdout
    assert "Since the first of these runs were recorded, variants added: tanh" in third.stdout
    assert "Since the first of these runs were recorded, seeds added: 7" in third.stdout
    assert "Whoever adds seeds until a difference shows" in third.stdout
    assert "The claim was" not in third.stdout
    grown = lab.runs("width")
    assert grown["run_id"].tolist()[:6] == table["run_id"].tolist()
    assert grown["name"].tolist()[6:] == [
        "tanh seed 2",
        "tanh seed 1",
        "tanh seed 0",
        "narrow seed 7",
        "wide seed 7",
        "tanh seed 7",
    ]


def test_an_edited_variant_is_refused_and_its_runs_stay(
    experiment_: Command, experiments: Path
) -> None:
    assert experiment_("width").returncode == 0
    before = on_record("width")
    edited = WIDTH.replace("hidden = 32", "hidden = 16\nlearning_rate = 0.01")
    (experiments / "width.toml").write_text(edited.replace("seeds = 3", "seeds = 4"))
    done = experiment_("width")
    assert done.returncode == 2
    assert "variants.wide: hidden: recorded 32, now 16" in done.stderr
    assert "variants.wide: learning_rate: recorded 0.001, now 0.01" in done.stderr
    assert "variants.narrow" not in done.stderr
    assert "another name" in done.stderr
    assert on_record("width") == before
    # Under another name it is another variant; the runs of the old one no longer count.
    (experiments / "width.toml").write_text(edited.replace("[variants.wide]", "[variants.other]"))
    done = experiment_("width")
    assert done.returncode == 0, done.stderr
    assert "3 more on record of this experiment, not counted: not what the file" in done.stdout


def test_a_margin_changed_afterwards_is_told(experiment_: Command, experiments: Path) -> None:
    assert experiment_("width").returncode == 0
    edited = WIDTH.replace("margin = 50", "margin = 5000").replace("Yes, by", "No, not by")
    (experiments / "width.toml").write_text(edited.replace('"narrow"', '"wide"'))
    for _ in range(2):
        done = experiment_("width")
        assert done.returncode == 0, done.stderr
        assert "was 50 images when the first" in done.stdout
        assert "is 5000 images now: it was not stated beforehand" in done.stdout.replace("\n", " ")
        assert "The claim was 'Yes, by over 1,000 images.' when the first" in done.stdout
        assert "The baseline was 'narrow' when the first of these runs were rec" in done.stdout


def test_what_was_stated_before_the_first_run_may_change(
    experiment_: Command, experiments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(config: lab.RunConfig, images: int) -> None:
        raise MemoryError("others have it")

    with monkeypatch.context() as patch:
        patch.setattr(recording, "check_memory", check)
        assert "6 runs missing" in experiment_("width").stdout
    (experiments / "width.toml").write_text(WIDTH.replace("margin = 50", "margin = 20"))
    done = experiment_("width")
    assert done.returncode == 0, done.stderr
    assert "6 of them trained now" in done.stdout
    assert "when the first" not in done.stdout


def test_runs_of_other_code_data_or_configuration_do_not_count(
    experiment_: Command, lab_: Command, experiments: Path, workspace: Path, small: lab.Dataset
) -> None:
    assert experiment_("width").returncode == 0
    # Of another version, whose command was killed: nobody goes on with it.
    machine, number, _ = this_process().rsplit(" ", 2)
    tags = {"kind": "experiment", "experiment": "width data=digits", "code_digest": "0" * 16}
    dead = {**tags, "process": f"{machine} {number} 1.00"}
    ghost = client().create_run(parents("width")[0].info.experiment_id, tags=dead).info.run_id
    other = lab.runs("width")["run_id"][3]
    client().set_tag(other, "code_digest", "0" * 16)
    client().log_metric(other, "test_accuracy", 0.0, step=2)
    done = experiment_("width")
    assert done.returncode == 0, done.stderr
    assert "6 runs, 1 of them trained now" in done.stdout
    assert client().get_run(ghost).info.status == "FAILED"
    said = "1 more on record of this experiment, not counted: trained by another version of the"
    assert said in done.stdout
    table = lab.runs("width")
    assert len(table) == 7
    assert other in table["run_id"].tolist()
    assert table["name"].tolist()[6] == table["name"][3]
    # `compare`, which sees all runs, judges by the same.
    verdict = done.stdout[done.stdout.index("Title:") : done.stdout.index("1 more")]
    assert verdict.split("\n\n")[1] in lab_("compare", "width").stdout

    write_digits(workspace / "digits.npz", small, test_images=400)
    done = experiment_("width")
    assert "6 runs, 6 of them trained now" in done.stdout
    assert "6 more on record of this experiment, not counted: trained on other data" in done.stdout


def test_a_run_that_fails_by_itself_is_listed_and_not_tried_again(
    experiment_: Command, experiments: Path
) -> None:
    (experiments / "broken.toml").write_text(DIVERGING)
    done = experiment_("broken")
    assert done.returncode == 0, done.stderr
    table = lab.runs("broken")
    failed = table[table["variant"] == "broken"]
    assert (failed["status"] == "FAILED").all()
    assert failed["failed_by_itself"].all()
    assert failed["reason"].str.contains("loss nan").all()
    assert "0 (2 failed)" in done.stdout
    assert "broken seed 0: failed: loss nan" in done.stdout
    assert "broken seed 1: failed: loss nan" in done.stdout
    again = experiment_("broken", "--output", "broken.csv")
    assert again.returncode == 0
    assert len(lab.runs("broken")) == 4
    results = pd.read_csv("broken.csv")
    assert results["status"].tolist() == ["FINISHED"] * 2 + ["FAILED"] * 2
    # A run that an accident ended is tried again.
    client().delete_tag(failed["run_id"].iloc[0], "failed_by_itself")
    again = experiment_("broken")
    assert ", 1 of them trained now" in again.stdout
    assert "not counted: failed by an accident outside of training" in again.stdout


def test_what_others_left_no_room_for_is_missing_with_its_reason(
    experiment_: Command, lab_: Command, experiments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(config: lab.RunConfig, images: int) -> None:
        if config.hidden == (32,):
            raise MemoryError("too little for so wide a net")

    monkeypatch.setattr(recording, "check_memory", check)
    done = experiment_("width")
    assert done.returncode == 0, done.stderr
    assert "3 runs, 3 of them trained now" in done.stdout
    assert "3 more on record of this experiment, not counted: out of memory: too l" in done.stdout
    assert "wide seed 0: missing: out of memory: too little for so wide a net" in done.stdout
    go_on = "3 runs missing; go on with\n  python -m mnist_lab.experiment width --data digits.npz"
    assert go_on in done.stdout
    shown = lab_("compare", "width")
    assert "wide seed 0: missing: out of memory: too little for so wide a net" in shown.stdout


def test_without_a_sound_baseline_there_is_no_verdict(
    experiment_: Command, experiments: Path
) -> None:
    text = DIVERGING.replace('baseline = "sound"', 'baseline = "broken"')
    (experiments / "broken.toml").write_text(text)
    done = experiment_("broken")
    assert done.returncode == 0, done.stderr
    assert "No verdict: baseline 'broken': 0 of its runs count" in done.stdout
    assert "broken seed 0: failed" in done.stdout


def test_a_single_variant_has_a_mean_and_no_comparison(
    experiment_: Command, experiments: Path
) -> None:
    text = WIDTH[: WIDTH.index("[variants.wide]")]
    (experiments / "seeds.toml").write_text(text)
    done = experiment_("seeds")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("narrow")]
    assert " 3 " in line
    assert "±" in line
    assert "p (Holm)" not in done.stdout


@pytest.mark.slow
def test_an_interrupted_experiment_goes_on(
    experiment_: Command, lab_: Command, experiments: Path, workspace: Path
) -> None:
    long = WIDTH.replace("epochs = 2", "epochs = 100").replace("seeds = 3", "seeds = 2")
    (experiments / "width.toml").write_text(long)
    arguments = ["width", "--data", "digits.npz"]
    with Forked("mnist_lab.experiment", arguments, workspace, environment()) as process:
        until(lambda: len(runs_so_far()) == 2 and len(lab.epochs("width")) > 100, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "go on with\n  python -m mnist_lab.experiment width --data digits.npz" in err
    table = lab.runs("width")
    assert table["status"].tolist() == ["FINISHED", "KILLED"]
    assert [parent.info.status for parent in parents("width")] == ["KILLED"]

    # What has been recorded can be looked at, with what is missing.
    shown = lab_("compare", "width")
    assert shown.returncode == 0, shown.stderr
    for missing in ("wide seed 0", "narrow seed 1", "wide seed 1"):
        assert f"{missing}: missing" in shown.stdout
    assert "No verdict: baseline 'narrow': 1 of its runs count" in shown.stdout

    done = experiment_("width")
    assert done.returncode == 0, done.stderr
    assert "4 runs, 3 of them trained now" in done.stdout
    assert "1 more on record of this experiment, not counted: interrupted" in done.stdout
    finished = lab.runs("width")
    assert finished["run_id"].tolist()[:2] == table["run_id"].tolist()
    assert finished["status"].tolist() == ["FINISHED", "KILLED", *["FINISHED"] * 3]
    (parent,) = parents("width")
    assert parent.info.status == "FINISHED"
    assert "reason" not in parent.data.tags


def runs_so_far() -> list[str]:
    """The runs on record of an experiment that another process runs."""
    try:
        return lab.runs("width")["run_id"].tolist()
    except lab.UserError:
        return []


@pytest.mark.slow
def test_power_is_told_from_the_recorded_spread(
    experiment_: Command, experiments: Path, workspace: Path
) -> None:
    made = (workspace / "mlflow.db").rename(workspace / "made.db")
    nothing = experiment_("width", "--power", "100")
    assert nothing.returncode == 2
    assert "python -m mnist_lab.experiment width --data digits.npz\n" in nothing.stderr
    assert not (workspace / "mlflow.db").exists()

    away = experiment_("width", "--power", "100", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert away.returncode == 2
    assert "cannot be reached" in away.stderr

    made.rename(workspace / "mlflow.db")
    assert experiment_("width").returncode == 0
    table = lab.runs("width")
    wide = table.pivot_table(index="seed", columns="variant", values="test_accuracy")
    sd = (wide["wide"] - wide["narrow"]).std()
    told = experiment_("width", "--power", "300")
    assert told.returncode == 0, told.stderr
    assert f"{sd:.3g}" in told.stdout
    assert "the 6 recorded runs of this experiment" in told.stdout
    assert "A difference of 300 test images of 10,000 needs" in told.stdout
    assert len(lab.runs("width")) == 6

    # Another experiment on the same data has the committed seeds to go by.
    (experiments / "results").mkdir()
    (experiments / "seeds.toml").write_text(WIDTH[: WIDTH.index("[variants.wide]")])
    assert experiment_("seeds", "--output", "experiments/results/seeds.csv").returncode == 0
    (experiments / "other.toml").write_text(WIDTH)
    told = experiment_("other", "--power", "300")
    assert told.returncode == 0, told.stderr
    assert "the 3 runs of experiments/results/seeds.csv" in told.stdout
    assert experiment_("seeds", "--power", "10").returncode == 2


def test_mistakes_end_with_2_and_leave_nothing(
    experiment_: Command, lab_: Command, experiments: Path, workspace: Path
) -> None:
    (experiments / "big.toml").write_text(WIDTH.replace("hidden = 32", "validation_size = 2000"))
    tuned = TUNED.replace("tuning_validation_size = 400\n", "")
    (experiments / "tuned.toml").write_text(tuned)
    (experiments / "bad.toml").write_text(WIDTH.replace("hidden = 32", "hidden = 0"))
    before = sorted(workspace.rglob("*"))
    for arguments, said in (
        (["widht"], "no experiment named 'widht'; did you mean 'width'?"),
        (["bad"], "bad.toml:17: variants.wide.hidden.0: 0 is not accepted"),
        (["big", "--data", "digits.npz"], "big.toml:17: variants.wide.validation_size: 2000"),
        (["tuned", "--data", "digits.npz"], "tuning_validation_size: 10000 is not accepted"),
        (["tuned", "--data", "digits.npz"], "so it must be from 1 to 1999"),
        (["width", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["width", "--output", "no/folder.csv"], "--output: no/folder.csv: there is no folder"),
        (["width", "--output", "experiments"], "is a folder"),
        (["width", "--power", "0"], "--power"),
        (["width", "--power", "10", "--output", "o.csv"], "--output cannot be given with"),
        (["width", "--power", "10", "--workers", "2"], "--workers cannot be given with --power"),
        (["width", "--seed", "3"], "--seed"),
    ):
        done = lab_("experiment", *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert said in done.stderr, (arguments, done.stderr)
        assert sorted(workspace.rglob("*")) == before, arguments
