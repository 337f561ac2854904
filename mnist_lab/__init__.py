"""A laboratory for multilayer perceptrons on MNIST.

The public names are imported when first used, so that `import mnist_lab` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lab.config import RunConfig, UserError
    from mnist_lab.data import Dataset, Split, load_data, load_mnist
    from mnist_lab.models import build_model
    from mnist_lab.tables import epochs, runs
    from mnist_lab.training import Epoch, train

_HOME = {
    "Dataset": "data",
    "Epoch": "training",
    "RunConfig": "config",
    "Split": "data",
    "UserError": "config",
    "build_model": "models",
    "epochs": "tables",
    "load_data": "data",
    "load_mnist": "data",
    "runs": "tables",
    "train": "training",
}

__all__ = [
    "Dataset",
    "Epoch",
    "RunConfig",
    "Split",
    "UserError",
    "build_model",
    "epochs",
    "load_data",
    "load_mnist",
    "runs",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mnist_lab' has no attribute '{name}'")
    return getattr(import_module(f"mnist_lab.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
