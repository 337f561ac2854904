"""Times cases in turn, A B A B …, each in a fresh process, and gives the ratios of a round."""

from __future__ import annotations

import csv
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_lab import provenance

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent


def seconds(command: Sequence[str]) -> float:
    """What a command prints last: its own measure, in seconds."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def compare(name: str, cases: dict[str, Sequence[str]], against: str, repeats: int = 5) -> None:
    """Time all cases `repeats` times in turn; print and keep medians and ratios to `against`."""
    measured: dict[str, list[float]] = {case: [] for case in cases}
    for round_number in range(repeats + 1):
        for case, command in cases.items():
            value = seconds(command)
            if round_number > 0:  # the first round fills the disk's cache
                measured[case].append(value)
        print(f"round {round_number} of {repeats} done", file=sys.stderr)
    rows: list[dict[str, object]] = []
    for case, values in measured.items():
        ratios = [value / peer for value, peer in zip(values, measured[against], strict=True)]
        rows.append(
            {
                "case": case,
                "n": repeats,
                "median_s": f"{statistics.median(values):.3f}",
                "min_s": f"{min(values):.3f}",
                "max_s": f"{max(values):.3f}",
                f"ratio to {against}": f"{statistics.median(ratios):.3f}",
                "ratio_min": f"{min(ratios):.3f}",
                "ratio_max": f"{max(ratios):.3f}",
            }
        )
    write(name, rows)


def write(name: str, rows: list[dict[str, object]]) -> None:
    """Keep a table in results/NAME.csv, under two lines on machine and versions; print it."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="") as stream:
        machine = provenance.environment()
        versions = ", ".join(f"{p} {machine[f'version.{p}']}" for p in provenance.PACKAGES)
        stream.write(f"# {machine['cpu']}, {machine['cores']} cores, {platform.platform()}\n")
        stream.write(f"# Python {machine['python']}, {versions}\n")
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print((RESULTS / f"{name}.csv").read_text())


def case(name: str) -> list[str]:
    """The command that times one of benchmarks/cases.py."""
    return [sys.executable, "-m", "benchmarks.cases", name]
