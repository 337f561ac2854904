"""What the shipped experiments found: `python -m benchmarks.answers`.

Writes docs/experiments.md and its figures from experiments/results/*.csv, and prints the README's
table.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import pandas as pd

from benchmarks.compare import ROOT
from mnist_lab.comparison import IMAGES, compare
from mnist_lab.declaration import read
from mnist_lab.figures import differences, save
from mnist_lab.question import ExperimentDeclaration
from mnist_lab.standing import is_edge
from mnist_lab.verdict import readable_verdict

EXPERIMENTS = ROOT / "experiments"
PAGE = ROOT / "docs" / "experiments.md"
NAMES = (
    *("width", "depth", "activations", "optimizers", "batch_size"),
    *("initialization", "normalization", "dropout", "augmentation", "label_smoothing"),
)
_ORDER = ("better", "worse", "equivalent", "inconclusive")


def declared(name: str) -> ExperimentDeclaration:
    """What an experiment asks."""
    return read(EXPERIMENTS / f"{name}.toml", ExperimentDeclaration)


def recorded(name: str) -> pd.DataFrame:
    """The committed results of an experiment, a row a run."""
    return pd.read_csv(EXPERIMENTS / "results" / f"{name}.csv", dtype={"variant": str})


def judged(name: str) -> pd.DataFrame:
    """The verdicts on an experiment's committed results."""
    asked, runs = declared(name), recorded(name)
    margin = None if asked.margin is None else asked.margin / IMAGES
    return compare(runs[runs["stage"] == "verdict"], baseline=asked.baseline, margin=margin)


def summary() -> str:
    """The README's table: each question with its answer in test images of 10,000."""
    lines = ["| question | baseline | answer, against the baseline |", "|---|---|---|"]
    for name in NAMES:
        table = judged(name)
        first = table.iloc[0]
        half = (first["high"] - first["low"]) / 2
        baseline = f"{first['variant']}: {first['mean']:.4f} ± {half:.4f}, n={first['n']}"
        edges = ", ".join(_at_edge(name))
        doubt = f". Tuned to an edge of what was tried, beyond which they may do better: {edges}"
        answer = _answer(table) + (doubt if edges else "")
        lines.append(f"| {declared(name).question} | {baseline} | {answer} |")
    return "\n".join(lines)


def _answer(table: pd.DataFrame) -> str:
    parts = []
    for verdict in _ORDER:
        rows = table[table["verdict"] == verdict].sort_values("images", ascending=False)
        if len(rows):
            parts.append(f"{verdict}: {', '.join(map(_effect, rows.to_dict('records')))}")
    return "; ".join(parts)


def _effect(row: dict[Any, Any]) -> str:
    half = IMAGES * (row["difference_high"] - row["difference_low"]) / 2
    return f"{row['variant']} {row['images']:+.0f} ± {half:.0f}"


def page() -> str:
    """docs/experiments.md: every question, what was expected, and the verdict in full."""
    parts = [
        "# What the experiments found",
        "Each is a file in experiments/, run with `python -m mnist_lab.experiment NAME`; its runs "
        "are in experiments/results/NAME.csv. What was expected was written down before anything "
        "was measured. Made by `python -m benchmarks.answers`.",
    ]
    for name in NAMES:
        asked, table = declared(name), judged(name)
        parts += [
            f"## {asked.title}",
            f"**{asked.question}** Expected: {asked.claim}",
            f"```\n{readable_verdict(table)}\n```",
            *([_tuned(name)] if _tuned(name) else []),
            f"![{asked.title}]({name}.png)",
        ]
    parts += ["## How it is judged", _method()]
    return "\n\n".join(parts) + "\n"


def _method() -> str:
    """How all of them are judged, without what is one's own."""
    methods = set()
    for name in NAMES:
        text = str(judged(name).attrs["method"])
        text = text.replace(
            f"difference to {declared(name).baseline}", "difference to the baseline"
        )
        text = re.sub(r"correction for \d+ variant\(s\)", "correction for all variants", text)
        methods.add(re.sub(r"level ([\d.]+)/\d+", r"level \1 divided by their number", text))
    (method,) = methods
    return method


def _tuned(name: str) -> str:
    """What each variant was given by tuning, or an empty text."""
    runs = recorded(name)
    chosen = runs[(runs["stage"] == "verdict") & runs["tuned"].notna()].groupby(
        "variant", sort=False
    )["tuned"]
    if not len(chosen):
        return ""
    edges = _at_edge(name)
    listed = ", ".join(
        f"{variant}: {values.iloc[0]}"
        + (" (the edge of its candidates: a better one may lie outside)" * (variant in edges))
        for variant, values in chosen
    )
    return f"Tuned on validation images by seeds of their own: {listed}."


def _at_edge(name: str) -> list[str]:
    """The variants that tuning gave the least or the greatest of their candidates."""
    asked, runs = declared(name), recorded(name)
    told = runs[runs["stage"] == "verdict"].groupby("variant", sort=False)["tuned"].first()
    return [
        variant
        for variant in asked.variants
        for candidate in asked.candidates(variant)
        if str(candidate) == told.get(variant)
        and any(
            is_edge(candidate.tuned[key], values) for key, values in asked.grid(variant).items()
        )
    ]


if __name__ == "__main__":
    for experiment in NAMES:
        table = judged(experiment)
        margin = (declared(experiment).margin or 10) / IMAGES
        save(differences(table, margin=margin), PAGE.parent / f"{experiment}.png")
    PAGE.write_text(page())
    print(summary(), file=sys.stdout)
