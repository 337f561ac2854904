"""A trained network as MLflow's model of a run, in a tenth of a second."""

from __future__ import annotations

import importlib
from functools import cache
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from mnist_lab import provenance
from mnist_lab.mlflow_backend import mlflow

if TYPE_CHECKING:  # for the type alone: the network comes from whoever trained it
    from mnist_lab.backend import keras


def log(client: mlflow.MlflowClient, experiment_id: str, run_id: str, model: keras.Model) -> str:
    """Log a network as `model` of a run: its address, models:/….

    Args:
        client: of the store.
        experiment_id: of the run.
        run_id: the run's.
        model: (n, 28, 28) uint8 to (n, 10) float32.
    """
    # The logged model is made first and by id: otherwise MLflow files it in the experiment
    # of the process, which is not this run's. Pinned requirements save MLflow from running
    # the model in a fresh process to see what it imports, which takes ten seconds.
    prepare().join()
    logged = client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
    info = mlflow.models.Model.log(
        artifact_path=None,
        flavor=mlflow.keras,
        run_id=run_id,
        model_id=logged.model_id,
        model=model,
        signature=_signature(),
        pip_requirements=_pins(),
    )
    return str(info.model_uri)


@cache
def prepare() -> Thread:
    """Do in the background what MLflow does once a process when it logs its first model.

    It imports more of itself and searches all installed packages, half a second of Python. The
    first epoch's compilation leaves Python idle for longer than that.
    """

    def work() -> None:
        importlib.import_module("mlflow.pyfunc")
        importlib.import_module("mlflow.keras")
        requirements = importlib.import_module("mlflow.utils.requirements_utils")
        requirements.warn_dependency_requirement_mismatches(_pins())

    thread = Thread(target=work, name="prepare-mlflow-models", daemon=True)
    thread.start()
    return thread


def _signature() -> mlflow.models.ModelSignature:
    tensor = mlflow.types.TensorSpec
    return mlflow.models.ModelSignature(
        inputs=mlflow.types.Schema([tensor(np.dtype("uint8"), (-1, 28, 28))]),
        outputs=mlflow.types.Schema([tensor(np.dtype("float32"), (-1, 10))]),
    )


def _pins() -> list[str]:
    versions = provenance.environment()
    return [f"{name}=={versions[f'version.{name}']}" for name in ("keras", "tensorflow", "mlflow")]
