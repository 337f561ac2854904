from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def test_types_fit_together() -> None:
    """Here and not before the tests: it takes most of a minute, on one core."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
