from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import mnist_lab as lab
from mnist_lab.tracking import open_store
from tests.conftest import environment
from tests.forked import Forked
from tests.survival import until

PROCESSES = 8

# Ready, set, go: all open the new store at the same moment.
_WRITE = """
import sys, time
from pathlib import Path
from mnist_lab import Epoch
from mnist_lab.tracking import open_store
Path("ready", sys.argv[1]).touch()
while not Path("go").exists():
    time.sleep(0.001)
store = open_store()
experiment = store.experiment("together")
with store.run(experiment, sys.argv[1], tags={"kind": "training", "variant": "v"}) as run:
    for number in range(1, 6):
        run.log_epoch(Epoch(number, 0.5, 0.9, 0.5, 0.9, 0.1))
        run.log_text(f"{number}.txt", sys.argv[1])
"""


def test_eight_processes_make_one_store_together_and_write_at_once(bare_workspace: Path) -> None:
    (bare_workspace / "write.py").write_text(_WRITE)
    ready = bare_workspace / "ready"
    ready.mkdir()
    with ExitStack() as running:
        processes = [
            running.enter_context(Forked("write", [f"run {number}"], bare_workspace, environment()))
            for number in range(PROCESSES)
        ]
        until(lambda: len(list(ready.iterdir())) == PROCESSES, processes[0])
        (bare_workspace / "go").touch()
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
