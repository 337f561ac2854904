"""The space of studies/depth.toml: how many hidden layers, and how wide each of them."""

from __future__ import annotations

from mnist_lab.conditional import Trial


def space(trial: Trial) -> dict[str, object]:
    """One to four layers, each of a width of its own: deeper nets have more parameters to search.

    Args:
        trial: as Optuna's, to draw from.
    """
    layers = trial.suggest_int("layers", 1, 4)
    return {
        "hidden": [trial.suggest_int(f"width_{i}", 64, 1024, log=True) for i in range(layers)],
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
    }
