"""The cases that are timed, each alone in a fresh process: `python -m benchmarks.cases CASE NET`.

Peers are written as their own documentation writes them. Imports, reading the digits and the
making of an empty store are done before the clock starts; compiling is not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mnist_lab as lab
from benchmarks.nets import NETS, Net
from mnist_lab.data import MNIST

if TYPE_CHECKING:
    import keras

Case = Callable[[Net], Callable[[], None]]


def notebook_model(net: Net = NETS["baseline"], **compile_options: Any) -> keras.Model:
    """Listings 2.2 and 2.3 of Deep Learning with Python, with the widths of a net."""
    import keras

    model = keras.Sequential(
        [
            *(keras.layers.Dense(units, activation="relu") for units in net.hidden),
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


def scaled(images: np.ndarray) -> np.ndarray:
    """Listing 2.4: (n, 28, 28) uint8 to (n, 784) float32 in [0, 1]."""
    return images.reshape((len(images), 28 * 28)).astype("float32") / 255


def fit(net: Net, **compile_options: Any) -> Callable[[], None]:
    """The notebook's own script."""
    (train_images, train_labels), _ = load()

    def run() -> None:
        model = notebook_model(net, **compile_options)
        model.fit(
            scaled(train_images), train_labels, epochs=5, batch_size=net.batch_size, verbose=0
        )

    return run


def script(net: Net) -> Callable[[], None]:
    """The notebook's own script to its end: the test images too."""
    (train_images, train_labels), (test_images, test_labels) = load()

    def run() -> None:
        x, x_test = scaled(train_images), scaled(test_images)
        model = notebook_model(net)
        model.fit(x, train_labels, epochs=5, batch_size=net.batch_size, verbose=0)
        model.evaluate(x_test, test_labels, verbose=0)

    return run


def _in_a_run(
    net: Net, callbacks: Callable[[], list[Any]], after: Callable[[Any, Any], None]
) -> Callable[[], None]:
    """The notebook's script within an MLflow run, up to the test images."""
    import mlflow

    (train_images, train_labels), (test_images, test_labels) = load()

    def run() -> None:
        with mlflow.start_run():
            x, x_test = scaled(train_images), scaled(test_images)
            model = notebook_model(net)
            model.fit(
                x,
                train_labels,
                epochs=5,
                batch_size=net.batch_size,
                verbose=0,
                callbacks=callbacks(),
            )
            after(model, model.evaluate(x_test, test_labels, verbose=0))

    return run


def autolog(net: Net) -> Callable[[], None]:
    """The notebook's script under `mlflow.tensorflow.autolog` with its defaults."""
    import mlflow
    import mlflow.keras
    import mlflow.tensorflow

    mlflow.set_experiment("bench")
    mlflow.tensorflow.autolog()
    return _in_a_run(net, list, lambda model, measured: None)


def callback(net: Net) -> Callable[[], None]:
    """The notebook's script with MLflow's callback for Keras, and the model logged by hand."""
    import mlflow
    import mlflow.keras

    mlflow.set_experiment("bench")

    def after(model: keras.Model, measured: list[float]) -> None:
        mlflow.log_metrics({"test_loss": measured[0], "test_accuracy": measured[1]})
        mlflow.keras.log_model(model, name="model")

    return _in_a_run(net, lambda: [mlflow.keras.MlflowCallback()], after)


def train(net: Net, test: bool = False) -> Callable[[], None]:
    """The lab's training, untracked; with the test images after it, where it says so."""
    data = lab.load_mnist()

    def run() -> None:
        training = lab.train(net.config(), data, seed=0)
        for _ in training:
            pass
        if test:
            training.test()

    return run


def tracked(net: Net) -> Callable[[], None]:
    """The lab's training with all that a run records, as studies and experiments run it."""
    from mnist_lab.progress import Progress
    from mnist_lab.recording import record
    from mnist_lab.tracking import open_store

    data = lab.load_mnist()
    store = open_store()
    experiment = store.experiment("bench")

    def run() -> None:
        with (
            Progress("runs", 1) as progress,
            store.run(experiment, "baseline", tags={"kind": "training"}) as recorded,
        ):
            record(net.config(), data, 0, recorded, progress)

    return run


PEERS: dict[str, Case] = {
    "fit": fit,
    "fit, steps_per_execution=32": partial(fit, steps_per_execution=32),
    "fit, jit_compile=True": partial(fit, jit_compile=True),
    "fit and evaluate": script,
    "fit under autolog": autolog,
    "fit with MlflowCallback and log_model": callback,
}
OURS: dict[str, Case] = {
    "train": train,
    "train and test": partial(train, test=True),
    "tracked run": tracked,
}
RECORDED = ("fit under autolog", "fit with MlflowCallback and log_model", "tracked run")


def check_recorded() -> None:
    """End where a run has not its five epochs and its model: autologging swallows its errors."""
    import mlflow

    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name("bench").experiment_id
    (run,) = client.search_runs([found])
    epochs = len(client.get_metric_history(run.info.run_id, "loss"))
    models = len(client.search_logged_models([found]))
    if (epochs, models) != (5, 1):
        sys.exit(f"on record are {epochs} epochs and {models} models; expected 5 and 1")


def main() -> None:
    """Time one case in a folder of its own and print its seconds."""
    name, net = sys.argv[1], NETS[sys.argv[2] if len(sys.argv) > 2 else "baseline"]
    # Each side imports Keras as its users do: the lab leaves parts of it out until they are used.
    import_module("keras" if name in PEERS else "mnist_lab.training")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("mlruns").mkdir()
        run = {**PEERS, **OURS}[name](net)
        began = time.perf_counter()
        run()
        took = time.perf_counter() - began
        if name in RECORDED:
            check_recorded()
        print(took)
        os.chdir("/")


if __name__ == "__main__":
    main()
