from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mnist_lab as lab
from mnist_lab.tracking import open_store
from tests.conftest import environment

PROCESSES = 8

# Ready, set, go: all open the new store at the same moment, once they have imported what it takes.
_WRITE = """
import sys
from mnist_lab import Epoch
from mnist_lab.tracking import open_store
print("ready", flush=True)
sys.stdin.readline()
store = open_store()
experiment = store.experiment("together")
with store.run(experiment, sys.argv[1], tags={"kind": "training", "variant": "v"}) as run:
    for number in range(1, 6):
        run.log_epoch(Epoch(number, 0.5, 0.9, 0.5, 0.9, 0.1))
        run.log_text(f"{number}.txt", sys.argv[1])
"""


def test_eight_processes_make_one_store_together_and_write_at_once(workspace: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITE, f"run {number}"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=900)
        assert (process.returncode, errors) == (0, "")
    names = [e.name for e in open_store()._line.client.search_experiments()]
    assert sorted(names) == ["Default", "together"]
    table = lab.runs("together")
    assert sorted(table["name"]) == [f"run {number}" for number in range(PROCESSES)]
    assert table["status"].eq("FINISHED").all()
    epochs = lab.epochs("together")
    assert len(epochs) == 5 * PROCESSES
    assert epochs.notna()[["loss", "val_accuracy"]].all().all()
