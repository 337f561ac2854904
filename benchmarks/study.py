"""A search by the lab beside the documented way: `python -m benchmarks.study`.

The peer is what the documentation of Optuna, Keras and MLflow gives when put together: a seeded
TPE study whose objective builds a Keras model, trains it by `fit` with validation data under
`mlflow.tensorflow.autolog()` and within a nested run, in MLflow's default store. The lab is its
command, with its pruner and its records as always. Both have the space, the trials, the epochs,
the sampler, its seed and the first trial of studies/baseline.toml; each study is a fresh process in
a folder of its own, and its clock starts with the command. All of it takes two hours.

The table has, for each accuracy on validation, how long each took until a trial had it. This
depends on the luck of the sampler as well as on speed: the searches of one seed go different ways
as soon as two trainings differ. So does the time of a trial: on the sizes that were drawn, and with
the lab on how many were pruned, which the documented way does not do. What a trial takes that went
to its end is in the table as well.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import optuna
import pandas as pd

from benchmarks.compare import RESULTS, ROOT, write
from mnist_lab.declaration import read
from mnist_lab.provenance import code_digest
from mnist_lab.space import StudyDeclaration

TRIALS = read(ROOT / "studies" / "baseline.toml", StudyDeclaration).trials
SEEDS = range(5)
LADDER = (0.974, 0.976, 0.977, 0.978, 0.979, 0.98)
POINTS = RESULTS / "study_trials.csv"
# Of this version of the trainer, and of so many trials.
UNFINISHED = RESULTS / f".study_trials.{code_digest()}.{TRIALS}.csv"
STORAGE = "sqlite:///optuna.db"


def documented(seed: int) -> None:
    """Optuna, Keras and MLflow, put together as each documents it."""
    import keras
    import mlflow

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
            return float(history.history["val_accuracy"][-1])

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), storage=STORAGE
    )
    study.enqueue_trial({"hidden": 512, "batch_size": 128, "learning_rate": 1e-3})
    with mlflow.start_run(run_name="study"):
        study.optimize(objective, n_trials=TRIALS)


def command(way: str, seed: int) -> list[str]:
    """The command of a study, for a folder with a copy of studies/baseline.toml."""
    if way == "documented":
        return [sys.executable, "-m", "benchmarks.study", "documented", str(seed)]
    study = ["-m", "mnist_lab.study", "baseline.toml", "--storage", STORAGE, "--confirm", "0"]
    return [sys.executable, *study, "--trials", str(TRIALS), "--seed", str(seed)]


def points(way: str, seed: int) -> pd.DataFrame:
    """Run a study: seconds since the command and accuracy at the end of each trial.

    The last row, without a trial, is the end of the command.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mlruns").mkdir()
        shutil.copy(ROOT / "studies" / "baseline.toml", folder)
        began, clock = datetime.now(), time.perf_counter()
        done = subprocess.run(
            command(way, seed), cwd=folder, env=environment, capture_output=True, text=True
        )
        total = time.perf_counter() - clock
        if done.returncode:
            sys.exit(done.stderr)
        storage = STORAGE.replace("///", f"///{folder}/")
        (name,) = optuna.get_all_study_names(storage)
        trials = optuna.load_study(study_name=name, storage=storage).trials
    rows = [
        {"trial": trial.number, "state": trial.state.name}
        | {"seconds": (trial.datetime_complete - began).total_seconds()}
        # Of 10,000 images; Keras gives a float32, which lies a little beside 0.978.
        | {"val_accuracy": round(trial.value or max(trial.intermediate_values.values()), 4)}
        for trial in trials
        if trial.datetime_complete is not None
    ]
    end = {"trial": None, "state": "END", "seconds": total, "val_accuracy": None}
    return pd.DataFrame([*rows, end]).astype({"trial": "Int64"}).assign(way=way, seed=seed)


def measures(study: pd.DataFrame) -> dict[str, float]:
    """What is compared: seconds to each accuracy (NaN if never reached), of a trial, of all."""
    trials = study[study["state"] != "END"]
    until = {
        f"until {accuracy}": trials.loc[trials["val_accuracy"] >= accuracy, "seconds"].min()
        for accuracy in LADDER
    }
    later = trials["seconds"].diff().dropna()  # without the start, and the first trial
    ended = later[trials["state"] == "COMPLETE"]
    return {
        **until,
        "a trial": later.mean(),
        "a trial that was not pruned": ended.mean(),
        "after the last trial": study["seconds"].max() - trials["seconds"].max(),
        "whole command": study["seconds"].max(),
    }


def table(studies: pd.DataFrame) -> list[dict[str, object]]:
    """A row a measure and seed, and one of the medians over seeds."""
    rows: list[dict[str, object]] = []
    by_seed = {
        seed: {way: measures(study) for way, study in both.groupby("way")}
        for seed, both in studies.groupby("seed")
    }
    for measure in next(iter(by_seed.values()))["mnist_lab"]:
        ratios = []
        for seed, ways in by_seed.items():
            ours, theirs = ways["mnist_lab"][measure], ways["documented"][measure]
            ratios.append(ours / theirs)
            row: dict[str, object] = {"measure": measure, "seed": str(seed)}
            row |= {"mnist_lab_s": _seconds(ours), "documented_s": _seconds(theirs)}
            rows.append(row | {"ratio": f"{ratios[-1]:.3f}" if ratios[-1] == ratios[-1] else ""})
        both = [ratio for ratio in ratios if ratio == ratio]
        whole = len(both) == len(ratios)
        median = (
            f"{statistics.median(both):.3f}" if whole else f"both in {len(both)} of {len(ratios)}"
        )
        rows.append({"measure": measure, "seed": "median", "ratio": median})
    return rows


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value == value else "not reached"


def main() -> None:
    """Run all studies in turn and keep what they came to; go on where it was interrupted."""
    from benchmarks.drawings import best_so_far

    studies = [pd.read_csv(UNFINISHED).astype({"trial": "Int64"})] if UNFINISHED.exists() else []
    done = {seed for study in studies for seed in study["seed"]}
    for seed in SEEDS:
        if seed in done:
            continue
        for way in ("documented", "mnist_lab"):
            studies.append(points(way, seed))
            print(f"{way}, seed {seed}: {studies[-1]['seconds'].max():.0f} s", file=sys.stderr)
        pd.concat(studies).to_csv(UNFINISHED, index=False, float_format="%.4f")
    frame = pd.concat(studies)
    frame.to_csv(POINTS, index=False, float_format="%.4f")
    write("study", table(frame))
    best_so_far(frame[frame["state"] != "END"])
    UNFINISHED.unlink()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        documented(int(sys.argv[2]))
    else:
        main()
