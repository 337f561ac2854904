"""A search by the lab beside the documented way: `python -m benchmarks.study`.

The peer is what the documentation of Optuna, Keras and MLflow gives when put together: a seeded
TPE study whose objective builds a Keras model, trains it by `fit` with validation data under
`mlflow.tensorflow.autolog()` and within a nested run, in MLflow's default store. The lab is its
own search with its pruner, tracked as always. Both have the space, the epochs, the sampler, its
seed and the first trial of studies/baseline.toml, and a fresh process for each study.

The table has, for each accuracy on validation, how long each took until a trial had it. This
depends on the luck of the sampler as well as on speed: the searches of one seed go different ways
as soon as two trainings differ. The time of a trial does not, and is in the table too.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.compare import RESULTS, ROOT, write
from benchmarks.processes import last_line

TRIALS = 12
SEEDS = (0, 1, 2)
LADDER = (0.974, 0.976, 0.977, 0.978, 0.979)
POINTS = RESULTS / "study_trials.csv"

Report = Callable[[float], None]  # takes the validation accuracy of a trial that has ended


def documented(seed: int, report: Report) -> None:
    """Optuna, Keras and MLflow, put together as each documents it."""
    import keras
    import mlflow
    import optuna

    from benchmarks.cases import load, scaled

    (images, labels), _ = load()
    x, y = scaled(images[:50_000]), labels[:50_000]
    x_val, y_val = scaled(images[50_000:]), labels[50_000:]
    mlflow.set_experiment("study")
    mlflow.tensorflow.autolog()

    def objective(trial: optuna.Trial) -> float:
        with mlflow.start_run(nested=True, run_name=f"trial {trial.number}"):
            hidden = trial.suggest_int("hidden", 32, 1024, log=True)
            batch_size = trial.suggest_categorical("batch_size", [64, 128, 256, 512])
            learning_rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
            model = keras.Sequential(
                [
                    keras.layers.Dense(hidden, activation="relu"),
                    keras.layers.Dense(10, activation="softmax"),
                ]
            )
            model.compile(
                optimizer=keras.optimizers.RMSprop(learning_rate),
                loss="sparse_categorical_crossentropy",
                metrics=["accuracy"],
            )
            history = model.fit(
                x,
                y,
                validation_data=(x_val, y_val),
                epochs=5,
                batch_size=batch_size,
                verbose=0,
            )
            accuracy = float(history.history["val_accuracy"][-1])
        report(accuracy)
        return accuracy

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({"hidden": 512, "batch_size": 128, "learning_rate": 1e-3})
    with mlflow.start_run(run_name="study"):
        study.optimize(objective, n_trials=TRIALS)


def ours(seed: int, report: Report) -> None:
    """The lab's search, as `python -m mnist_lab.study baseline --confirm 0` runs it."""
    from unittest.mock import patch

    import mnist_lab as lab
    from mnist_lab import search
    from mnist_lab.declaration import read
    from mnist_lab.progress import Progress
    from mnist_lab.space import StudyDeclaration
    from mnist_lab.tracking import open_store

    class Watched(Progress):
        accuracy = 0.0

        def epoch(self, epoch: lab.Epoch) -> None:
            super().epoch(epoch)
            self.accuracy = epoch.val_accuracy

        def end(self, runs: int = 1) -> None:
            super().end(runs)
            report(self.accuracy)

    declaration = read(ROOT / "studies" / "baseline.toml", StudyDeclaration)
    declaration = declaration.model_copy(update={"trials": TRIALS, "seed": seed})
    with patch.object(search, "Progress", Watched):
        search.run_study(
            declaration, "study", "study", lab.load_mnist(), open_store(), "sqlite:///study.db"
        )


WAYS: dict[str, Callable[[int, Report], None]] = {"documented": documented, "mnist_lab": ours}


def one(way: str, seed: int) -> dict[str, Any]:
    """Run a study in a folder of its own: seconds and accuracy at the end of each trial.

    The clock starts before the imports, as it does for the user; `total` includes all that comes
    after the last trial.
    """
    began = time.perf_counter()
    points: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("mlruns").mkdir()
        WAYS[way](seed, lambda accuracy: points.append((time.perf_counter() - began, accuracy)))
        os.chdir("/")
    return {"points": points, "total": time.perf_counter() - began}


def reached(points: pd.DataFrame, accuracy: float) -> float:
    """Seconds until a trial had that accuracy; NaN if none had."""
    times = points.loc[points["val_accuracy"] >= accuracy, "seconds"]
    return float(times.min()) if len(times) else float("nan")


def table(points: pd.DataFrame, totals: dict[tuple[str, int], float]) -> list[dict[str, object]]:
    """A row a seed and measure: seconds of both ways, and their ratio."""
    rows: list[dict[str, object]] = []
    for seed in SEEDS:
        one_seed = points[points["seed"] == seed]
        by_way = {way: one_seed[one_seed["way"] == way] for way in WAYS}
        measures = {
            f"until {accuracy}": {way: reached(p, accuracy) for way, p in by_way.items()}
            for accuracy in LADDER
        }
        measures["a trial"] = {
            way: statistics.fmean(p["seconds"].diff().dropna()) for way, p in by_way.items()
        }
        measures["whole study"] = {way: totals[way, seed] for way in WAYS}
        for measure, seconds in measures.items():
            rows.append(
                {"seed": seed, "measure": measure}
                | {f"{way}_s": f"{value:.2f}" for way, value in seconds.items()}
                | {"ratio": f"{seconds['mnist_lab'] / seconds['documented']:.3f}"}
            )
    return rows


def main() -> None:
    """Run all studies in turn and keep what they came to."""
    points, totals = [], {}
    for seed in SEEDS:
        for way in WAYS:
            done = json.loads(last_line("benchmarks.study", way, str(seed)))
            totals[way, seed] = done["total"]
            points += [
                {"way": way, "seed": seed, "trial": n, "seconds": s, "val_accuracy": accuracy}
                for n, (s, accuracy) in enumerate(done["points"])
            ]
            print(f"{way}, seed {seed}: {done['total']:.0f} s", file=sys.stderr)
    frame = pd.DataFrame(points)
    frame.to_csv(POINTS, index=False, float_format="%.4f")
    write("study", table(frame, totals))
    from benchmarks.drawings import best_so_far

    best_so_far(frame)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
