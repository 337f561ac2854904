"""Distorted digits: affine and elastic changes of each image, drawn anew in each epoch.

An output pixel takes its value from a place in the image that is displaced by an affine map
(shift, rotation, zoom, shear) and by a smooth random field (Simard, Steinkraus and Platt, 2003,
"Best practices for convolutional neural networks applied to visual document analysis").
"""

from __future__ import annotations

import numpy as np

from mnist_lab.backend import materialized, tf
from mnist_lab.config import RunConfig
from mnist_lab.data import SIDE
from mnist_lab.randomness import normal

AFFINE = ("shift", "rotation", "zoom", "shear")

_CENTER = (SIDE - 1) / 2
_PIXELS = SIDE * SIDE
_PLACES = SIDE + 1  # places between pixels along one axis
# That of sigma = 4. From there on all fields have it, so that they are one program.
_LEAST_RANK = 7


def affine_maps(config: RunConfig, count: int, draw: np.random.Generator) -> np.ndarray:
    """A random affine map for each image, from a place in the result to one in the image.

    Args:
        config: how far `shift`, `rotation`, `zoom` and `shear` go.
        count: how many images.
        draw: the source of the numbers.

    Returns:
        (count, 6) float32, rows a, b, c, d, e, f: a pixel at (x, y) from the center takes its
        value from (a x + b y + c, d x + e y + f), counted from the top left corner.
    """
    rotation, shear, zoom, right, down = draw.uniform(-1.0, 1.0, (5, count))
    angle, shear = np.deg2rad(rotation * config.rotation), np.tan(np.deg2rad(shear * config.shear))
    cosine, sine = np.array([np.cos(angle), np.sin(angle)]) / (1.0 + zoom * config.zoom)
    maps = [
        *(cosine, cosine * shear - sine, _CENTER + right * config.shift),
        *(sine, sine * shear + cosine, _CENTER + down * config.shift),
    ]
    return np.stack(maps, axis=1).astype(np.float32)


def distorted(
    packed: tf.Tensor,
    maps: tf.Tensor,
    key: tf.Tensor,
    elastic: tuple[tf.Tensor, tf.Tensor] | None,
) -> tf.Tensor:
    """Each image under its own random displacement.

    Args:
        packed: (n, 841) int32, of `neighbours`, n static.
        maps: (n, 6) float32, of `affine_maps`.
        key: (2,) uint32, of `randomness.stream`.
        elastic: the strength of the elastic field, () float32, pixels, and its basis,
            (rank**2, 784) float32, of `elastic_basis`; None for none.

    Returns:
        (n, 784) float32 in [0, 255]; what lies outside an image is background. In code compiled
        by XLA only.
    """
    rows, columns = np.divmod(np.arange(_PIXELS, dtype=np.float32), np.float32(SIDE))
    dx, dy = tf.constant(columns[None] - _CENTER), tf.constant(rows[None] - _CENTER)
    x = maps[:, 0:1] * dx + maps[:, 1:2] * dy + maps[:, 2:3]
    y = maps[:, 3:4] * dx + maps[:, 4:5] * dy + maps[:, 5:6]
    if elastic is not None:
        alpha, basis = elastic
        fields = tf.matmul(alpha * normal((2 * packed.shape[0], basis.shape[0]), key), basis)
        x, y = x + fields[: packed.shape[0]], y + fields[packed.shape[0] :]
    return _sampled(packed, x, y)


def elastic_basis(config: RunConfig) -> np.ndarray:
    """What a random displacement field is a sum of, with independent normal numbers as weights.

    Args:
        config: how smooth fields are, by `elastic_sigma`.

    Returns:
        (rank**2, 784) float32, with the rank of `field_factor`; (0, 784) where nothing is elastic.
    """
    if not config.elastic_alpha:
        return np.empty((0, _PIXELS), np.float32)
    factor = field_factor(config.elastic_sigma).T
    # A Z A^T, row by row, is (A x A) applied to Z, row by row.
    return np.kron(factor, factor)


def field_factor(sigma: float) -> np.ndarray:
    """The factor A, (28, rank) float32, of a random displacement field A Z A^T.

    With Z of independent normal numbers, the field has the covariance of what is usually drawn:
    a number from a uniform distribution in [-1, 1) for each pixel, filtered with a Gaussian
    along both axes, with zeros outside. That sums a hundred or so of them, so it is normal to a
    good approximation. The Gaussian's matrix has few singular values of any size: those that
    carry less than a ten-thousandth of the variance are left out, which saves 19 in 20 draws at
    sigma = 4. The smaller sigma is, the more are kept: 13 at sigma = 2, all 28 below 0.94. Of a
    larger one than 4 as many are kept as of 4, more than needed.
    """
    distance = np.arange(SIDE)[:, None] - np.arange(SIDE)[None]
    kernel = np.exp(-0.5 * (np.arange(-4 * SIDE, 4 * SIDE + 1) / sigma) ** 2)
    gaussian = np.exp(-0.5 * (distance / sigma) ** 2) / kernel.sum()
    left, singular, _ = np.linalg.svd(gaussian)
    needed = np.count_nonzero(singular**2 > 1e-4 * (singular**2).sum())
    rank = max(needed, _LEAST_RANK)
    variance = 1.0 / 3.0  # of a uniform number in [-1, 1)
    return np.asarray(left[:, :rank] * singular[:rank] * variance**0.25, dtype=np.float32)


def neighbours(images: np.ndarray) -> np.ndarray:
    """The four pixels around each place between pixels, a byte each, in one word.

    Gathering is the slow part of sampling an image, so they are gathered at once. Counted from
    the lowest byte: upper left, upper right, lower left, lower right.

    Args:
        images: (n, 28, 28) uint8.

    Returns:
        (n, 841) int32: 29 x 29 places, those around the border included.
    """
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    words = np.empty((len(images), _PLACES, _PLACES, 4), np.uint8)
    for byte, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        words[..., byte] = framed[:, row : row + _PLACES, column : column + _PLACES]
    return words.view("<i4").reshape(len(images), _PLACES**2)


def _sampled(packed: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Bilinear values (n, 784) of packed images at places (n, 784), background outside."""
    x = tf.clip_by_value(x + 1.0, 0.0, SIDE + 1.0)
    y = tf.clip_by_value(y + 1.0, 0.0, SIDE + 1.0)
    left = tf.minimum(tf.floor(x), np.float32(SIDE))
    top = tf.minimum(tf.floor(y), np.float32(SIDE))
    place = tf.cast(top * _PLACES + left, tf.int32)
    place, packed, right, down = materialized(place, packed, x - left, y - top)
    words = tf.gather(packed, place, batch_dims=1)
    words, right, down = materialized(words, right, down)

    def pixel(byte: int) -> tf.Tensor:
        shifted = tf.bitwise.right_shift(words, np.int32(8 * byte))
        return tf.cast(tf.bitwise.bitwise_and(shifted, np.int32(255)), tf.float32)

    upper = pixel(0) + right * (pixel(1) - pixel(0))
    lower = pixel(2) + right * (pixel(3) - pixel(2))
    return upper + down * (lower - upper)
