"""Reads runs from any store but a local file: by MLflow's API."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

from mnist_lab.mlflow_backend import mlflow
from mnist_lab.sqlite_store import EpochRecord, RunRecord

_HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_RUNS_AT_ONCE = 100  # the server takes no more, and gives no more than so many values:
_VALUES_AT_ONCE = 25_000
_REQUESTS_AT_ONCE = 4  # a server has as many workers


def read_runs(client: mlflow.MlflowClient, experiment_id: str) -> list[RunRecord]:
    """The active runs of an experiment, the newest first."""
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
        for run in found
    ]


def read_epochs(client: mlflow.MlflowClient, runs: Sequence[RunRecord]) -> list[EpochRecord]:
    """Every value of every metric of some runs, by MLflow's public API: a request a history."""
    return [
        EpochRecord(run.run_id, metric.key, metric.step, metric.value)
        for run in runs
        for key in run.metrics
        for metric in client.get_metric_history(run.run_id, key)
    ]


def read_epochs_of_server(
    client: mlflow.MlflowClient, uri: str, runs: Sequence[RunRecord]
) -> list[EpochRecord]:
    """As `read_epochs`, by the request that MLflow's own pages make: a hundred runs at once.

    A server that does not know the request is asked for one history after the other.

    Args:
        client: of the server.
        uri: http://…, of the server.
        runs: whose epochs are asked for.
    """
    keys = sorted({key for run in runs for key in run.metrics})
    parts = [runs[first : first + _RUNS_AT_ONCE] for first in range(0, len(runs), _RUNS_AT_ONCE)]
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        answers = list(pool.map(lambda asked: _histories(uri, *asked), product(parts, keys)))
    if any(answer is None for answer in answers):
        return read_epochs(client, runs)
    return [record for answer in answers if answer is not None for record in answer]


def _histories(uri: str, runs: Sequence[RunRecord], key: str) -> list[EpochRecord] | None:
    """The history of a metric in some runs; None if the server does not give all of it so."""
    rest = importlib.import_module("mlflow.utils.rest_utils")
    service = importlib.import_module("mlflow.tracking._tracking_service.utils")
    answer = rest.http_request(
        service.get_default_host_creds(uri),
        _HISTORIES,
        "GET",
        params={"run_id": [run.run_id for run in runs], "metric_key": key},
    )
    if answer.status_code != 200:
        return None
    values = answer.json()["metrics"]
    if len(values) >= _VALUES_AT_ONCE:
        return None
    return [EpochRecord(v["run_id"], v["key"], v["step"], v["value"]) for v in values]
