"""Does a long search grow? 500 trials in one process: `python -m benchmarks.growth`.

A study by the lab's own search, every trial with a hidden layer of its own size, so that each is
compiled anew. They are short, an epoch of 2,000 images, since it is building, compiling, recording
and letting go of a net that could leave something behind. Keeps the resident memory after each
trial, and the figure of it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import psutil

import mnist_lab as lab
from benchmarks.compare import RESULTS, write
from benchmarks.drawings import growth
from mnist_lab.data import Dataset
from mnist_lab.declaration import read
from mnist_lab.space import StudyDeclaration

TRIALS = 500
WARM = 50  # trials until the caches of compiled programs are full
STUDY = f"""
title = "Memory"
trials = {TRIALS}
metric = "val_accuracy"
sampler = "random"
pruner = "none"
seed = 0
[config]
epochs = 1
validation_size = 500
batch_size = 100
[search]
hidden = {{ type = "int", low = 16, high = 1024 }}
learning_rate = {{ type = "float", low = 1e-4, high = 1e-2, log = true }}
"""


def few(data: Dataset) -> Dataset:
    """The first 2,000 training and 500 test images."""
    return Dataset(
        train_images=data.train_images[:2000],
        train_labels=data.train_labels[:2000],
        test_images=data.test_images[:500],
        test_labels=data.test_labels[:500],
        name="few",
        source="mnist",
    )


def main() -> None:
    """Run the study in a folder of its own and watch the process."""
    from mnist_lab import search
    from mnist_lab.progress import Progress
    from mnist_lab.tracking import open_store

    process, sizes = psutil.Process(), []

    class Watched(Progress):
        def end(self, runs: int = 1) -> None:
            super().end(runs)
            sizes.append(process.memory_info().rss / 2**20)
            if len(sizes) % 50 == 0:
                print(f"{len(sizes)} trials: {sizes[-1]:.0f} MiB", file=sys.stderr)

    with patch.object(search, "Progress", Watched), tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("mlruns").mkdir()
        Path("growth.toml").write_text(STUDY)
        declaration = read(Path("growth.toml"), StudyDeclaration)
        search.run_study(
            declaration,
            "growth",
            "growth",
            few(lab.load_mnist()),
            open_store(),
            "sqlite:///growth.db",
        )
        os.chdir("/")
    rows = [{"trial": n, "resident_MiB": f"{size:.1f}"} for n, size in enumerate(sizes, 1)]
    write("growth", rows)
    growth(pd.read_csv(RESULTS / "growth.csv", comment="#"))
    print(f"from trial {WARM} to {TRIALS}: {100 * (sizes[-1] / sizes[WARM - 1] - 1):+.1f}%")


if __name__ == "__main__":
    main()
