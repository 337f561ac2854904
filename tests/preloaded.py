"""What a command imports from its begin to its end, imported once for all that are forked."""

from __future__ import annotations

from importlib import import_module

from mnist_lab.importing import uncollected

with uncollected("mnist_lab.recording"):
    for _name in (
        *("mnist_lab.recording", "mnist_lab.search", "mnist_lab.confirmation", "mnist_lab.figures"),
        *("mnist_lab.drawing", "optuna.visualization", "optuna.importance", "plotly.graph_objects"),
        "mlflow.store.tracking.sqlalchemy_store",
    ):
        import_module(_name)
