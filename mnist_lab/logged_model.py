"""A trained network as MLflow's model of a run: saved in a folder first, then uploaded.

What is saved can be uploaded later and elsewhere, without TensorFlow.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from mnist_lab import provenance
from mnist_lab.mlflow_backend import mlflow

if TYPE_CHECKING:  # for the type alone: the network comes from whoever trained it
    from mnist_lab.backend import keras

_READY = mlflow.entities.LoggedModelStatus.READY


def save(model: keras.Model, folder: Path) -> None:
    """Save a network in MLflow's format for Keras.

    Args:
        model: (n, 28, 28) uint8 to (n, 10) float32.
        folder: is made.
    """
    prepare().join()
    # Pinned requirements save MLflow from running the model in a fresh process to see what it
    # imports, which takes ten seconds.
    mlflow.keras.save_model(
        model, str(folder), signature=_signature(), pip_requirements=list(_pins())
    )


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
def prepare() -> Thread:
    """Do in the background what MLflow does once a process when it saves its first model.

    It imports more of itself and searches all installed packages, half a second of Python. The
    first epoch's compilation leaves Python idle for longer than that.
    """

    def work() -> None:
        importlib.import_module("mlflow.pyfunc")
        importlib.import_module("mlflow.keras")
        requirements = importlib.import_module("mlflow.utils.requirements_utils")
        requirements.warn_dependency_requirement_mismatches(list(_pins()))

    thread = Thread(target=work, name="prepare-mlflow-models", daemon=True)
    thread.start()
    return thread


@cache
def _signature() -> mlflow.models.ModelSignature:
    tensor = mlflow.types.TensorSpec
    return mlflow.models.ModelSignature(
        inputs=mlflow.types.Schema([tensor(np.dtype("uint8"), (-1, 28, 28))]),
        outputs=mlflow.types.Schema([tensor(np.dtype("float32"), (-1, 10))]),
    )


@cache
def _pins() -> tuple[str, ...]:
    versions = provenance.environment()
    return tuple(f"{p}=={versions[f'version.{p}']}" for p in ("keras", "tensorflow", "mlflow"))
