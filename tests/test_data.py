from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab.config import ConfigError
from mnist_lab.data import MNIST, DataError

NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def arrays(data: lab.Dataset) -> dict[str, np.ndarray]:
    return {
        "x_train": data.train_images,
        "y_train": data.train_labels,
        "x_test": data.test_images,
        "y_test": data.test_labels,
    }


def write(path: Path, content: dict[str, Any]) -> None:
    np.savez_compressed(path, **content)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
    return header + array.tobytes()


def test_mnist_is_the_notebooks(mnist: lab.Dataset) -> None:
    for array in arrays(mnist).values():
        assert array.dtype == np.uint8
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.train_labels.shape == (60_000,)
    assert mnist.test_labels.shape == (10_000,)
    assert mnist.train_labels[:3].tolist() == [5, 0, 4]
    assert mnist.train_labels[-3:].tolist() == [5, 6, 8]
    assert mnist.test_labels[:3].tolist() == [7, 2, 1]
    assert mnist.test_labels[-3:].tolist() == [4, 5, 6]
    assert np.bincount(mnist.train_labels).tolist() == TRAIN_COUNTS
    assert np.bincount(mnist.test_labels).tolist() == TEST_COUNTS


def test_arrays_cannot_be_changed(mnist: lab.Dataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        mnist.train_images[0, 0, 0] = 1


def test_a_changed_mnist_is_refused(
    mnist: lab.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = mnist.train_images.copy()
    changed[0, 0, 0] ^= 1
    path = tmp_path / "mnist.npz"
    write(path, {**arrays(mnist), "x_train": changed})
    monkeypatch.setattr("mnist_lab.data.MNIST", path)
    with pytest.raises(DataError, match="x_train has SHA-256"):
        lab.load_mnist()


def test_validation_is_the_last_training_images(mnist: lab.Dataset) -> None:
    training, validation = mnist.split(10_000)
    assert len(training) == 50_000
    assert (validation.images == mnist.train_images[50_000:]).all()
    assert (validation.labels == mnist.train_labels[50_000:]).all()
    with pytest.raises(ConfigError, match="from 0 to 59999"):
        mnist.split(60_000)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dot", [False, True])
def test_idx_folder_gives_the_same_data(
    small: lab.Dataset, tmp_path: Path, suffix: str, dot: bool
) -> None:
    for key, array in arrays(small).items():
        name = NAMES[key].replace("-idx", ".idx") if dot else NAMES[key]
        content = idx(array)
        (tmp_path / (name + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    data = lab.load_data(tmp_path)
    assert data.sha256 == small.sha256
    assert data.name == tmp_path.name


def test_npz_gives_the_same_data(small: lab.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "fashion.npz"
    wide = small.train_labels.astype(np.int64)
    write(path, {**arrays(small), "y_train": wide})
    data = lab.load_data(path)
    assert data.sha256 == small.sha256
    assert data.name == "fashion"


def test_digest_covers_every_image(small: lab.Dataset, tmp_path: Path) -> None:
    changed = small.test_images.copy()
    changed[-1, -1, -1] ^= 1
    path = tmp_path / "changed.npz"
    write(path, {**arrays(small), "x_test": changed})
    assert lab.load_data(path).sha256 != small.sha256


Change = Callable[[dict[str, np.ndarray]], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {k: v for k, v in a.items() if k != "y_test"}, "lacks y_test"),
        (lambda a: {**a, "x_train": a["x_train"][:, :27]}, "expected uint8 images"),
        (lambda a: {**a, "x_train": a["x_train"] / 255}, "x_train: float64 of shape"),
        (lambda a: {**a, "y_train": a["y_train"][:-1]}, "1,999 labels for the 2,000 images"),
        (lambda a: {**a, "y_train": a["y_train"] + 1}, "expected labels from 0 to 9"),
        (lambda a: {**a, "y_test": a["y_test"].astype(float)}, "expected integer labels"),
        (lambda a: {**a, "y_test": np.eye(10)[a["y_test"]]}, "expected integer labels"),
        (lambda a: {**a, "x_test": a["x_test"][:0], "y_test": a["y_test"][:0]}, "no images"),
        (lambda a: {**a, "x_train": np.array([{}], dtype=object)}, "never unpickled"),
    ],
)
def test_a_wrong_npz_is_refused(
    small: lab.Dataset, tmp_path: Path, change: Change, said: str
) -> None:
    path = tmp_path / "data.npz"
    write(path, change(arrays(small)))
    with pytest.raises(DataError) as error:
        lab.load_data(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("where", [0.0, 0.3, 0.9])
def test_a_damaged_npz_is_refused(small: lab.Dataset, tmp_path: Path, where: float) -> None:
    path = tmp_path / "data.npz"
    write(path, arrays(small))
    content = path.read_bytes()
    at = int(len(content) * where)
    for damaged in (content[:at], content[:at] + b"\x00\xff" * 50 + content[at + 100 :]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"data\.npz"):
            lab.load_data(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content[:-1], "expected 1,568,000 for the shape"),
        (lambda content: content + b"\x00", "expected 1,568,000 for the shape"),
        (lambda content: content[:3], "expected 00 00 08 03"),
        (lambda content: content[:9], "truncated in its header"),
        (lambda content: b"\x00\x00\x08\x01" + content[4:], "an IDX file of images"),
        (lambda content: content[:4] + b"\xff" * 4 + content[8:], "expected sizes from 0 up"),
        (lambda content: b"", "expected 00 00 08 03"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_wrong_idx_file_is_refused(
    small: lab.Dataset, tmp_path: Path, change: Callable[[bytes], bytes], said: str, suffix: str
) -> None:
    for key, array in arrays(small).items():
        content = idx(array)
        if key == "x_train":
            content = change(content)
        (tmp_path / (NAMES[key] + suffix)).write_bytes(
            gzip.compress(content) if suffix else content
        )
    with pytest.raises(DataError) as error:
        lab.load_data(tmp_path)
    assert said in str(error.value)
    assert NAMES["x_train"] in str(error.value)


def test_a_truncated_gzip_is_refused(small: lab.Dataset, tmp_path: Path) -> None:
    for key, array in arrays(small).items():
        (tmp_path / f"{NAMES[key]}.gz").write_bytes(gzip.compress(idx(array))[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: damaged"):
        lab.load_data(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        lab.load_data(tmp_path / "nothing")
    with pytest.raises(DataError, match="lacks train-images-idx3-ubyte"):
        lab.load_data(tmp_path)


def test_the_shipped_file_lies_in_the_package() -> None:
    assert MNIST.parent.parent == Path(lab.__file__).parent
