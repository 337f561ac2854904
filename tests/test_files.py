"""What is written where the user says."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from mnist_lab.config import UserError
from mnist_lab.files import check_folder, replace


def test_a_link_stays_one_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    link = tmp_path / "link.csv"
    link.symlink_to("real.csv")
    check_folder(link, "--output")
    replace(link, "new", "--output")
    assert link.is_symlink()
    assert (tmp_path / "real.csv").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_stays_one_and_gets_the_text(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    check_folder(pipe, "--output")
    replace(pipe, "text", "--output")
    reader.join(10)
    assert got == ["text"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("mode", ["w", "a"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_stream_that_is_open_gets_the_text_in_its_turn(
    tmp_path: Path, mode: str, linked: bool
) -> None:
    """As `--output /dev/stdout > log` has it."""
    with (tmp_path / "log").open(mode) as log:
        log.write("before\n")
        log.flush()
        stream = Path(f"/dev/fd/{log.fileno()}")
        if linked:
            (tmp_path / "fd").mkdir()
            (tmp_path / "fd" / stream.name).symlink_to(stream)
            stream = tmp_path / "fd" / stream.name
        check_folder(stream, "--output")
        replace(stream, "text\n", "--output")
        log.write("after\n")
    assert (tmp_path / "log").read_text() == "before\ntext\nafter\n"


def test_a_stream_that_is_read_is_a_file_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text("old")
    with path.open() as reading:
        stream = Path(f"/dev/fd/{reading.fileno()}")
        check_folder(stream, "--output")
        replace(stream, "new", "--output")
        assert reading.read() == "old"
    assert path.read_text() == "new"


def test_a_device_that_cannot_be_opened_is_said_beforehand(tmp_path: Path) -> None:
    socket_ = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_))
        with pytest.raises(UserError, match=r"--output: .* cannot be written"):
            check_folder(socket_, "--output")


def test_who_may_read_a_file_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "private.csv"
    path.touch(0o600)
    replace(path, "new", "--output")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_as_long_as_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    check_folder(path, "--output")
    replace(path, "text", "--output")
    assert path.read_text() == "text"


def test_a_folder_that_takes_no_files_is_said_beforehand() -> None:
    with pytest.raises(UserError, match=r"--output: /proc/x\.csv: cannot be written"):
        check_folder(Path("/proc/x.csv"), "--output")


def test_a_name_that_is_too_long_and_links_in_a_circle_are_said_beforehand(tmp_path: Path) -> None:
    circle = tmp_path / "circle.csv"
    circle.symlink_to(circle.name)
    for path in (tmp_path / ("x" * 300), circle):
        with pytest.raises(UserError, match=r"--output: .* cannot be written"):
            check_folder(path, "--output")


def test_what_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.csv").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        replace(tmp_path / "there.csv", "new", "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "old"
