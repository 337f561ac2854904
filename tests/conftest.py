"""Fixtures: the real digits, a small part of them, and an empty folder to work in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_lab.data import Dataset, load_mnist

ROOT = Path(__file__).parent.parent
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    return load_mnist()


@pytest.fixture(scope="session")
def small(mnist: Dataset) -> Dataset:
    """2,000 training and 500 test images of the real digits."""
    return Dataset(
        mnist.train_images[:2_000],
        mnist.train_labels[:2_000],
        mnist.test_images[:500],
        mnist.test_labels[:500],
        name="small",
        source="mnist",
    )


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one, with MLflow's default store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "studies").mkdir()
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    """The environment of a user's shell: no store is set."""
    return {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | more


@pytest.fixture
def lab(workspace: Path) -> Command:
    """Run a command of the lab in the workspace, as a user does in a pipe."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        verb, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", f"mnist_lab.{verb}", *rest],
            cwd=workspace,
            env=environment(**variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run
