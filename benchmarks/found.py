"""What the shipped studies found, as the README's table: `python -m benchmarks.found`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchmarks.compare import ROOT
from mnist_lab import wording
from mnist_lab.comparison import IMAGES, compare
from mnist_lab.declaration import read
from mnist_lab.space import StudyDeclaration

STUDIES = ROOT / "studies"
BASELINE = "baseline"


def names() -> list[str]:
    """The studies that have committed results."""
    return sorted(path.stem for path in (STUDIES / "results").glob("*.csv"))


def recorded(name: str) -> pd.DataFrame:
    """The committed results of a study, a row a run."""
    return pd.read_csv(STUDIES / "results" / f"{name}.csv")


def summary() -> str:
    """The README's table: each study with its best configuration and that one's confirmation."""
    lines = [
        "| study | trials | best configuration | test accuracy, n=5 | against the baseline |",
        "|---|---|---|---|---|",
    ]
    for name in names():
        title = read(STUDIES / f"{name}.toml", StudyDeclaration).title
        runs = recorded(name)
        trials = runs[runs["trial"].notna()].drop_duplicates("trial")
        states = trials["state"].value_counts()
        told = ", ".join(f"{count} {wording.state(str(state))}" for state, count in states.items())
        confirmed = runs[runs["stage"] == "confirmation"]
        verdicts = compare(confirmed, baseline=BASELINE)
        best = verdicts.iloc[-1]
        settings = _settings(confirmed[confirmed["variant"] == best["variant"]].iloc[0])
        lines.append(
            f"| `{name}`: {title} | {len(trials)} ({told}) | {settings} | {_mean(best)} "
            f"| {_difference(best)} |"
        )
    return "\n".join(lines)


def _settings(run: pd.Series[Any]) -> str:
    """The fields in which the study's runs differ, of one run."""
    columns = list(run.index)
    fields = columns[columns.index("stage") + 1 : columns.index("status")]
    shown = [(field, run[field]) for field in fields if field != "validation_size"]
    return ", ".join(
        f"{field} {value:.2g}" if isinstance(value, float) else f"{field} {value}"
        for field, value in shown
        if value == value  # NaN: the field is not used
    )


def _mean(row: pd.Series[Any]) -> str:
    return f"{row['mean']:.4f} ± {(row['high'] - row['low']) / 2:.4f}"


def _difference(row: pd.Series[Any]) -> str:
    if row["variant"] == BASELINE:
        return "is the baseline"
    half = IMAGES * (row["difference_high"] - row["difference_low"]) / 2
    return f"{row['verdict']}: {row['images']:+.0f} ± {half:.0f} images"


if __name__ == "__main__":
    print(summary())
