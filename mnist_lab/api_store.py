"""Reads runs from any store but a local file: by MLflow's API."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mnist_lab.mlflow_backend import mlflow
from mnist_lab.sqlite_store import EpochRecord, RunRecord

_HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_RUNS_AT_ONCE = 100  # the server takes no more, and gives no more than so many values:
_VALUES_AT_ONCE = 25_000
REQUESTS_AT_ONCE = 4  # a server has as many workers
# A server takes a second for so many: a thousand, as by default, it might not give in ten.
_RUNS_A_PAGE = 250


def read_runs(client: mlflow.MlflowClient, experiment_id: str, at_once: int = 1) -> list[RunRecord]:
    """The active runs of an experiment, the newest first.

    Args:
        client: of the store.
        experiment_id: whose runs they are.
        at_once: requests; more than one to a server alone, which has several processes.
    """

    def page(token: str | None) -> Any:
        return client.search_runs(
            [experiment_id],
            run_view_type=mlflow.entities.ViewType.ACTIVE_ONLY,
            max_results=_RUNS_A_PAGE,
            page_token=token,
        )

    pages = [page(None)]
    # MLflow's own servers count: where the first page ends with what we would ask for next, the
    # others need not wait for one another.
    if at_once > 1 and pages[0].token == _token(1):
        with ThreadPoolExecutor(at_once) as pool:
            while pages[-1].token:
                following = range(len(pages), len(pages) + at_once)
                pages += pool.map(page, map(_token, following))
        # One that was begun meanwhile moved another from a page that was still to be read to one
        # that was read before.
        if _first(page(None)) != _first(pages[0]):
            pages = [page(None)]
    while pages[-1].token:
        pages.append(page(pages[-1].token))
    # In turn it moves one to the next page, where it is read again.
    found = {run.info.run_id: run for part in pages for run in part}.values()
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


def _first(page: Any) -> str:
    return str(page[0].info.run_id) if page else ""


def _token(page: int) -> str:
    """What MLflow's own servers take for the place where a page begins."""
    return base64.b64encode(json.dumps({"offset": page * _RUNS_A_PAGE}).encode()).decode()


def read_epochs(client: mlflow.MlflowClient, runs: Sequence[RunRecord]) -> list[EpochRecord]:
    """Every value of every metric of some runs, by MLflow's public API: a request a history."""
    return [record for run in runs for key in run.metrics for record in _history(client, run, key)]


def read_epochs_of_server(
    client: mlflow.MlflowClient, uri: str, runs: Sequence[RunRecord]
) -> list[EpochRecord]:
    """As `read_epochs`, by the request that MLflow's own pages make: a hundred runs at once.

    One history after the other is asked for where the server does not know that request, and
    where a history is longer than it gives.

    Args:
        client: of the server.
        uri: http://…, of the server.
        runs: whose epochs are asked for: of the metrics that they have.
    """
    keys = sorted({key for run in runs for key in run.metrics})
    asked = [
        (client, uri, part, key)
        for key in keys
        for part in _parts([run for run in runs if key in run.metrics])
    ]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        answers = list(pool.map(lambda request: _histories(*request), asked))
    return [record for answer in answers for record in answer]


def _parts(runs: Sequence[RunRecord]) -> Iterator[list[RunRecord]]:
    """The runs in as few parts as their histories of one metric may be asked for in."""
    part: list[RunRecord] = []
    values = 0
    for run in runs:
        epochs = run.params.get("epochs", "")  # of another's run it may be anything
        expected = int(epochs) if epochs.isdecimal() else 1
        if part and (len(part) == _RUNS_AT_ONCE or values + expected >= _VALUES_AT_ONCE):
            yield part
            part, values = [], 0
        part.append(run)
        values += expected
    if part:
        yield part


def _histories(
    client: mlflow.MlflowClient, uri: str, runs: Sequence[RunRecord], key: str
) -> list[EpochRecord]:
    """The history of a metric in some runs."""
    rest = importlib.import_module("mlflow.utils.rest_utils")
    service = importlib.import_module("mlflow.tracking._tracking_service.utils")
    answer = rest.http_request(
        service.get_default_host_creds(uri),
        _HISTORIES,
        "GET",
        params={"run_id": [run.run_id for run in runs], "metric_key": key},
    )
    values = answer.json()["metrics"] if answer.status_code == 200 else None
    if values is not None and len(values) < _VALUES_AT_ONCE:
        keys = ("run_id", "key", "step", "value", "timestamp")
        return [EpochRecord._make(value[key] for key in keys) for value in values]
    if values is None or len(runs) == 1:
        return [record for run in runs for record in _history(client, run, key)]
    # More than was expected: whose it is, a smaller question tells.
    middle = len(runs) // 2
    halves = (runs[:middle], runs[middle:])
    return [record for half in halves for record in _histories(client, uri, half, key)]


def _history(client: mlflow.MlflowClient, run: RunRecord, key: str) -> list[EpochRecord]:
    """The history of a metric in a run."""
    return [
        EpochRecord(run.run_id, metric.key, metric.step, metric.value, metric.timestamp)
        for metric in client.get_metric_history(run.run_id, key)
    ]
