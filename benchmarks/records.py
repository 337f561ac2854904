"""What a record costs to write and to read: `python -m benchmarks.records`.

The store that is written to is filled with copies of a run of the lab, its model and data set
included, straight in its database. Read are 5,000 of these, which have all parameters and tags of a
run, and 5,000 runs of 30 parameters and 6 metrics of 5 steps. Cases that stand beside each other
are measured in turn.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import mlflow
import numpy as np

import mnist_lab as lab
from benchmarks.compare import ratios, spread, write
from mnist_lab.optimizers import constants_of
from mnist_lab.tables import EPOCH_METRICS
from mnist_lab.tracking import Store, open_store
from mnist_lab.training import Training, threads

NAME = "bench"
RUNS = 5_000
PARAMETERS = 30
METRICS = (*EPOCH_METRICS, "more")
EPOCHS = 5
REPEATS = 5

Rows = list[dict[str, object]]


def record(store: Store, experiment: str, training: Training, data: lab.Dataset) -> float:
    """Record a run that was trained before, as `recording` does: the seconds that it took."""
    *_, answers = training.examination()
    began = time.perf_counter()
    with store.run(experiment, "run", tags={"kind": "training", "variant": "v"}) as run:
        constants = constants_of(training.config)
        run.log_start(training.config, 0, threads(), data, training.parameters, constants)
        for number in range(1, EPOCHS + 1):
            run.log_epoch(lab.Epoch(number, 0.1, 0.9, 0.1, 0.9, 1.0))
        run.log_result(0.1, 0.9, training.model(), answers)
    return time.perf_counter() - began


def recorded(experiment: str) -> str:
    """Make a run of `PARAMETERS` parameters and `METRICS`: its id."""
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
    return str(run_id)


# The tables that have rows of a run, and which they are.
_ROWS = {
    **dict.fromkeys(("runs", "params", "tags", "metrics", "latest_metrics"), "run_uuid = :run"),
    "inputs": ":run IN (source_id, destination_id)",
    "logged_models": "source_run_id = :run",
}


def fill(database: Path, run_id: str, copies: int) -> None:
    """Add so many copies of a run to its experiment, with all that belongs to it but its files."""
    with closing(sqlite3.connect(database)) as connection:
        model = connection.execute(
            "SELECT model_id FROM logged_models WHERE source_run_id = ?", (run_id,)
        ).fetchone()
        ids = [uuid4().hex for _ in range(copies)]
        known = {"run": run_id, "model": model[0] if model else "-"}
        for table, chosen in _ROWS.items():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            copied = ", ".join(map(_copied, columns))
            connection.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {copied} FROM {table} WHERE {chosen}",
                [{**known, "new": new, "new_model": f"m-{new}"} for new in ids],
            )
        connection.commit()


def _copied(column: str) -> str:
    """A column of a copy: ids are those of the copy, numbers and all else as they are."""
    if column == "input_uuid":
        return "lower(hex(randomblob(16)))"
    if not column.endswith(("_id", "_uuid")) or column == "experiment_id":
        return column
    return f"replace(replace({column}, :run, :new), :model, :new_model)"


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
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"the server did not start:\n{Path('server.log').read_text()}")
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def timed(
    cases: Mapping[str, Callable[[], object]], runs: int, where: str = ""
) -> dict[str, list[float]]:
    """Measure cases in turn, once to warm up and `REPEATS` times more: the seconds of each.

    Args:
        cases: what is called; what it gives is its seconds, if it measures them itself.
        runs: how many are on record.
        where: they are read.
    """
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    for number in range(REPEATS + 1):
        for case, call in cases.items():
            began = time.perf_counter()
            given = call()
            took = given if isinstance(given, float) else time.perf_counter() - began
            if number > 0:
                seconds[case].append(took)
            print(f"{case} {where}, {runs} runs: {took:.3f} s", file=sys.stderr)
    return seconds


def written() -> tuple[Rows, Rows]:
    """What it costs to record a run, and to read many of these."""
    data = lab.load_mnist()
    training = lab.train(lab.RunConfig(), data, seed=0)
    np.asarray(next(training).loss)
    store = open_store()
    experiment = store.experiment(NAME)
    case = "record a run of 5 epochs, with its model"
    rows: Rows = []
    for runs in (0, 1_000, RUNS):
        if there := store.runs(experiment):
            fill(Path("mlflow.db"), there[0].run_id, runs - len(there))
        seconds = timed({case: lambda: record(store, experiment, training, data)}, runs)
        rows.append({"case": case, "runs on record": runs, **spread(seconds[case], "s")})
    return rows, reading("all that a run records", "local")


def filled() -> tuple[Rows, Rows]:
    """What it costs to read many runs, here and through a server."""
    fill(Path("mlflow.db"), recorded(open_store().experiment(NAME)), RUNS - 1)
    small = "30 parameters, 6 metrics"
    rows = reading(small, "local")
    with served() as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        mlflow.set_tracking_uri(address)
        return [], [*rows, *reading(small, "a server's")]


def reading(what: str, where: str) -> Rows:
    """Read some 5,000 runs of a store, beside MLflow's own table."""
    peer = "mlflow.search_runs"
    cases = {
        "mnist_lab.runs": lambda: lab.runs(NAME),
        "mnist_lab.epochs": lambda: lab.epochs(NAME),
        peer: search,
    }
    seconds = timed(cases, RUNS, f"of {what}, {where}")
    return [
        {"of": what, "store": where, "case": case}
        | spread(values, "s")
        | ratios(values, seconds[peer], "ratio to search_runs")
        for case, values in seconds.items()
    ]


def search() -> None:
    """MLflow's table of all runs."""
    # Its pages are of 5,000 runs or more, for which the lab's ten seconds are few.
    mine = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "")
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "120"
    try:
        mlflow.search_runs(experiment_names=[NAME], max_results=50_000)
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = mine


def main() -> None:
    """Measure all in empty folders and keep the tables."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    measured: tuple[Rows, Rows] = ([], [])
    for measure in (written, filled):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
            for rows, more in zip(measured, measure(), strict=True):
                rows.extend(more)
    write("records", measured[0])
    write("reading", measured[1])


if __name__ == "__main__":
    main()
