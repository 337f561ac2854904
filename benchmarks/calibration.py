"""Does the comparison keep its promises? Baseline runs compared with baseline runs, by chance.

`python -m benchmarks.calibration` reads the recorded seeds of the unchanged baseline, splits them
again and again at random into a "baseline" and "variants" that cannot differ, judges them by the
code of `mnist_lab.compare`, writes results/calibration.csv and prints how often it found a
difference and how often its 95% intervals held the truth.

With one comparison 5% of the samples should show a difference. With several, Holm's correction
promises at most 5% in which *any* does; since they share a baseline it keeps a little below that.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.compare import RESULTS, ROOT
from mnist_lab.calibration import calibrate

SEEDS = ROOT / "experiments" / "results" / "seeds.csv"
COMMAND = "python -m mnist_lab.experiment seeds --output experiments/results/seeds.csv"
PATH = RESULTS / "calibration.csv"
RUNS = 60  # fewer are no fair stand-in for all seeds, and six groups of 10 need as many
DESIGNS = ((5, 1), (10, 1), (20, 1), (10, 5))  # seeds a variant, variants compared

# What is asked of each share, at level 0.05.
RANGES = {
    "false_verdicts": (0.03, 0.07),
    "difference_coverage": (0.93, 0.97),
    "mean_coverage": (0.93, 0.97),
}
_HEADS = {
    "false_verdicts": 'false "better" or "worse"',
    "difference_coverage": "interval of the difference holds 0",
    "mean_coverage": "interval of the mean holds the mean",
}


def accuracies(path: Path = SEEDS) -> npt.NDArray[np.float64]:
    """Test accuracies of the finished baseline runs, (runs,), one a seed.

    Raises:
        SystemExit: no such file, too few runs in it, or a seed repeated.
    """
    if not path.exists():
        sys.exit(f"{path} is not there; this makes it: {COMMAND}")
    table = pd.read_csv(path, comment="#")
    runs = table[(table["variant"] == "baseline") & (table["status"] == "FINISHED")]
    if runs["seed"].duplicated().any():
        sys.exit(f"{path} has several baseline runs with one seed; they are no independent runs")
    values = runs["test_accuracy"].dropna()
    print(f"{len(table)} runs in {path.name}, {len(values)} of the baseline with a test accuracy")
    if len(values) < RUNS:
        sys.exit(f"{path} has {len(values)} seeds of the baseline; {RUNS} are needed: {COMMAND}")
    return values.to_numpy(dtype=np.float64)


def outside(frame: pd.DataFrame) -> list[str]:
    """In words, each share that lies outside its range."""
    return [
        f"n = {row['n']}, {row['comparisons']} comparison(s): {name} {row[name]:.4f} is not within "
        f"{low} to {high}"
        for row in frame.to_dict("records")
        for name, (low, high) in RANGES.items()
        if not low <= row[name] <= high
    ]


def summary(frame: pd.DataFrame) -> str:
    """The README's table: a line a design, the shares in percent."""
    heads = ["seeds a variant", "variants compared", *_HEADS.values()]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in frame.to_dict("records"):
        shares = [f"{100 * row[name]:.1f}%" for name in _HEADS]
        lines.append(f"| {row['n']} | {row['comparisons']} | {' | '.join(shares)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    values = accuracies()
    results = [calibrate(values, n, comparisons=comparisons) for n, comparisons in DESIGNS]
    frame = pd.DataFrame([asdict(result) for result in results])
    RESULTS.mkdir(exist_ok=True)
    frame.to_csv(PATH, index=False)
    print(frame.to_string(index=False), summary(frame), sep="\n\n")
    print("", *(outside(frame) or ["All shares lie within their ranges."]), sep="\n")
