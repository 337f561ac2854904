"""What a record costs to write and to read: `python -m benchmarks.records`.

The store that is written to is filled with copies of a run of the lab, its model and data set
included, straight in its database. The one that is read has 5,000 runs of 30 parameters, the tags
of a run, and 6 metrics of 5 steps. Cases that stand beside each other are measured in turn.
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

import mlflow
import numpy as np

import mnist_lab as lab
from benchmarks.compare import spread, write
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
        known = {"run": run_id, "model": model[0] if model else "-"}
        for table, chosen in _ROWS.items():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            copied = ", ".join(map(_copied, columns))
            connection.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {copied} FROM {table} WHERE {chosen}",
                [
                    {**known, "new": f"{number:032x}", "new_model": f"m-{number:032x}"}
                    for number in range(copies)
                ],
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


def rows(
    cases: Mapping[str, Callable[[], object]], runs: int, where: str = ""
) -> Iterator[dict[str, object]]:
    """Measure cases in turn, once to warm up and `REPEATS` times more: what each takes.

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
            print(f"{case}{where}, {runs} runs: {took:.3f} s", file=sys.stderr)
    for case, values in seconds.items():
        yield {"case": case + where, "runs on record": runs, **spread(values, "s")}


def written() -> Iterator[dict[str, object]]:
    """What it costs to record a run."""
    data = lab.load_mnist()
    training = lab.train(lab.RunConfig(), data, seed=0)
    np.asarray(next(training).loss)
    store = open_store()
    experiment = store.experiment(NAME)
    case = {
        "record a run of 5 epochs, with its model": lambda: record(
            store, experiment, training, data
        )
    }
    yield from rows(case, 0)
    newest = store.runs(experiment)[0].run_id
    fill(Path("mlflow.db"), newest, 1_000)
    yield from rows(case, 1_000)


def read() -> Iterator[dict[str, object]]:
    """What it costs to read 5,000 runs."""
    runs = 5_000
    fill(Path("mlflow.db"), recorded(open_store().experiment(NAME)), runs - 1)

    def search() -> None:
        # Its pages are of 5,000 runs or more, for which the lab's ten seconds are few.
        mine = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "")
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "120"
        try:
            mlflow.search_runs(experiment_names=[NAME], max_results=50_000)
        finally:
            os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = mine

    cases: dict[str, Callable[[], object]] = {
        "mnist_lab.runs": lambda: lab.runs(NAME),
        "mnist_lab.epochs": lambda: lab.epochs(NAME),
        "mlflow.search_runs": search,
    }
    yield from rows(cases, runs, ", local")
    with served() as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        mlflow.set_tracking_uri(address)
        yield from rows(cases, runs, ", through a server")


def main() -> None:
    """Measure all in empty folders and keep the table."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    measured: list[dict[str, object]] = []
    for measure in (written, read):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
            measured += measure()
    write("records", measured)


if __name__ == "__main__":
    main()
