"""Digits in: arrays, splits, digests. Nothing is downloaded; MNIST ships with the package."""

from __future__ import annotations

import gzip
import hashlib
import math
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mnist_lab.config import ConfigError, UserError

MNIST = Path(__file__).parent / "assets" / "mnist.npz"
CLASSES = 10
SIDE = 28

# SHA-256 of each array's bytes in C order, from assets/README.md.
_MNIST_SHA256 = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}

# The four IDX files under the names MNIST and Fashion-MNIST are distributed with.
_IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

# No set in this form is larger; a file that declares more is refused before it is unpacked.
_MOST_IMAGES = 1_000_000


class DataError(UserError, ValueError):
    """A data file that is missing, damaged or not in the form of MNIST."""


@dataclass(frozen=True)
class Split:
    """Some of a data set's images with their labels.

    Attributes:
        images: (n, 28, 28) uint8, 0 (background) to 255.
        labels: (n,) uint8, 0 to 9.

    Raises:
        DataError: an array is not as said here.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        _check_form(self.images, "images")
        object.__setattr__(self, "labels", _check_labels(self.labels, "labels"))
        _check_lengths(self.images, self.labels, "images", "labels")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Training and test images with their labels; the arrays are read-only.

    Attributes:
        train_images: (n, 28, 28) uint8; n = 60,000 for MNIST.
        train_labels: (n,) uint8, 0 to 9.
        test_images: (m, 28, 28) uint8; m = 10,000 for MNIST.
        test_labels: (m,) uint8, 0 to 9.
        name: "mnist", or the name of the folder or the stem of the file it was read from.
        source: the file or folder it was read from.

    Raises:
        DataError: an array is not as said here.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    name: str
    source: str

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = (
                np.asarray(getattr(self, f"{split}_{kind}")) for kind in ("images", "labels")
            )
            _check_images(images, f"{split}_images")
            labels = _check_labels(labels, f"{split}_labels")
            _check_lengths(images, labels, f"{split}_images", f"{split}_labels")
            for kind, array in (("images", images), ("labels", labels)):
                own = array.view()  # the caller's array stays as writable as it is
                own.flags.writeable = False
                object.__setattr__(self, f"{split}_{kind}", own)

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "x_train": self.train_images,
            "y_train": self.train_labels,
            "x_test": self.test_images,
            "y_test": self.test_labels,
        }

    @cached_property
    def array_sha256(self) -> dict[str, str]:
        """SHA-256 of each array's bytes in C order, by its name in the .npz."""
        return {
            name: hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
            for name, array in self._arrays.items()
        }

    @cached_property
    def sha256(self) -> str:
        """One digest of the whole data: SHA-256 over the arrays' names, shapes and digests."""
        lines = [
            f"{name} {array.shape} {self.array_sha256[name]}\n"
            for name, array in self._arrays.items()
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def split(self, validation_size: int) -> tuple[Split, Split]:
        """Training and validation images; validation is the last `validation_size`.

        Raises:
            ConfigError: `validation_size` leaves no training image.
        """
        images = len(self.train_labels)
        if not 0 <= validation_size < images:
            raise ConfigError(
                f"validation_size: {validation_size} is not accepted: {self.name} has {images:,} "
                f"training images, so it must be from 0 to {images - 1}"
            )
        cut = images - validation_size
        return (
            Split(self.train_images[:cut], self.train_labels[:cut]),
            Split(self.train_images[cut:], self.train_labels[cut:]),
        )

    @property
    def test(self) -> Split:
        """The test images: recorded for every run, never selected on."""
        return Split(self.test_images, self.test_labels)


def load_mnist() -> Dataset:
    """The MNIST digits (LeCun, Cortes, Burges) that ship with the package, digests checked.

    Returns:
        60,000 training and 10,000 test images, all arrays uint8.

    Raises:
        DataError: the shipped file is damaged.
    """
    data = load_data(MNIST)
    for name, expected in _MNIST_SHA256.items():
        if data.array_sha256[name] != expected:
            raise DataError(
                f"{MNIST}: {name} has SHA-256 {data.array_sha256[name]}, expected {expected}: "
                "the file is not the MNIST that this package ships; install the package again"
            )
    return data


def load_data(path: str | Path) -> Dataset:
    """Any data set in MNIST's form: an .npz, or a folder with the four IDX files.

    Args:
        path: an .npz with x_train, y_train, x_test, y_test, or a folder with
            train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each gzipped (.gz) or not.

    Raises:
        DataError: names the file, what is wrong with it and what was expected.
    """
    path = Path(path)
    expected = (
        f"expected an .npz with {', '.join(_IDX_NAMES)}, or a folder with "
        f"{', '.join(_IDX_NAMES.values())} (each may end in .gz)"
    )
    try:
        if path.is_dir():
            files = {key: _find_idx(path, name) for key, name in _IDX_NAMES.items()}
            arrays = {key: _read_idx(file, images=key[0] == "x") for key, file in files.items()}
            places = {key: str(file) for key, file in files.items()}
        elif path.is_file():
            arrays = _read_npz(path)
            places = {key: f"{path}: {key}" for key in arrays}
        else:
            raise DataError(f"{path}: no such file or folder; {expected}")
    except OSError as error:  # of a folder that this user may not look into, say
        raise DataError(f"{path}: cannot be read ({error.strerror}); {expected}") from None
    for part in ("train", "test"):
        images, labels = f"x_{part}", f"y_{part}"
        _check_images(arrays[images], places[images])
        arrays[labels] = _check_labels(arrays[labels], places[labels])
        _check_lengths(arrays[images], arrays[labels], places[images], places[labels])
    return Dataset(
        arrays["x_train"],
        arrays["y_train"],
        arrays["x_test"],
        arrays["y_test"],
        name=path.resolve().name if path.is_dir() else path.resolve().stem,
        source=str(path),
    )


def _check_images(images: np.ndarray, place: str) -> None:
    _check_form(images, place)
    if len(images) == 0:
        raise DataError(f"{place}: no images; expected at least one")


def _check_form(images: np.ndarray, place: str) -> None:
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{place}: {images.dtype} of shape {images.shape}; "
            f"expected uint8 images of shape (n, {SIDE}, {SIDE})"
        )


def _check_labels(labels: np.ndarray, place: str) -> np.ndarray:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"{place}: {labels.dtype} of shape {labels.shape}; expected integer labels "
            f"of shape (n,), 0 to {CLASSES - 1}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if wrong.size:
        raise DataError(
            f"{place}: label {labels[wrong[0]]} at position {wrong[0]}; "
            f"expected labels from 0 to {CLASSES - 1}"
        )
    return labels.astype(np.uint8)


def _check_lengths(images: np.ndarray, labels: np.ndarray, place: str, labels_place: str) -> None:
    if len(images) != len(labels):
        raise DataError(
            f"{labels_place}: {len(labels):,} labels for the {len(images):,} images of {place}; "
            "expected one label an image"
        )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """The four arrays of an .npz; nothing in it is ever unpickled."""
    expected = f"expected an .npz with {', '.join(_IDX_NAMES)}"
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info.file_size for info in archive.infolist()}
            missing = [key for key in _IDX_NAMES if f"{key}.npy" not in members]
            if missing:
                found = ", ".join(name.removesuffix(".npy") for name in sorted(members)[:10])
                raise DataError(
                    f"{path}: lacks {', '.join(missing)}; {expected}; found {found or 'nothing'}"
                )
            for key in _IDX_NAMES:
                if members[f"{key}.npy"] > _MOST_IMAGES * SIDE * SIDE + 1024:
                    raise DataError(
                        f"{path}: {key} unpacks to {members[f'{key}.npy']:,} bytes; "
                        f"expected at most {_MOST_IMAGES:,} images"
                    )
            return {key: _read_npy(archive, key, path) for key in _IDX_NAMES}
    except DataError:
        raise
    except Exception as error:  # damaged bytes make zipfile raise many kinds, few documented
        raise DataError(f"{path}: damaged or not an .npz ({_said(error)}); {expected}") from None


def _read_npy(archive: zipfile.ZipFile, key: str, path: Path) -> np.ndarray:
    name = f"{key}.npy"
    try:
        _check_npy(archive, name)
        with archive.open(name) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
            stream.read()  # the archive's own check of the member's CRC comes at its end
    except Exception as error:  # numpy reads the header as Python: it may raise what Python does
        raise DataError(
            f"{path}: {key} cannot be read ({_said(error)}); expected a plain array, "
            "never unpickled"
        ) from None
    return np.asarray(array)


def _check_npy(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse a header that declares more or less than follows it: numpy would allocate first."""
    with archive.open(name) as stream:
        if np.lib.format.read_magic(stream) == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        size = archive.getinfo(name).file_size - stream.tell()
    if dtype.hasobject:
        return  # pickled in any number of bytes, and refused by numpy
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{size:,} bytes for {dtype} of the shape {shape} its header declares")


def _said(error: Exception) -> str:
    """What an error says, in a line or two; its kind where it says nothing."""
    return str(error)[:200] or type(error).__name__


def _find_idx(folder: Path, name: str) -> Path:
    # Some copies write "train-images.idx3-ubyte" for "train-images-idx3-ubyte".
    names = [name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz"]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise DataError(f"{folder}: lacks {name} (or {name}.gz), one of the four IDX files expected")


def _read_idx(path: Path, images: bool) -> np.ndarray:
    """One IDX file: magic number, sizes as big-endian int32, then bytes (LeCun's format)."""
    kind, axes = ("images", 3) if images else ("labels", 1)
    most = _MOST_IMAGES * SIDE * SIDE + 1024
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                content = stream.read(most + 1)
        else:
            with path.open("rb") as stream:
                content = stream.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: damaged or unreadable ({error}); expected an IDX file of {kind}"
        ) from None
    if len(content) > most:
        raise DataError(f"{path}: over {most:,} bytes; expected at most {_MOST_IMAGES:,} {kind}")
    magic = bytes([0, 0, 8, axes])  # 8: unsigned bytes; then the number of axes
    if content[:4] != magic:
        raise DataError(
            f"{path}: begins with bytes {content[:4].hex(' ')}; "
            f"expected {magic.hex(' ')}, an IDX file of {kind}"
        )
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{path}: truncated in its header; expected at least {start} bytes")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">i4"))
    if min(shape) < 0:
        raise DataError(f"{path}: its header declares shape {shape}; expected sizes from 0 up")
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: {len(content) - start:,} bytes of {kind}; "
            f"expected {math.prod(shape):,} for the shape {shape} its header declares"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
