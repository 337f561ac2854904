"""Reads runs by MLflow's public API, which any store has."""

from __future__ import annotations

from typing import Any

from mnist_lab.mlflow_backend import mlflow
from mnist_lab.sqlite_store import EpochRecord, RunRecord


def read_runs(client: mlflow.MlflowClient, experiment_id: str) -> list[RunRecord]:
    """The active runs of an experiment, the newest first."""
    return [
        RunRecord(
            run_id=run.info.run_id,
            name=run.info.run_name,
            status=run.info.status,
            start_ms=run.info.start_time,
            end_ms=run.info.end_time,
            params=dict(run.data.params),
            metrics=dict(run.data.metrics),
            tags=dict(run.data.tags),
        )
        for run in _search(client, experiment_id)
    ]


def read_epochs(client: mlflow.MlflowClient, experiment_id: str) -> list[EpochRecord]:
    """Every value of every metric of an experiment's active runs."""
    return [
        EpochRecord(run.info.run_id, metric.key, metric.step, metric.value)
        for run in _search(client, experiment_id)
        for key in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, key)
    ]


def _search(client: mlflow.MlflowClient, experiment_id: str) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while token != "":
        page = client.search_runs(
            [experiment_id],
            run_view_type=mlflow.entities.ViewType.ACTIVE_ONLY,
            page_token=token,
        )
        found.extend(page)
        token = page.token or ""
    return found
