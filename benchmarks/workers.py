"""Trials an hour, in process and by 1, 2 and 4 workers: `python -m benchmarks.workers`.

A study trains one configuration again and again, so that every trial is as long as the others. Its
throughput is that of the trials after the first one of each worker, which compiles: the time to
start workers is in the seconds of the whole command.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

import mnist_lab as lab
from benchmarks.compare import ROOT, write
from mnist_lab.tracking import open_store

REPEATS = 5
TRIALS = 16
TEAMS = {
    "in process": (),
    "1 worker": ("--workers=1",),
    "2 workers": ("--workers=2",),
    "4 workers": ("--workers=4",),
}
NETS = {
    "baseline": "hidden = 512\nbatch_size = 128\nepochs = 2",
    "hidden 64, batch 32": "hidden = 64\nbatch_size = 32\nepochs = 2",
}
STUDY = """
trials = {trials}
sampler = "random"
pruner = "none"
[config]
validation_size = 10_000
{net}
[search]
learning_rate = {{ type = "float", low = 0.0009, high = 0.0011 }}
"""


def measure(net: str, options: tuple[str, ...]) -> tuple[float, float]:
    """Trials an hour once all workers are at work, and the seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "s.toml").write_text(STUDY.format(trials=TRIALS, net=NETS[net]))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "mnist_lab.study", "s.toml", "--confirm=0", *options],
            cwd=path,
            env=environment,
            check=True,
            capture_output=True,
        )
        seconds = time.perf_counter() - began
        store = open_store(create=False, uri=f"sqlite:///{path / 'mlflow.db'}")
        workers = int(options[0].partition("=")[2]) if options else 1
        return _rate(lab.runs("s", store), workers), seconds


def _rate(runs: pd.DataFrame, workers: int) -> float:
    ends = runs["end_time"].sort_values().reset_index(drop=True)
    # The last trials leave workers idle: what counts is the time while all of them had work, and,
    # since workers that begin together end together, as many trials of each.
    first, last = workers - 1, len(ends) - workers - 1
    return float(3600 * (last - first) / (ends[last] - ends[first]).total_seconds())


def main() -> None:
    """Measure all teams in turn, for each net."""
    measured: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(REPEATS):
        for net in NETS:
            for team, options in TEAMS.items():
                measured.setdefault((net, team), []).append(measure(net, options))
                print(f"round {number + 1}: {net}, {team}", file=sys.stderr)
    rows: list[dict[str, object]] = []
    for (net, team), values in measured.items():
        rates = [rate for rate, _ in values]
        base = [rate for rate, _ in measured[net, "in process"]]
        ratios = [rate / other for rate, other in zip(rates, base, strict=True)]
        rows.append(
            {
                "net": net,
                "team": team,
                "n": REPEATS,
                "trials": TRIALS,
                "trials_an_hour": f"{statistics.median(rates):.0f}",
                "ratio": f"{statistics.median(ratios):.2f}",
                "ratio_min": f"{min(ratios):.2f}",
                "ratio_max": f"{max(ratios):.2f}",
                "command_s": f"{statistics.median(seconds for _, seconds in values):.1f}",
            }
        )
    write("workers", rows, threads="shared by the workers")


if __name__ == "__main__":
    main()
