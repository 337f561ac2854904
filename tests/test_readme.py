"""The README does what it says, and its figures are those on record."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from benchmarks import answers, calibration, found, speed
from benchmarks.agreement import PATH, difference, summary
from benchmarks.compare import RESULTS
from mnist_lab.declaration import read
from mnist_lab.space import StudyDeclaration
from mnist_lab.verdict import readable_verdict
from tests.conftest import ROOT, Command

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_python_blocks_run_one_after_the_other(lab_: Command, workspace: Path) -> None:
    (workspace / "studies" / "baseline.toml").write_text(blocks("toml")[0])
    done = lab_("study", "baseline", "--trials", "2", "--epochs", "1", "--confirm", "0")
    assert done.returncode == 0, done.stderr
    names: dict[str, object] = {}
    python = blocks("python")
    assert len(python) >= 3
    for block in python:
        exec(compile(block, "README.md", "exec"), names)


def test_each_table_of_times_has_its_figure() -> None:
    times = {path.stem for path in RESULTS.glob("*.csv") if path.read_text().startswith("#")}
    assert times == {path.stem for path in RESULTS.glob("*.png")}


def test_the_study_shown_is_the_study_shipped() -> None:
    shipped = (ROOT / "studies" / "baseline.toml").read_text()
    assert blocks("toml")[0].strip() == shipped[shipped.index("title") :].strip()


def test_the_trials_shown_are_those_recorded() -> None:
    trials = found.recorded("baseline").dropna(subset="trial").astype({"trial": int})
    best = trials.sort_values("val_accuracy", ascending=False, kind="stable").head(10)
    lines = [line for line in README.splitlines() if re.match(r"\s+\d+\s+(COMPLETE|PRUNED)", line)]
    assert len(lines) == len(best)
    for line, (_, run) in zip(lines, best.iterrows(), strict=True):
        assert line.split()[:2] == [str(run["trial"]), run["state"]]
        assert f"{run['val_accuracy']:.4f}" in line
        assert f"{run['test_accuracy']:.4f}" in line


def test_the_experiment_shown_is_the_one_shipped_and_recorded() -> None:
    shipped = (ROOT / "experiments" / "dropout.toml").read_text()
    assert blocks("toml")[1].strip() == shipped[shipped.index("title") :].strip()
    assert readable_verdict(answers.judged("dropout")) in README


def test_the_answers_shown_are_those_of_the_recorded_runs() -> None:
    assert answers.summary() in README
    assert answers.page() == answers.PAGE.read_text()
    for name in answers.NAMES:
        runs = answers.recorded(name)
        asked = answers.declared(name)
        verdict = runs[runs["stage"] == "verdict"]
        for variant in asked.variants:
            assert set(verdict[verdict["variant"] == variant]["seed"]) == set(asked.seeds)
        assert runs[["config_digest", "git_commit", "seed", "data_sha256"]].notna().all().all()
        assert runs["code_digest"].nunique() == 1
        digests = {
            variant: {candidate.config.digest() for candidate in asked.candidates(variant)}
            for variant in asked.variants
        }
        for _, run in verdict.iterrows():
            assert run["config_digest"] in digests[run["variant"]]


def test_every_experiment_that_ships_has_its_results() -> None:
    shipped = {path.stem for path in (ROOT / "experiments").glob("*.toml")}
    assert shipped == {path.stem for path in (ROOT / "experiments" / "results").glob("*.csv")}
    assert shipped == {*answers.NAMES, "seeds"}


def test_the_calibration_shown_is_the_one_measured() -> None:
    frame = pd.read_csv(RESULTS / "calibration.csv", comment="#")
    assert calibration.summary(frame) in README
    assert calibration.outside(frame) == []
    accuracy = pd.read_csv(ROOT / "experiments" / "results" / "seeds.csv")["test_accuracy"]
    assert len(accuracy) >= 60
    assert f"{accuracy.mean():.4f}" in README
    assert f"{accuracy.std():.4f}" in README


def test_the_agreement_shown_is_the_one_measured() -> None:
    rows = pd.read_csv(PATH)
    assert summary(rows) in README
    assert difference(rows) in " ".join(README.split())


def test_the_speed_shown_is_the_one_measured() -> None:
    for table in (speed.training(), speed.tracking(), speed.peers()):
        assert table in README
    assert speed.page() == speed.PAGE.read_text()


def test_the_studies_shown_are_those_recorded() -> None:
    assert found.summary() in README
    for name in found.names():
        declared = read(found.STUDIES / f"{name}.toml", StudyDeclaration)
        assert found.recorded(name)["trial"].nunique() == declared.trials, name


def test_the_cost_of_variants_shown_is_the_one_measured() -> None:
    assert speed.variants() in " ".join(README.split())


def test_paths_named_exist() -> None:
    for path in re.findall(r"`((?:mnist_lab|studies|benchmarks|tests|docs)/[\w/.]*)`", README):
        assert (ROOT / path).exists(), path
