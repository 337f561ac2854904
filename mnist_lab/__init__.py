"""A laboratory for multilayer perceptrons on MNIST.

The public names are imported when first used, so that `import mnist_lab` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lab.comparison import compare
    from mnist_lab.config import RunConfig, UserError
    from mnist_lab.data import Dataset, Split, load_data, load_mnist
    from mnist_lab.models import build_model
    from mnist_lab.tables import answers, epochs, runs
    from mnist_lab.training import Epoch, Training, train
    from mnist_lab.two_models import McNemar, mcnemar
    from mnist_lab.variants import VARIANTS, Variant

_HOME = {
    "VARIANTS": "variants",
    "Dataset": "data",
    "Epoch": "training",
    "McNemar": "two_models",
    "RunConfig": "config",
    "Split": "data",
    "Training": "training",
    "UserError": "config",
    "Variant": "variants",
    "answers": "tables",
    "build_model": "models",
    "epochs": "tables",
    "load_data": "data",
    "load_mnist": "data",
    "mcnemar": "two_models",
    "runs": "tables",
    "train": "training",
}

__all__ = [
    "VARIANTS",
    "Dataset",
    "Epoch",
    "McNemar",
    "RunConfig",
    "Split",
    "Training",
    "UserError",
    "Variant",
    "answers",
    "build_model",
    "compare",
    "epochs",
    "load_data",
    "load_mnist",
    "mcnemar",
    "runs",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "compare":
        # The module of the command of that name, which can be called: once it is imported it
        # stands here under its name, so it has to be the function as well.
        return import_module("mnist_lab.compare")
    if name not in _HOME:
        raise AttributeError(f"module 'mnist_lab' has no attribute '{name}'")
    return getattr(import_module(f"mnist_lab.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
