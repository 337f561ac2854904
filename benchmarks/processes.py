"""A benchmark's own parts in fresh processes: what one prints last is its answer."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.compare import ROOT


def last_line(module: str, *arguments: str, **variables: str) -> str:
    """Run a module with arguments and variables of the environment; its last line of output."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), **variables}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout.splitlines()[-1]
