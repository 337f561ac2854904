from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mnist_lab.new_store import Beside
from mnist_lab.sqlite_uri import file_uri
from mnist_lab.tracking import open_store
from tests.conftest import ROOT, environment


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Tables and indices, each with its columns."""
    with sqlite3.connect(path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
        return {name: database.execute(f"PRAGMA table_info('{name}')").fetchall() for name in names}


def test_another_process_makes_the_tables_of_a_new_store(
    bare_workspace: Path, empty_store: Path
) -> None:
    happened: list[bool] = []
    with Beside(lambda: happened.append(Path("mlflow.db").exists())) as beside:
        store = open_store(beside=beside)
    assert happened == [False]
    assert tables(Path("mlflow.db")) == tables(empty_store)
    assert store.runs(store.experiment("test")) == []
    with Beside(lambda: happened.append(True)) as beside:
        open_store(beside=beside)  # now there is one
    assert happened == [False]


def test_where_no_other_process_can_the_command_makes_them_itself(
    bare_workspace: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = bare_workspace / "python"
    python.write_text("#!/bin/sh\nread uri\necho half > ${uri#sqlite:///}\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with Beside(lambda: None) as beside:
        open_store(beside=beside)
    assert tables(Path("mlflow.db")) == tables(empty_store)


@pytest.mark.parametrize("name", ["a b é(1)", "%41", "?"])
def test_a_store_is_made_in_a_folder_of_any_name(
    name: str, tmp_path: Path, empty_store: Path
) -> None:
    path = tmp_path / name / "mlflow.db"
    path.parent.mkdir()
    open_store(uri=file_uri(path))
    assert tables(path) == tables(empty_store)
    assert list(path.parent.iterdir()) == [path]
    if not set(name) & set("%?"):  # of a name that must be quoted, MLflow makes another folder
        assert list(tmp_path.iterdir()) == [path.parent]


def test_what_interrupts_the_command_ends_the_other_process(bare_workspace: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    others = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt), Beside(interrupt) as beside:
        open_store(beside=beside)
    assert not Path("mlflow.db").exists()
    assert psutil.Process().children() == others


_WAITS = """
import time
from mnist_lab.new_store import Beside
from mnist_lab.tracking import open_store
with Beside(lambda: (print("waits", flush=True), time.sleep(100))) as beside:
    open_store(beside=beside)
"""


def test_the_other_process_dies_with_the_command(bare_workspace: Path) -> None:
    command = [sys.executable, "-c", _WAITS]
    variables = environment(PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waits\n"
        (other,) = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
    other.wait(10)
    assert not Path("mlflow.db").exists()
