"""The calibration judges as `compare` does, and `compare` errs as rarely as promised."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import calibration as benchmark
from mnist_lab import calibration
from mnist_lab.calibration import calibrate
from mnist_lab.comparison import compare
from mnist_lab.estimates import ComparisonError
from tests.samples import noise, table


@pytest.mark.parametrize("comparisons", [1, 3])
def test_calibration_judges_as_compare_does(
    comparisons: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, level, repeats = noise(7, 40), 0.4, 30
    drawn: list[np.ndarray] = []
    split = calibration._groups

    def keep(*arguments: object) -> np.ndarray:
        drawn.append(split(*arguments))  # type: ignore[arg-type]
        return drawn[-1]

    monkeypatch.setattr(calibration, "_groups", keep)
    result = calibrate(values, 6, repeats, comparisons, level)
    false, covered = [], []
    for groups in drawn[0]:
        variants = {f"v{i}": sample for i, sample in enumerate(groups[1:])}
        judged = compare(
            table("score", baseline=groups[0], **variants), metric="score", level=level
        )[1:]
        false.append(judged["verdict"].isin(["better", "worse"]).any())
        covered += list((judged["difference_low"] <= 0) & (judged["difference_high"] >= 0))
    assert 0 < sum(false) < repeats
    assert result.false_verdicts == pytest.approx(np.mean(false))
    assert result.difference_coverage == pytest.approx(np.mean(covered))


def test_groups_are_disjoint_and_every_run_gets_into_each() -> None:
    groups = calibration._groups(np.arange(12.0), 4, 3, 200, np.random.default_rng(0))
    assert groups.shape == (200, 3, 4)
    assert (np.sort(groups.reshape(200, 12)) == np.arange(12)).all()
    for group in range(3):
        assert len(np.unique(groups[:, group])) == 12


@pytest.mark.parametrize(("n", "comparisons"), [(5, 1), (10, 1), (20, 1), (10, 5)])
def test_equal_runs_are_told_apart_as_rarely_as_promised(n: int, comparisons: int) -> None:
    result = calibrate(np.round(noise(11, 60), 4), n, 4_000, comparisons)
    assert 0.03 <= result.false_verdicts <= 0.07
    assert 0.93 <= result.difference_coverage <= 0.97
    assert 0.93 <= result.mean_coverage <= 0.97


def test_calibration_repeats_with_its_seed() -> None:
    values = noise(3, 30)
    first, again = (calibrate(values, 5, 500, rng_seed=1) for _ in range(2))
    assert first == again
    assert first != calibrate(values, 5, 500, rng_seed=2)


def test_too_few_runs_for_disjoint_groups_are_refused() -> None:
    with pytest.raises(ComparisonError, match="6 disjoint groups of 10 need 60 finite values"):
        calibrate(noise(1, 59), 10, comparisons=5)
    with pytest.raises(ComparisonError, match="need 10 finite"):
        calibrate([math.nan] * 20, 5)
    with pytest.raises(ComparisonError, match="n = 1"):
        calibrate(noise(1, 59), 1)


# --- benchmarks/calibration.py ---


def test_the_calibration_reads_finished_baseline_runs_only(tmp_path: Path) -> None:
    runs = table(baseline=noise(1, 62), wide=[0.5] * 5)
    runs.loc[3, "status"] = "FAILED"
    runs.to_csv(tmp_path / "seeds.csv", index=False)
    values = benchmark.accuracies(tmp_path / "seeds.csv")
    assert len(values) == 61
    assert values.min() > 0.9


def test_the_calibration_says_what_makes_its_input(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"python -m mnist_lab\.experiment seeds"):
        benchmark.accuracies(tmp_path / "seeds.csv")
    table(baseline=noise(1, 59)).to_csv(tmp_path / "seeds.csv", index=False)
    with pytest.raises(SystemExit, match="59 seeds of the baseline; 60 are needed"):
        benchmark.accuracies(tmp_path / "seeds.csv")
    once = table(baseline=noise(1, 40))
    twice = pd.concat([once, once])
    twice.to_csv(tmp_path / "seeds.csv", index=False)
    with pytest.raises(SystemExit, match="several baseline runs with one seed"):
        benchmark.accuracies(tmp_path / "seeds.csv")


def test_the_calibration_notes_what_lies_outside_its_range() -> None:
    good = {"n": 5, "comparisons": 1, "false_verdicts": 0.05}
    good |= {"difference_coverage": 0.95, "mean_coverage": 0.95}
    frame = pd.DataFrame([good, good | {"n": 10, "false_verdicts": 0.08}])
    assert benchmark.outside(frame[:1]) == []
    assert benchmark.outside(frame) == [
        "n = 10, 1 comparison(s): false_verdicts 0.0800 is not within 0.03 to 0.07"
    ]
    assert benchmark.summary(frame).splitlines()[-1] == "| 10 | 1 | 8.0% | 95.0% | 95.0% |"
