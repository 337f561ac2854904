"""From a command to its first epoch: `python -m benchmarks.first_epoch`.

The experiment is the baseline, the study that of studies/baseline.toml. Beside them stands what
cannot be avoided: a process that imports Keras and reads the digits.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from benchmarks.compare import ROOT, compare
from mnist_lab.data import MNIST

EXPERIMENT = """
title = "The baseline"
question = "How long until the first epoch?"
claim = "Little longer than the import of Keras."
baseline = "listing"
seeds = 2
[variants.listing]
"""
_WITHIN = """
import os, subprocess, sys, tempfile, time
from pathlib import Path
module = [sys.executable, "-m", "benchmarks.first_epoch"]
with tempfile.TemporaryDirectory() as folder:
    if {recorded}:  # a store and an experiment there are already
        subprocess.run([*module, "folder", folder], check=True, capture_output=True)
    began = time.perf_counter()
    subprocess.run([*module, *{arguments!r}, folder], check=True, capture_output=True)
    print(time.perf_counter() - began)
"""
# It ends as abruptly as the command does, so that neither pays for the end of an interpreter.
_PLAIN = f"""
import keras, numpy, os
with numpy.load({str(MNIST)!r}) as arrays:
    for name in arrays.files:
        arrays[name]
os._exit(0)
"""
_BESIDE = f"""
import subprocess, sys, time
began = time.perf_counter()
subprocess.run([sys.executable, "-c", {_PLAIN!r}], check=True, capture_output=True)
print(time.perf_counter() - began)
"""


def _timed(*arguments: str, recorded: bool = True) -> list[str]:
    return [sys.executable, "-c", _WITHIN.format(arguments=arguments, recorded=recorded)]


def run_until(moment: str, command: str, folder: str) -> None:
    """Run a command in a folder and end its process when the first training begins.

    Or when its first epoch ends. What is asked first of a training is whether its memory suffices;
    the network is built and compiled after that.
    """
    from mnist_lab import memory
    from mnist_lab.progress import Progress

    os.chdir(folder)
    Path("mlruns").mkdir(exist_ok=True)
    if command == "experiment":
        Path("one.toml").write_text(EXPERIMENT)
    else:
        shutil.copy(ROOT / "studies" / "baseline.toml", "one.toml")
    place = {"begin": (memory, "check_memory"), "end": (Progress, "epoch")}[moment]
    setattr(*place, lambda *_: os._exit(0))
    sys.argv = ["mnist-lab", command, "one.toml"]
    from mnist_lab.__main__ import main

    main()


def make_store(folder: str) -> None:
    """What the first command in a folder leaves behind for all that follow."""
    from mnist_lab.tracking import open_store

    os.chdir(folder)
    Path("mlruns").mkdir()
    open_store().experiment("one")


def main() -> None:
    """Time all moments, or be the process that is timed."""
    if len(sys.argv) > 1:
        if sys.argv[1] == "folder":
            make_store(sys.argv[2])
        else:
            run_until(*sys.argv[1:])
        return
    plain = "import keras and digits"
    compare(
        "first_epoch",
        {
            plain: [sys.executable, "-c", _BESIDE],
            "experiment, to the begin of its first training": _timed("begin", "experiment"),
            "the same in a folder without a store": _timed("begin", "experiment", recorded=False),
            "experiment, to the end of its first epoch": _timed("end", "experiment"),
            "study, to the begin of its first training": _timed("begin", "study"),
            "study, to the end of its first epoch": _timed("end", "study"),
        },
        against=plain,
    )


if __name__ == "__main__":
    main()
