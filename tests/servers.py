"""PostgreSQL and Dask as separate processes on this machine, ended with the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import environment

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
_FOUND = shutil.which("initdb") or next((str(place / "initdb") for place in _PLACES), None)
INITDB = None if _FOUND is None else str(Path(_FOUND).resolve())


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(folder: Path, name: str, command: Sequence[str], **options: str) -> Iterator[int]:
    """A server in a folder, its pid, and its output in NAME.log."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)  # PostgreSQL's and Dask's quick end
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_for(port: int, seconds: float = 60) -> None:
    """Wait until somebody listens on a port."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a new PostgreSQL server with the database `mlflow`."""
    assert INITDB is not None
    programs = Path(INITDB).parent
    # It refuses to run as root, and its folder must be its own.
    owner = {"user": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="postgresql", dir="/tmp"))
    if owner:
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()

    def do(*command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, **owner)  # type: ignore[call-overload]

    try:
        do(INITDB, "-D", str(data), "-A", "trust", "-U", "lab", "--no-sync")
        server = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-F"]
        server += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        with running(folder, "server", server, **owner):
            wait_for(port)
            client = ("-h", "127.0.0.1", "-p", str(port), "-U", "lab")
            do(str(programs / "createdb"), *client, "mlflow")
            yield f"postgresql://lab:secret@127.0.0.1:{port}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def dask(folder: Path, workers: int, *options: str, scheme: str = "tcp") -> Iterator[str]:
    """The address of a Dask scheduler with so many workers, each a process with one thread."""
    program, port = str(Path(sys.executable).parent / "dask"), free_port()
    address = f"{scheme}://127.0.0.1:{port}"
    here = ["--host", "127.0.0.1", "--no-dashboard", *options]
    scheduler = [program, "scheduler", *here, "--port", str(port), "--protocol", scheme]
    worker = [program, "worker", address, *here, "--nthreads", "1", "--nworkers", str(workers)]
    with running(folder, "scheduler", scheduler):
        wait_for(port)
        with running(folder, "workers", worker):
            yield address
