"""What tuning chooses from the runs on record."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mnist_lab.declaration import read
from mnist_lab.question import ExperimentDeclaration
from mnist_lab.standing import Standing
from tests.questions import TUNED


def standing(declaration: ExperimentDeclaration, rows: list[dict[str, object]]) -> Standing:
    """A standing by planted runs of tuning."""
    columns = {"experiment": "e", "code_digest": "c", "data_sha256": "d", "stage": "tuning"}
    absent = {"failed_by_itself": pd.NA, "reason": pd.NA}
    table = pd.DataFrame([{**columns, **absent, **row} for row in rows])
    table["run_id"] = [str(number) for number in range(len(table))]
    return Standing(declaration, table, "e", "c", "d")


@pytest.mark.parametrize(
    ("accuracies", "chosen", "at_edge"),
    [
        ({1e-4: 0.7, 1e-3: 0.9, 1e-2: 0.8}, 1e-3, False),
        ({1e-4: 0.9, 1e-3: 0.9, 1e-2: 0.9}, 1e-4, True),  # ties: the first
        ({1e-4: 0.7, 1e-3: None, 1e-2: 0.6}, 1e-4, True),  # a failed one cannot be chosen
    ],
)
def test_the_best_mean_validation_accuracy_is_chosen(
    tmp_path: Path, accuracies: dict[float, float | None], chosen: float, at_edge: bool
) -> None:
    (tmp_path / "e.toml").write_text(TUNED.replace("3e-2", "1e-3, 1e-2"))
    declaration = read(tmp_path / "e.toml", ExperimentDeclaration)
    rows: list[dict[str, object]] = [
        {
            "variant": "8",
            "seed": seed,
            "status": "FINISHED" if accuracy is not None else "FAILED",
            "failed_by_itself": True if accuracy is None else pd.NA,
            "val_accuracy": accuracy,
            "test_accuracy": 1 - (accuracy or 0.0),
            "config_digest": declaration.tuning_config(candidate).digest(),
        }
        for candidate in declaration.candidates("8")
        for seed in (100, 101)
        for accuracy in [accuracies[candidate.tuned["learning_rate"]]]
    ]
    choice = standing(declaration, rows).choice("8")
    assert choice.candidate.tuned == {"learning_rate": chosen}
    assert bool(choice.at_edge) == at_edge
    assert len(choice.failed) == sum(accuracy is None for accuracy in accuracies.values())


def test_ties_are_the_first_whatever_the_order_of_the_seeds(tmp_path: Path) -> None:
    text = TUNED.replace("3e-2", "1e-3, 1e-2")
    (tmp_path / "e.toml").write_text(text)
    declaration = read(tmp_path / "e.toml", ExperimentDeclaration)
    accuracies = {1e-4: (0.1, 0.2), 1e-3: (0.7, 0.1), 1e-2: (0.1, 0.7)}
    rows: list[dict[str, object]] = [
        {
            "variant": "8",
            "seed": seed,
            "status": "FINISHED",
            "val_accuracy": accuracy,
            "config_digest": declaration.tuning_config(candidate).digest(),
        }
        for candidate in declaration.candidates("8")
        for seed, accuracy in zip(
            (100, 101),
            accuracies[candidate.tuned["learning_rate"]],
            strict=True,
        )
    ]
    choice = standing(declaration, rows).choice("8")
    assert choice.candidate.tuned == {"learning_rate": 1e-3}
