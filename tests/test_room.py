"""Disks that are full or read-only, for real: file systems of a test, limits of the kernel."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

import mnist_lab as lab
from mnist_lab import room, unsent
from mnist_lab.connection import TrackingError
from mnist_lab.progress import Progress
from mnist_lab.recording import record
from mnist_lab.room import RoomError
from mnist_lab.tracking import Store, open_store

CONFIG = lab.RunConfig(hidden=(16,), epochs=2)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 120 MB, in which the workspace lies."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    try:
        yield folder
    finally:
        monkeypatch.chdir(tmp_path)
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, all_but: int = 0) -> Path:
    """Fill a file system with one file, but for so many bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(1 << 16))
        except OSError:
            stream.truncate(max(0, stream.tell() - all_but))
    return filler


def train(store: Store, data: lab.Dataset, seed: int = 0, full: Path | None = None) -> str:
    """Train and record a run, in which a file system runs full; its id."""

    def watch(epoch: lab.Epoch) -> bool:
        if full is not None and epoch.number == 1:
            fill(full)
        return False

    with store.run(store.experiment("test"), f"run {seed}", tags={"kind": "training"}) as run:
        record(CONFIG, data, seed, run, Progress("runs", 1), watch)
    return run.id


def test_a_full_disk_is_said_before_training(disk: Path) -> None:
    open_store()
    fill(disk, all_but=50_000_000)
    with pytest.raises(RoomError, match=rf"{disk}: .* has 50 MB free .* at least 100 MB"):
        open_store()
    open_store(create=False)  # to read, no room is needed


def test_a_full_folder_for_files_or_temporary_files_is_said(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    monkeypatch.setattr(room, "NEEDED_MB", 10**9)
    with pytest.raises(RoomError, match=r"files and models has .* MB free"):
        store.experiment("test")
    with pytest.raises(RoomError, match=r"\(TMPDIR\) has .* MB free"):
        open_store()


def test_a_read_only_disk_is_said_before_training(disk: Path) -> None:
    (disk / "mlflow.db").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(RoomError, match=r"mlflow.db: .* is read-only \(its file system is mounted"):
        open_store()
    with pytest.raises(RoomError, match="files and models cannot be written"):
        room.check_artifacts(f"file://{disk}/mlruns/1")
    room.check_artifacts("mlflow-artifacts:/1")  # its server's concern


def test_a_command_says_that_there_is_no_room(disk: Path) -> None:
    fill(disk, all_but=1_000_000)
    from click.testing import CliRunner

    from mnist_lab.__main__ import main
    from tests.conftest import ROOT

    done = CliRunner().invoke(main, ["study", str(ROOT / "studies" / "baseline.toml")])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {disk}: ")
    assert "at least 100 MB" in done.stderr


def test_a_disk_that_runs_full_in_mid_run_leaves_the_finished_runs_readable(
    disk: Path, small: lab.Dataset
) -> None:
    store = open_store()
    finished = train(store, small)
    with pytest.raises(TrackingError) as error:
        train(store, small, seed=1, full=disk)
    assert "full" in str(error.value)
    assert "could not be kept" in str(error.value)
    assert "No space left on device" in str(error.value)

    def assert_readable() -> None:
        table = lab.runs("test")
        (run,) = table[table["status"] == "FINISHED"].to_dict("records")
        assert run["run_id"] == finished
        assert lab.epochs("test").groupby("run_id").size()[finished] == 2
        assert len(lab.answers(finished)) == len(small.test_images)

    assert_readable()
    (disk / "filler").unlink()
    assert_readable()
    # MLflow writes a note beside a model that it loads.
    mlflow.keras.load_model(f"runs:/{finished}/model")
    train(open_store(), small, seed=2)
    assert lab.runs("test")["status"].tolist().count("FINISHED") == 2


@pytest.fixture
def limited() -> Iterator[Callable[[int], None]]:
    """Let the kernel refuse this process to write beyond so many bytes of any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_database_that_cannot_grow_costs_no_run(
    workspace: Path, small: lab.Dataset, limited: Callable[[int], None]
) -> None:
    store = open_store()
    finished = train(store, small)
    experiment = store.experiment("test")

    def measure() -> None:
        with store.run(experiment, "second", tags={"kind": "training"}) as run:
            # Less than the database's journal, and more than what is kept of a run.
            limited(4_000)
            run.log_epoch(lab.Epoch(1, 0.5, 0.9, 0.5, 0.9, 0.1))

    with pytest.raises(TrackingError, match="1 epoch") as error:
        measure()
    limited(resource.RLIM_INFINITY)
    assert "mnist_lab.send" in str(error.value)
    (folder,) = unsent.kept()
    assert unsent.read(folder).epochs == 1
    table = lab.runs("test")
    assert table["run_id"].tolist() == [finished, folder.name]
    assert table["status"].tolist() == ["FINISHED", "RUNNING"]
