"""Fixtures: the real digits, a small part of them, and an empty folder to work in."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

# Processes that test side by side share the cores. Before TensorFlow computes for the first time.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# What one of the tests' processes has compiled, the others need not: they compile the same small
# nets again and again. It is the same code, bit for bit.
if "TF_XLA_FLAGS" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="compiled-")
    os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={_compiled.name}"

from mnist_lab.__main__ import main
from mnist_lab.data import Dataset, load_mnist
from mnist_lab.provenance import cores
from mnist_lab.tracking import Store, open_store
from tests.forked import draw_nothing
from tests.questions import WIDTH
from tests.samples import write_digits

ROOT = Path(__file__).parent.parent
# The longest tests are in these. They begin first, so that those that are left at the end, when one
# process waits for the other, are short.
LONG = (
    *("browser", "readme", "survival", "workers", "types"),
    *("outage", "experiment", "study", "training"),
)
Command = Callable[..., "Done"]


@pytest.hookimpl(optionalhook=True)  # only of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a fifth of the time is spent in waiting for a process."""
    return cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONG)


def pytest_collection_finish() -> None:
    """Let the search for garbage leave out what the imports made."""
    gc.collect()
    gc.freeze()


def slow(*values: object) -> list[Any]:
    """Cases of a test that `make test` leaves out."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


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


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let the processes of the tests hear Ctrl-C: a shell's background job is born deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bare_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the current one, with MLflow's default store, where nothing was ever run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "studies").mkdir()
    return tmp_path


@pytest.fixture(scope="session")
def _made_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store as `open_store` makes it, which takes MLflow a second or two: the file's bytes.

    A file would be shared by all tests, and one of them would write to it.
    """
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(uri=f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def empty_store(_made_store: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has no runs yet, in a folder of its own."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    path.write_bytes(_made_store)
    return path


@pytest.fixture
def workspace(bare_workspace: Path, _made_store: bytes) -> Path:
    """A folder as the current one, with MLflow's default store, which has no runs yet."""
    (bare_workspace / "mlflow.db").write_bytes(_made_store)
    return bare_workspace


@pytest.fixture
def store(workspace: Path) -> Store:
    """The workspace's store."""
    return open_store()


def environment(**more: str) -> dict[str, str]:
    """The environment of a user's shell: the programs at hand, and no store is set."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return (
        {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"PATH": path} | more
    )


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[int]:
    """`mlflow ARGUMENTS --port PORT` in a folder, on a free port of this machine alone.

    Without the seven processes that wait for jobs, which only MLflow's pages for GenAI give them.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "mlflow"), *arguments, "--port", str(port)],
        cwd=folder,
        env=environment(
            MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"
        ),
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.2)
        yield port
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()


@dataclass
class Done:
    """How a command ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let studies and experiments draw nothing."""
    draw_nothing(monkeypatch)


@pytest.fixture
def lab_(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Command:
    """Run a command of the lab in the workspace, with warnings as errors.

    It draws nothing, unless the test is marked with `figures` and it is not told to.
    """
    figures = request.node.get_closest_marker("figures") is not None

    def run(verb: str, *arguments: str, draws: bool = True, **variables: str) -> Done:
        with monkeypatch.context() as patch:
            if not (figures and draws):
                draw_nothing(patch)
            for name, value in variables.items():
                patch.setenv(name, value)
            ended = CliRunner().invoke(main, [verb, *arguments])
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return Done(ended.exit_code, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def experiments(workspace: Path, small: Dataset) -> Path:
    """The folder experiments/ with width.toml, and digits.npz beside it."""
    folder = workspace / "experiments"
    folder.mkdir()
    (folder / "width.toml").write_text(WIDTH)
    write_digits(workspace / "digits.npz", small, test_images=500)
    return folder


@pytest.fixture
def experiment_(lab_: Command, experiments: Path) -> Command:
    """Run an experiment on the small digits."""

    def run(name: str, *arguments: str, **more: Any) -> Done:
        return lab_("experiment", name, "--data", "digits.npz", *arguments, **more)

    return run
