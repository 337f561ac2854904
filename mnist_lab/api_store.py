"""Reads runs from any store but a local file: by MLflow's API."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from mnist_lab.mlflow_backend import mlflow
from mnist_lab.records import EpochRecord, RunRecord

_SEARCH = "/api/2.0/mlflow/runs/search"
_HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_RUNS_AT_ONCE = 100  # the server takes no more, and gives no more than so many values:
_VALUES_AT_ONCE = 25_000
_REQUESTS_AT_ONCE = 4  # a server has as many workers
# A server takes a second for so many: a thousand, as by default, it might not give in ten.
_RUNS_A_PAGE = 250


class _Page(NamedTuple):
    """Some of an experiment's runs, and what to ask for those after them by, or ""."""

    runs: list[RunRecord]
    token: str

    @property
    def first(self) -> str:
        return self.runs[0].run_id if self.runs else ""


def read_runs(client: mlflow.MlflowClient, experiment_id: str) -> list[RunRecord]:
    """The active runs of an experiment by MLflow's public API, the newest first.

    Args:
        client: of the store.
        experiment_id: whose runs they are.
    """
    pages = [_page(client, experiment_id)]
    while pages[-1].token:
        pages.append(_page(client, experiment_id, pages[-1].token))
    return _each_once(pages)


def read_runs_of_server(
    client: mlflow.MlflowClient, uri: str, experiment_id: str
) -> list[RunRecord]:
    """As `read_runs`, several pages at once, and without the objects that MLflow makes of each.

    Args:
        client: of the server.
        uri: http://…, of the server.
        experiment_id: whose runs they are.
    """

    def page(token: str = "") -> _Page:
        return _page_of_server(uri, experiment_id, token) or _page(client, experiment_id, token)

    pages = [page()]
    # MLflow's own servers count: where the first page ends with what we would ask for next, the
    # others need not wait for one another.
    if pages[0].token == _token(1):
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            while pages[-1].token:
                following = range(len(pages), len(pages) + _REQUESTS_AT_ONCE)
                pages += pool.map(page, map(_token, following))
        # One that was begun meanwhile moved another from a page that was still to be read to one
        # that was read before.
        if page().first != pages[0].first:
            pages = [page()]
    while pages[-1].token:
        pages.append(page(pages[-1].token))
    return _each_once(pages)


def _each_once(pages: list[_Page]) -> list[RunRecord]:
    """All runs: one that is begun while they are read moves another to the next page."""
    return list({run.run_id: run for page in pages for run in page.runs}.values())


def _page(client: mlflow.MlflowClient, experiment_id: str, token: str = "") -> _Page:
    found = client.search_runs(
        [experiment_id],
        run_view_type=mlflow.entities.ViewType.ACTIVE_ONLY,
        max_results=_RUNS_A_PAGE,
        page_token=token or None,
    )
    runs = [
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
    return _Page(runs, found.token or "")


def _page_of_server(uri: str, experiment_id: str, token: str) -> _Page | None:
    """As `_page`, by the request that it makes of a server; None if that refuses it."""
    asked = {
        "experiment_ids": [experiment_id],
        "run_view_type": "ACTIVE_ONLY",
        "max_results": _RUNS_A_PAGE,
        **({"page_token": token} if token else {}),
    }
    answer = _requested(uri, _SEARCH, "POST", json=asked)
    if answer.status_code != 200:
        return None
    found = answer.json()
    runs = []
    for run in found.get("runs", []):
        info, data = run["info"], run["data"]
        metrics = {metric["key"]: float(metric["value"]) for metric in data.get("metrics", [])}
        runs.append(
            RunRecord(
                run_id=info["run_id"],
                name=info.get("run_name", ""),
                status=info["status"],
                start_ms=int(info["start_time"]),
                end_ms=int(info.get("end_time", 0)) or None,
                params={param["key"]: param.get("value", "") for param in data.get("params", [])},
                metrics=metrics,
                tags={tag["key"]: tag.get("value", "") for tag in data.get("tags", [])},
            )
        )
    return _Page(runs, found.get("next_page_token", ""))


def _requested(uri: str, path: str, method: str, **asked: object) -> Any:
    """A server's answer to a request, which has what MLflow's own requests have."""
    rest = importlib.import_module("mlflow.utils.rest_utils")
    service = importlib.import_module("mlflow.tracking._tracking_service.utils")
    return rest.http_request(service.get_default_host_creds(uri), path, method, **asked)


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
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
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
    asked = {"run_id": [run.run_id for run in runs], "metric_key": key}
    answer = _requested(uri, _HISTORIES, "GET", params=asked)
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
