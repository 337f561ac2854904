"""Experiments of a few small nets, and what is on record of them."""

from __future__ import annotations

import mlflow

WIDTH = """
title = "Width of one hidden layer"
question = "Does a wider hidden layer help?"
claim = "Yes, by over 1,000 images."
baseline = "narrow"
seeds = 3
margin = 50

[config]
epochs = 2
batch_size = 100

[variants.narrow]
hidden = 8

[variants.wide]
hidden = 32
"""


TUNED = """
baseline = "8"
seeds = 2
tuning_seeds = [100, 101]
tuning_validation_size = 400

[config]
epochs = 2
batch_size = 100

[tune]
learning_rate = [1e-4, 3e-2]

[variants.8]
hidden = 8

[variants.fixed]
hidden = 8
activation = "tanh"
tune.learning_rate = [1e-2]
"""


def client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient()


def parents(name: str) -> list[mlflow.entities.Run]:
    experiment = client().get_experiment_by_name(name)
    found = client().search_runs(
        [experiment.experiment_id], filter_string="tags.kind = 'experiment'"
    )
    return list(found)


def on_record(name: str) -> list[tuple[object, ...]]:
    """All that can be told of the recorded runs."""
    experiment = client().get_experiment_by_name(name)
    return [
        (run.info.run_id, run.info.status, run.info.end_time, sorted(run.data.tags.items()))
        for run in client().search_runs([experiment.experiment_id])
    ]
