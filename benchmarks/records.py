"""What a record costs to write and to read: `python -m benchmarks.records`.

Stores are filled with copies of one real run, straight in their database: 30 parameters, the tags
of a run, and 6 metrics of 5 steps.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

# MLflow's own default. The lab gives a server ten seconds for an answer, and asks for smaller ones.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")

import mlflow
import numpy as np

import mnist_lab as lab
from benchmarks.compare import write
from mnist_lab.tables import EPOCH_METRICS
from mnist_lab.tracking import Store, open_store
from mnist_lab.training import Training, threads

NAME = "bench"
PARAMETERS = 30
METRICS = (*EPOCH_METRICS, "more")
EPOCHS = 5
REPEATS = 5


def record(store: Store, experiment: str, training: Training, data: lab.Dataset) -> float:
    """Record a run that was trained before, as `recording` does: the seconds that it took."""
    *_, answers = training.examination()
    model = training.model()
    began = time.perf_counter()
    with store.run(experiment, "run", tags={"kind": "training", "variant": "v"}) as run:
        run.log_start(training.config, 0, threads(), data, training.parameters)
        for number in range(1, EPOCHS + 1):
            run.log_epoch(lab.Epoch(number, 0.1, 0.9, 0.1, 0.9, 1.0))
        run.log_result(0.1, 0.9, model, answers)
    return time.perf_counter() - began


def fill(database: Path, experiment: str, runs: int) -> None:
    """Add so many runs of `PARAMETERS` parameters and `METRICS` to an experiment."""
    client = mlflow.MlflowClient()
    first = client.create_run(experiment, run_name="filled", tags={"kind": "training"})
    run_id = first.info.run_id
    params = {**lab.RunConfig().params(), "seed": "0"}
    params |= {f"parameter {number}": "1" for number in range(PARAMETERS)}
    entities = [mlflow.entities.Param(*item) for item in list(params.items())[:PARAMETERS]]
    tags = {f"tag {number}": "some value" for number in range(10)} | {"variant": "v"}
    values = [
        mlflow.entities.Metric(key, number / 10, 1_700_000_000_000, number)
        for key in METRICS
        for number in range(1, EPOCHS + 1)
    ]
    client.log_batch(
        run_id, values, entities, [mlflow.entities.RunTag(*item) for item in tags.items()]
    )
    client.set_terminated(run_id)
    with closing(sqlite3.connect(database)) as connection:
        for table in ("runs", "params", "tags", "metrics", "latest_metrics"):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            copied = ", ".join("?" if column == "run_uuid" else column for column in columns)
            connection.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {copied} FROM {table} WHERE run_uuid = ?",
                [(f"{number:032x}", run_id) for number in range(runs - 1)],
            )
        connection.commit()


@contextmanager
def served() -> Iterator[str]:
    """The store of this folder behind `mlflow server`: its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["server", "--port", str(port), "--backend-store-uri", "sqlite:///mlflow.db"]
    with Path("server.log").open("w") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "mlflow"), *arguments],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def timed(what: Callable[[], object]) -> Callable[[], float]:
    """What it costs to call something, in seconds."""

    def seconds() -> float:
        began = time.perf_counter()
        what()
        return time.perf_counter() - began

    return seconds


def row(case: str, runs: int, measure: Callable[[], float]) -> dict[str, object]:
    """Measure a case once to warm up and `REPEATS` times more."""
    measure()
    values = [measure() for _ in range(REPEATS)]
    print(case, runs, *(f"{value:.3f}" for value in values), file=sys.stderr)
    return {
        "case": case,
        "runs on record": runs,
        "n": REPEATS,
        "median_s": f"{statistics.median(values):.3f}",
        "min_s": f"{min(values):.3f}",
        "max_s": f"{max(values):.3f}",
    }


def written() -> Iterator[dict[str, object]]:
    """What it costs to record a run."""
    data = lab.load_mnist()
    training = lab.train(lab.RunConfig(), data, seed=0)
    np.asarray(next(training).loss)
    store = open_store()
    experiment = store.experiment(NAME)
    for runs in (0, 1_000):
        if runs:
            fill(Path("mlflow.db"), experiment, runs)
        yield row(
            "record a run of 5 epochs, with its model",
            runs,
            lambda: record(store, experiment, training, data),
        )


def read() -> Iterator[dict[str, object]]:
    """What it costs to read 5,000 runs."""
    runs = 5_000
    fill(Path("mlflow.db"), open_store().experiment(NAME), runs)

    def search() -> object:
        return mlflow.search_runs(experiment_names=[NAME], max_results=50_000)

    cases: dict[str, Callable[[], object]] = {
        "mnist_lab.runs": lambda: lab.runs(NAME),
        "mnist_lab.epochs": lambda: lab.epochs(NAME),
        "mlflow.search_runs": search,
    }
    for case, call in cases.items():
        yield row(f"{case}, local", runs, timed(call))
    with served() as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        mlflow.set_tracking_uri(address)
        for case, call in cases.items():
            yield row(f"{case}, through a server", runs, timed(call))


def main() -> None:
    """Measure all in empty folders and keep the table."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    rows: list[dict[str, object]] = []
    for measure in (written, read):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
            rows += measure()
    write("records", rows)


if __name__ == "__main__":
    main()
