"""How long the user waits before anything happens: `python -m benchmarks.startup`."""

import sys

from benchmarks.compare import compare

_IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
_COMMAND = """
import subprocess, sys, time
t = time.perf_counter()
subprocess.run([sys.executable, *{!r}], check=True, capture_output=True)
print(time.perf_counter() - t)
"""


def _process(*arguments: str) -> list[str]:
    return [sys.executable, "-c", _COMMAND.format(arguments)]


if __name__ == "__main__":
    compare(
        "startup",
        {
            "import mnist_lab": [sys.executable, "-c", _IMPORT.format("mnist_lab")],
            "import keras": [sys.executable, "-c", _IMPORT.format("keras")],
            "python -m mnist_lab.study --help": _process("-m", "mnist_lab.study", "--help"),
            "python -c pass": _process("-c", "pass"),
        },
        against="import keras",
    )
