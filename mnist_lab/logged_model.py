"""A trained network as MLflow's model of a run: saved in a folder first, then uploaded.

What is saved can be uploaded later and elsewhere, without TensorFlow.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from mnist_lab import provenance
from mnist_lab.mlflow_backend import mlflow

if TYPE_CHECKING:  # for the type alone: the network comes from whoever trained it
    from mnist_lab.backend import keras

_READY = mlflow.entities.LoggedModelStatus.READY


def save(model: keras.Model, folder: Path) -> None:
    """Save a network in MLflow's format for Keras.

    The files are those of `mlflow.keras.save_model` with our pins as `pip_requirements`, which
    would search all installed packages first for whether the pins are met: close to a second of
    Python in each process, and they are made from what is installed.

    Args:
        model: (n, 28, 28) uint8 to (n, 10) float32.
        folder: is made.
    """
    environment = prepare()
    weights = folder / "data" / "model.keras"
    weights.parent.mkdir(parents=True)
    (weights.parent / "keras_module.txt").write_text("keras")
    model.save(weights)
    description = mlflow.models.Model(signature=_signature())
    description.add_flavor(
        "keras",
        data="data",
        keras_version=_versions()["keras"],
        keras_backend="tensorflow",
        save_exported_model=False,
    )
    mlflow.pyfunc.add_to_model(
        description, "mlflow.keras", conda_env="conda.yaml", python_env="python_env.yaml"
    )
    files = [path for path in folder.rglob("*") if path.is_file()]
    description.model_size_bytes = sum(path.stat().st_size for path in files)
    description.save(str(folder / "MLmodel"))
    pins = [f"{package}=={version}" for package, version in _versions().items()]
    (folder / "requirements.txt").write_text("\n".join(pins))
    environment._mlflow_conda_env(str(folder / "conda.yaml"), additional_pip_deps=pins)
    environment._PythonEnv.current().to_yaml(str(folder / "python_env.yaml"))


def upload(client: mlflow.MlflowClient, experiment_id: str, run_id: str, folder: Path) -> str:
    """Make a saved network the model of a run: its address, models:/….

    `mlflow.keras.log_model` would do as much, and read the run and the history of each of its
    metrics as well. It files the model in the experiment of the process, which is not this run's.
    """
    logged = client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
    output = mlflow.entities.LoggedModelOutput(logged.model_id, step=0)
    client.log_outputs(run_id, [output])
    description = mlflow.models.Model.load(str(folder))
    description.run_id = run_id
    description.model_id = description.model_uuid = logged.model_id
    description.artifact_path = logged.artifact_location
    description.save(str(folder / "MLmodel"))
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, _READY)
    return str(logged.model_uri)


def upload_once(client: mlflow.MlflowClient, experiment_id: str, run_id: str, folder: Path) -> str:
    """As `upload`, unless the run has a model already; a half of one is removed."""
    mine = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    for logged in mine:
        if logged.status == _READY:
            return str(logged.model_uri)
        client.delete_logged_model(logged.model_id)
    return upload(client, experiment_id, run_id, folder)


@cache
def prepare() -> ModuleType:
    """Import what MLflow needs to save a model; gives the part that describes environments.

    Done while the first epoch is compiled, which leaves Python idle.
    """
    importlib.import_module("mlflow.pyfunc")
    environment = importlib.import_module("mlflow.utils.environment")
    # MLflow's guide to flavors of one's own uses them, private as they are. If a version is
    # without, it is said now and not after hours of training.
    assert environment._mlflow_conda_env
    assert environment._PythonEnv
    return environment


@cache
def _signature() -> mlflow.models.ModelSignature:
    tensor = mlflow.types.TensorSpec
    return mlflow.models.ModelSignature(
        inputs=mlflow.types.Schema([tensor(np.dtype("uint8"), (-1, 28, 28))]),
        outputs=mlflow.types.Schema([tensor(np.dtype("float32"), (-1, 10))]),
    )


@cache
def _versions() -> dict[str, str]:
    """Of the packages that a process needs which serves the model."""
    installed = provenance.environment()
    return {
        package: installed[f"version.{package}"] for package in ("keras", "tensorflow", "mlflow")
    }
