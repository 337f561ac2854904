"""Times cases in turn, A B A B …, each in a fresh process, and gives the ratios of a round."""

from __future__ import annotations

import csv
import io
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mnist_lab import provenance

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def measured(command: Sequence[str]) -> float:
    """What a command prints last: its own measure."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def compare(
    name: str,
    cases: dict[str, Sequence[str]],
    against: str,
    repeats: int = 5,
    unit: str = "s",
    more: str = "",
) -> None:
    """Measure all cases `repeats` times in turn; print and keep medians and ratios to `against`.

    Args:
        name: of the table in results/.
        cases: the command of each case; it prints its measure last.
        against: the case whose measure of the same round all are divided by.
        repeats: rounds that count; one before them fills the disk's cache.
        unit: of the measure.
        more: versions to be named besides our own.
    """
    compare_all({name: (list(cases), against)}, cases, repeats, unit, more)


def compare_all(
    tables: Mapping[str, tuple[Sequence[str], str]],
    cases: Mapping[str, Sequence[str]],
    repeats: int = 5,
    unit: str = "s",
    more: str = "",
) -> None:
    """As `compare`, for several tables of cases that are measured side by side.

    Args:
        tables: by the name in results/: the cases of a table, and which of them is compared with.
        cases: as for `compare`.
        repeats: likewise.
        unit: likewise.
        more: likewise.
    """
    values: dict[str, list[float]] = {case: [] for case in cases}
    for round_number in range(repeats + 1):
        for case, command in cases.items():
            value = measured(command)
            if round_number > 0:
                values[case].append(value)
        print(f"round {round_number} of {repeats} done", file=sys.stderr)
    for name, (shown, against) in tables.items():
        rows = [
            {"case": case}
            | spread(values[case], unit)
            | ratios(values[case], values[against], f"ratio to {against}")
            for case in shown
        ]
        write(name, rows, more)


def spread(values: Sequence[float], unit: str) -> dict[str, object]:
    """Cells of a table: how many there are, their median and their range."""
    return {
        "n": len(values),
        f"median_{unit}": f"{statistics.median(values):.3f}",
        f"min_{unit}": f"{min(values):.3f}",
        f"max_{unit}": f"{max(values):.3f}",
    }


def ratios(values: Sequence[float], peers: Sequence[float], name: str) -> dict[str, object]:
    """Cells of a table: median and range of the ratios of values measured side by side."""
    divided = [value / peer for value, peer in zip(values, peers, strict=True)]
    return {
        name: f"{statistics.median(divided):.3f}",
        "ratio_min": f"{min(divided):.3f}",
        "ratio_max": f"{max(divided):.3f}",
    }


def write(
    name: str, rows: Sequence[Mapping[str, object]], more: str = "", threads: str = ""
) -> None:
    """Keep a table in results/NAME.csv, under two lines on machine and versions; print and draw it.

    Args:
        name: of the table.
        rows: of the table.
        more: versions to be named besides our own.
        threads: in how many a process computes, where it is not the same in all rows.
    """
    # Only who draws pays for the import of matplotlib.
    from benchmarks.drawings import draw

    machine = provenance.environment()
    versions = ", ".join(f"{p} {machine[f'version.{p}']}" for p in provenance.PACKAGES)
    versions = versions.replace("mnist_lab", f"trainer {provenance.code_digest()} of mnist_lab", 1)
    text = io.StringIO()
    text.write(f"# {machine['cpu']}, {machine['cores']} cores, {threads or _threads()}, ")
    text.write(f"{platform.system()}\n")
    text.write(f"# Python {machine['python']}, {versions}{more and ', ' + more}\n")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.csv").write_text(text.getvalue())
    print(text.getvalue())
    draw(name)


def _threads() -> str:
    """How many threads libraries compute in: as many as there are cores, unless they are told."""
    told = [f"{name}={os.environ[name]}" for name in _THREADS if name in os.environ]
    return " ".join(told) or "a thread on each"


def case(name: str, net: str = "baseline") -> list[str]:
    """The command that times one of benchmarks/cases.py."""
    return [sys.executable, "-m", "benchmarks.cases", name, net]
