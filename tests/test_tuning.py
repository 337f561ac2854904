"""Experiments whose variants are tuned before they are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

import mnist_lab as lab
from mnist_lab import recording
from tests.conftest import Command
from tests.questions import TUNED, client, on_record, parents


def test_tuning_selects_on_validation_images_whatever_the_test_says(
    experiment_: Command, experiments: Path
) -> None:
    (experiments / "tuned.toml").write_text(TUNED)
    first = experiment_("tuned")
    assert first.returncode == 0, first.stderr
    table = lab.runs("tuned")
    tuning = table[table["stage"] == "tuning"]
    # The variant with one candidate is not tuned; the other is, with all seeds of tuning.
    assert tuning["name"].tolist() == [
        f"8 learning_rate={rate} seed {seed}" for seed in (100, 101) for rate in ("0.0001", "0.03")
    ]
    assert set(tuning["validation_size"]) == {400}
    verdict = table[table["stage"] == "verdict"]
    assert set(verdict["validation_size"]) == {0}
    assert set(verdict["seed"]) == {0, 1}
    chosen = verdict.groupby("variant")["learning_rate"].first().to_dict()
    assert chosen == {"8": 0.03, "fixed": 0.01}
    means = tuning.groupby("learning_rate")["val_accuracy"].mean()
    assert means[0.03] > means[0.0001]
    assert f"8: learning_rate=0.03 (val_accuracy {means[0.03]:.4f})" in first.stdout
    assert "learning_rate lies at the edge of its candidates" in first.stdout

    # Plant a perfect test accuracy on the loser, and let the experiment choose anew.
    for run_id in tuning[tuning["learning_rate"] == 0.0001]["run_id"]:
        client().log_metric(run_id, "test_accuracy", 1.0, step=2)
    for run_id in verdict["run_id"]:
        client().delete_run(run_id)
    assert set(lab.runs("tuned").query("learning_rate == 0.0001")["test_accuracy"]) == {1.0}
    second = experiment_("tuned")
    assert "8 runs, 4 of them trained now" in second.stdout
    table = lab.runs("tuned")
    verdict = table[(table["stage"] == "verdict") & (table["variant"] == "8")]
    assert set(verdict["learning_rate"]) == {0.03}
    assert set(verdict["tuned"]) == {"learning_rate=0.03"}


def test_nothing_is_chosen_while_runs_of_tuning_are_missing(
    experiment_: Command, experiments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(config: lab.RunConfig, images: int) -> None:
        if config.learning_rate == 3e-2:
            raise MemoryError("others have it")

    (experiments / "tuned.toml").write_text(TUNED)
    with monkeypatch.context() as patch:
        patch.setattr(recording, "check_memory", check)
        done = experiment_("tuned")
    assert done.returncode == 2
    assert "2 of 4 runs of tuning are missing, 8 learning_rate=0.03 seed 100 the" in done.stderr
    assert "2: out of memory: others have it" in done.stderr
    assert set(lab.runs("tuned")["stage"]) == {"tuning"}
    assert [parent.info.status for parent in parents("tuned")] == ["FAILED"]
    done = experiment_("tuned")
    assert done.returncode == 0, done.stderr
    assert "8 runs, 6 of them trained now" in done.stdout
    assert "8: learning_rate=0.03" in done.stdout


@pytest.mark.slow
def test_candidates_can_change_until_a_verdict_rests_on_them(
    experiment_: Command, experiments: Path
) -> None:
    path = experiments / "tuned.toml"
    path.write_text(TUNED)
    assert experiment_("tuned").returncode == 0
    before = on_record("tuned")
    path.write_text(TUNED.replace("3e-2", "1e-2, 3e-2"))
    done = experiment_("tuned")
    assert done.returncode == 2
    assert "variants.8: tune.learning_rate: recorded [0.0001, 0.03], now [0.0001, 0.01, 0.03]" in (
        done.stderr
    )
    path.write_text(TUNED.replace("[100, 101]", "[100]"))
    done = experiment_("tuned")
    assert done.returncode == 2
    assert "variants.8: tuning_seeds: recorded [100, 101], now [100]" in done.stderr
    assert "variants.fixed" not in done.stderr
    assert on_record("tuned") == before
    # Before there is a verdict, a wider grid trains what it adds.
    table = lab.runs("tuned")
    for run_id in table[table["stage"] == "verdict"]["run_id"]:
        client().delete_run(run_id)
    path.write_text(TUNED.replace("3e-2", "1e-2, 3e-2"))
    done = experiment_("tuned")
    assert done.returncode == 0, done.stderr
    assert "10 runs, 6 of them trained now" in done.stdout
