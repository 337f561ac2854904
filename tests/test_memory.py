"""What a training takes at the least, before it takes any."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

import mnist_lab as lab
from mnist_lab import memory, recording
from mnist_lab.backend import tf
from mnist_lab.config import RunConfig
from mnist_lab.memory import check_memory, least_bytes
from mnist_lab.tracking import Store
from mnist_lab.training import _program
from tests.records import record


def test_weights_and_what_the_layers_give_for_a_batch_are_counted() -> None:
    weights = 784 * 512 + 512 * 10
    small, large = RunConfig(batch_size=1), RunConfig(batch_size=1_001)
    assert least_bytes(small, 60_000) >= weights * 4 * 4
    assert least_bytes(large, 60_000) - least_bytes(small, 60_000) == 1_000 * 512 * 4
    # No batch is larger than there are images.
    assert least_bytes(RunConfig(batch_size=60_000), 1_001) == least_bytes(large, 60_000)


def test_what_does_not_fit_is_refused_with_its_size() -> None:
    check_memory(RunConfig(), 60_000)
    # Few weights, and a batch that no machine holds.
    wide = RunConfig(hidden=(16, 65_536) * 4, batch_size=1_000_000)
    with pytest.raises(MemoryError, match=r"by 1,000,000 images needs at least 9\d\d\.\d GiB"):
        check_memory(wide, 10_000_000)


@pytest.mark.slow
def test_what_was_compiled_for_other_nets_makes_room(
    store: Store, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(store, small)
    kept = _program.cache_info
    assert kept().currsize > 0
    monkeypatch.setattr(memory, "available_bytes", lambda: 0 if kept().currsize else 10**9)
    run_id = record(store, small, seed=1, hidden=(24,))
    assert mlflow.MlflowClient().get_run(run_id).info.status == "FINISHED"


def test_what_files_take_of_a_containers_memory_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    assert memory.available_bytes() == 100_000
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 600000\nactive_file 5\n")
    assert memory.available_bytes() == 700_000
    assert memory.total_bytes() == 1_000_000


def test_a_shortage_that_may_pass_is_no_failure_of_the_run_itself(
    store: Store, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for total, by_itself in ((10**12, None), (1, "true")):
        monkeypatch.setattr(memory, "available_bytes", lambda: 0)
        monkeypatch.setattr(recording, "total_bytes", lambda total=total: total)
        run = mlflow.MlflowClient().get_run(record(store, small))
        assert run.info.status == "FAILED"
        assert run.data.tags.get("failed_by_itself") == by_itself


def test_what_had_room_and_takes_more_than_there_is_fails_by_itself(
    store: Store, small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least that a training takes is less than it takes: it is not begun again at each call."""

    def exhausts(*arguments: object, **options: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "all is used")

    monkeypatch.setattr(recording, "train", exhausts)
    run = mlflow.MlflowClient().get_run(record(store, small))
    assert run.data.tags["reason"] == "out of memory: all is used"
    assert run.data.tags["failed_by_itself"] == "true"
