"""The most memory that a whole process takes: `python -m benchmarks.memory`.

The notebook's script to its end, the lab's training and a tracked run of it, in fresh processes.
"""

from __future__ import annotations

import sys

from benchmarks.compare import case, compare

# Linux tells KiB, macOS bytes.
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak / (2**20 if sys.platform == "darwin" else 2**10))
"""


def peak(command: list[str]) -> list[str]:
    """The command that runs another one and prints the peak of its resident memory in MiB."""
    return [sys.executable, "-c", _PEAK, *command]


if __name__ == "__main__":
    names = ["train", "tracked run", "fit and evaluate"]
    compare(
        "memory",
        {
            "import keras": peak([sys.executable, "-c", "import keras"]),
            **{name: peak(case(name)) for name in names},
        },
        against="fit and evaluate",
        unit="MiB",
    )
