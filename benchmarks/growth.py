"""Does a long search grow? 500 trials in one process: `python -m benchmarks.growth`.

A study by the lab's command, nearly every trial with a width of its own, so that each is compiled
anew. They are short, an epoch of 2,000 images, since it is building, compiling, recording and
letting go of a net that could leave something behind. Keeps the resident memory of the process
over the trials done, and the figure of it.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

import mnist_lab as lab
from benchmarks import drawings, speed
from benchmarks.compare import RESULTS, ROOT, write

TRIALS = 500
STUDY = f"""
title = "Memory"
trials = {TRIALS}
metric = "val_accuracy"
sampler = "random"
pruner = "none"
[config]
epochs = 1
validation_size = 500
batch_size = 100
[search]
hidden = {{ type = "int", low = 16, high = 1024 }}
learning_rate = {{ type = "float", low = 1e-4, high = 1e-2, log = true }}
"""


def few_images(path: Path) -> None:
    """Write the first 2,000 training and 500 test images."""
    data = lab.load_mnist()
    arrays = {"x_train": data.train_images[:2000], "y_train": data.train_labels[:2000]}
    arrays |= {"x_test": data.test_images[:500], "y_test": data.test_labels[:500]}
    np.savez(path, allow_pickle=False, **arrays)


def trials_done(storage: Path) -> int:
    """How many trials are complete; 0 before there are any. Read without a touch to the storage."""
    try:
        with closing(sqlite3.connect(f"file:{storage}?mode=ro", uri=True)) as database:
            query = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
            return int(database.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


def watched(folder: Path) -> list[dict[str, object]]:
    """Run the study in a folder and look at its process every few seconds."""
    (folder / "mlruns").mkdir()
    (folder / "memory.toml").write_text(STUDY)
    few_images(folder / "few.npz")
    command = ["-m", "mnist_lab.study", "memory.toml", "--data", "few.npz", "--confirm", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment)
    rows: list[dict[str, object]] = []
    while process.poll() is None:
        time.sleep(5)
        try:
            size = psutil.Process(process.pid).memory_info().rss / 2**20
            done = trials_done(folder / "memory.db")
            if done and size:  # a process that has ended has none
                rows.append({"trials": done, "resident_MiB": f"{size:.1f}"})
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            break
    if process.wait() or trials_done(folder / "memory.db") < TRIALS:
        sys.exit("the study that was watched did not come to its end")
    return rows


def main() -> None:
    """Run the study and tell how much its process grew once it was warm."""
    with tempfile.TemporaryDirectory() as folder:
        write("growth", watched(Path(folder)))
    drawings.growth(pd.read_csv(RESULTS / "growth.csv", comment="#"))
    print("from {grown_from} to {grown_to} MiB: {grown}% more".format(**speed.growth()))


if __name__ == "__main__":
    main()
