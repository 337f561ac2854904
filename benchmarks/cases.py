"""The cases that are timed, each run alone in a fresh process: `python -m benchmarks.cases CASE`.

Peers are written as their own documentation writes them. Imports, reading the digits and the
making of an empty store are done before the clock starts; compiling is not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

import mnist_lab as lab
from mnist_lab.backend import keras
from mnist_lab.data import MNIST


def notebook_model(**compile_options: Any) -> keras.Model:
    """Listing 2.1 of Deep Learning with Python."""
    model = keras.Sequential(
        [
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer="rmsprop",
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **compile_options,
    )
    return model


def load() -> Any:
    """What `keras.datasets.mnist.load_data` gives, without its download."""
    with np.load(MNIST) as digits:
        return (
            (digits["x_train"], digits["y_train"]),
            (digits["x_test"], digits["y_test"]),
        )


def fit(tracked: bool = False, **compile_options: Any) -> Callable[[], None]:
    """The notebook's own script."""
    (train_images, train_labels), (test_images, test_labels) = load()

    def run() -> None:
        context: AbstractContextManager[Any] = nullcontext()
        if tracked:
            import mlflow

            context = mlflow.start_run()
        with context:
            x = train_images.reshape((60000, 28 * 28)).astype("float32") / 255
            model = notebook_model(**compile_options)
            model.fit(x, train_labels, epochs=5, batch_size=128, verbose=0)
            if tracked:
                x_test = test_images.reshape((10000, 28 * 28)).astype("float32") / 255
                model.evaluate(x_test, test_labels, verbose=0)

    return run


def autolog() -> Callable[[], None]:
    """The notebook's script under `mlflow.tensorflow.autolog` with its defaults."""
    import mlflow

    mlflow.set_experiment("bench")
    mlflow.tensorflow.autolog()
    return fit(tracked=True)


def train() -> Callable[[], None]:
    """The lab's training of the baseline, untracked."""
    data = lab.load_mnist()

    def run() -> None:
        for _ in lab.train(lab.RunConfig(), data, seed=0):
            pass

    return run


def tracked() -> Callable[[], None]:
    """The lab's training of the baseline with all that a run records."""
    from mnist_lab.tracking import open_store
    from mnist_lab.training import threads

    data = lab.load_mnist()
    store = open_store()
    experiment = store.experiment("bench")

    def run() -> None:
        with store.run(experiment, "baseline", tags={"kind": "training"}) as record:
            training = lab.train(lab.RunConfig(), data, seed=0)
            record.log_start(training.config, 0, threads(), data, training.parameters)
            for epoch in training:
                record.log_epoch(epoch)
            record.log_result(*training.test(), training.model())

    return run


CASES: dict[str, Callable[[], Callable[[], None]]] = {
    "fit": fit,
    "fit, steps_per_execution=32": lambda: fit(steps_per_execution=32),
    "fit, jit_compile=True": lambda: fit(jit_compile=True),
    "fit under autolog": autolog,
    "train": train,
    "tracked run": tracked,
}


def main() -> None:
    """Time one case in a folder of its own and print its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("mlruns").mkdir()
        run = CASES[sys.argv[1]]()
        began = time.perf_counter()
        run()
        print(time.perf_counter() - began)
        os.chdir("/")


if __name__ == "__main__":
    main()
