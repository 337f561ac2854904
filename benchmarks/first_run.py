"""What a record adds to the first run of a process: `python -m benchmarks.first_run`.

The baseline's training and its test, beside the same as a run on record. All processes are forked
from one that has imported the libraries and computed nothing, as workers are: each compiles anew.
One and the same case differs by more than a second from round to round, so there are many pairs,
whose order changes, and what counts is the median of the differences within a pair.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.cases import OURS, Case
from benchmarks.compare import spread, write
from benchmarks.nets import NETS
from mnist_lab.importing import uncollected

PAIRS = 30
WITHOUT, WITH = "train and test", "tracked run"


def main() -> None:
    """Measure all pairs and keep the table."""
    with uncollected("mnist_lab.recording"):  # as commands and workers import it
        import mnist_lab.recording  # noqa: F401
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    seconds: dict[str, list[float]] = {WITHOUT: [], WITH: []}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "mlflow.db"
        _forked(partial(_make, store))
        for number in range(PAIRS + 1):
            for name in (WITHOUT, WITH) if number % 2 else (WITH, WITHOUT):
                value = _forked(partial(_timed, OURS[name], store))
                if number > 0:  # the first pair fills the disk's cache
                    seconds[name].append(value)
            print(f"pair {number} of {PAIRS} done", file=sys.stderr)
    more = [there - without for without, there in zip(*seconds.values(), strict=True)]
    rows = {**seconds, "difference within a pair": more}
    write(
        "first_run",
        [{"case": name} | spread(values, "s") | _interval(values) for name, values in rows.items()],
    )


def _interval(values: list[float]) -> dict[str, str]:
    """Cells of a table: the median's interval of 95%, of whatever distribution the values are."""
    test: Any = stats.quantile_test(values, q=float(np.median(values)))
    interval = test.confidence_interval()
    return {"low_s": f"{interval.low:.3f}", "high_s": f"{interval.high:.3f}"}


def _make(store: Path) -> float:
    from mnist_lab.tracking import open_store

    open_store(uri=f"sqlite:///{store}")
    return 0.0


def _timed(case: Case, store: Path) -> float:
    """The seconds of a case in a folder of its own, with a copy of the empty store."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("mlruns").mkdir()
        shutil.copy(store, "mlflow.db")
        run = case(NETS["baseline"])
        began = time.perf_counter()
        run()
        took = time.perf_counter() - began
        os.chdir("/")
    return took


def _forked(work: Callable[[], float]) -> float:
    """What `work` gives in a process forked from this one."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.write(writing, str(work()).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as answer:
        given = answer.read()
    if os.waitpid(process, 0)[1]:
        sys.exit("a process that was measured failed")
    return float(given)


if __name__ == "__main__":
    main()
