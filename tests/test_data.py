from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
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
    renamed = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-1.0"))
    assert lab.load_data(renamed).name == renamed.name


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


LISTED = b"PK\x01\x02"  # begins an entry of an archive's list of its members


def few(small: lab.Dataset) -> dict[str, bytes]:
    """The .npy files of an .npz with two training images and one test image."""
    files = {}
    for key, array in arrays(small).items():
        stream = io.BytesIO()
        np.save(stream, array[: 2 if "train" in key else 1])
        files[f"{key}.npy"] = stream.getvalue()
    return files


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def patched(content: bytes, places: dict[int, int]) -> bytes:
    """Bytes with others at these places."""
    changed = bytearray(content)
    for at, byte in places.items():
        changed[at] = byte
    return bytes(changed)


def damaged_somewhere(files: dict[str, bytes]) -> Iterator[bytes]:
    """An .npz with one byte changed, another each time; then one of a header, the CRC in order."""
    whole = zipped(files)
    members = whole.index(LISTED)  # of them every third byte, of their list every one
    for at in (*range(0, members, 3), *range(members, len(whole))):
        yield patched(whole, {at: whole[at] ^ 0xFF})
    content = files["x_train.npy"]
    for at in range(128):
        byte = (content[at] ^ 0x01, ord("("), ord("9"))[at % 3]
        yield zipped({**files, "x_train.npy": patched(content, {at: byte})}, zipfile.ZIP_STORED)


def test_a_byte_that_is_damaged_is_refused_or_without_effect(
    small: lab.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "data.npz"
    files = few(small)
    path.write_bytes(zipped(files))
    digest = lab.load_data(path).sha256
    refusals = []
    for number, content in enumerate(damaged_somewhere(files)):
        path.write_bytes(content)
        try:
            assert lab.load_data(path).sha256 == digest, number
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > number / 2
    assert all(str(path) in said and "expected" in said for said in refusals)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({8: 0x01}, "x_train cannot be read (File 'x_train.npy' is encrypted"),
        ({8: 0x20}, "x_train cannot be read (compressed patched data"),
        ({10: 99}, "x_train cannot be read (That compression method is not supported"),
        ({6: 99}, "damaged or not an .npz (zip file version 9.9"),
        # The bit that a name is UTF-8, and a name that is not.
        ({9: 0x08, 46: 0xFF}, "damaged or not an .npz ('utf-8' codec can't decode"),
    ],
)
def test_what_an_archive_cannot_be_read_for_is_said(
    small: lab.Dataset, tmp_path: Path, listed: dict[int, int], said: str
) -> None:
    path = tmp_path / "data.npz"
    content = zipped(few(small))
    entry = content.index(LISTED)
    path.write_bytes(patched(content, {entry + at: byte for at, byte in listed.items()}))
    with pytest.raises(DataError) as error:
        lab.load_data(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "expected" in str(error.value)


def test_damaged_lzma_is_refused(small: lab.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    content = zipped(few(small), zipfile.ZIP_LZMA)
    path.write_bytes(content)
    assert len(lab.load_data(path).train_images) == 2
    path.write_bytes(patched(content, {30 + len("x_train.npy") + 4: 0xFF}))  # LZMA's properties
    with pytest.raises(DataError, match=r"x_train cannot be read .*; expected"):
        lab.load_data(path)


def headed(descr: str, shape: str) -> bytes:
    """An .npy file of eight bytes whose header declares what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)


@pytest.mark.parametrize(
    ("descr", "shape", "said"),
    [
        ("'|u1'", "(1000000000000, 28, 28)", "8 bytes for uint8 of the shape (1000000000000, 28, "),
        ("'|u1'", f"({10**30}, 28, 28)", "8 bytes for uint8 of the shape (1000000000000000000000"),
        ("'|u1'", "(-8, -1)", "8 bytes for uint8 of the shape (-8, -1)"),
        ("'|u1'", "(7,)", "8 bytes for uint8 of the shape (7,)"),
        ("'|u1'", f"(8, {', '.join('1' * 70)})", "x_train cannot be read ("),
        ("'|V0'", f"({10**30},)", "x_train cannot be read ("),
        ("'|u1'", "(2, 28, 28", "x_train cannot be read ("),
        ("'|u1'", "(" * 900 + "2", "x_train cannot be read ("),
        ("()", "(8,)", "x_train cannot be read ("),
        ("{}", "(8,)", "x_train cannot be read ("),
        ("'|O'", "(1,)", "expected a plain array, never unpickled"),
    ],
)
def test_a_header_is_not_believed(
    small: lab.Dataset, tmp_path: Path, descr: str, shape: str, said: str
) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(zipped({**few(small), "x_train.npy": headed(descr, shape)}))
    with pytest.raises(DataError) as error:
        lab.load_data(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500 + len(str(path))


def test_what_cannot_be_looked_into_is_refused(tmp_path: Path) -> None:
    # For root too, who may look into any folder: a path in this one is too long for the system.
    folder = tmp_path
    while (room := 4_080 - len(str(folder))) > 1:
        folder /= "d" * min(200, room - 1)
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot be read .* expected .*train-images-idx3-ubyte"):
        lab.load_data(folder)
    with pytest.raises(DataError, match=r"cannot be read .* expected an \.npz with x_train"):
        lab.load_data(tmp_path / ("x" * 300))


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


def test_a_data_set_of_arrays_is_checked_as_one_of_a_file(small: lab.Dataset) -> None:
    def made(images: np.ndarray, labels: np.ndarray) -> lab.Dataset:
        return lab.Dataset(images, labels, small.test_images, small.test_labels, "own", "own")

    images = small.train_images[:20].copy()
    data = made(images, small.train_labels[:20].astype(np.int64))
    assert data.train_labels.dtype == np.uint8
    assert not data.train_images.flags.writeable
    images[0] = 0  # the caller's own
    for wrong, labels, said in (
        (images / 255, small.train_labels[:20], "train_images: float64"),
        (images.reshape(20, -1), small.train_labels[:20], "train_images: uint8 of shape"),
        (images, small.train_labels[:10], "train_labels: 10 labels for the 20 images"),
        (images, np.eye(10)[small.train_labels[:20]], "train_labels: float64 of shape"),
    ):
        with pytest.raises(lab.UserError, match=said):
            made(wrong, labels)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((2, 28, 28)), np.zeros(2, np.uint8), "images: float64 of shape"),
        (np.zeros((2, 784), np.uint8), np.zeros(2, np.uint8), "images: uint8 of shape"),
        (np.zeros((2, 28, 28), np.uint8), np.array([3, 10]), "labels: label 10 at position 1"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.uint8), "labels: 3 labels for the 2"),
    ],
)
def test_a_split_of_other_form_is_refused(
    images: np.ndarray, labels: np.ndarray, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        lab.Split(images, labels)
