"""Distorted digits: affine and elastic changes of each image, drawn anew in each epoch.

An output pixel takes its value from a place in the image that is displaced by an affine map
(shift, rotation, zoom, shear) and by a smooth random field (Simard, Steinkraus and Platt, 2003,
"Best practices for convolutional neural networks applied to visual document analysis").
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mnist_lab.backend import tf
from mnist_lab.data import SIDE
from mnist_lab.randomness import normal, uniform

AFFINE = ("shift", "rotation", "zoom", "shear")

_CENTER = (SIDE - 1) / 2
_PIXELS = SIDE * SIDE


def distorted(
    images: tf.Tensor,
    key: tf.Tensor,
    strengths: Mapping[str, tf.Tensor],
    elastic_sigma: float,
) -> tf.Tensor:
    """Each image under its own random displacement.

    Args:
        images: (n, 784) uint8, n static.
        key: (2,) uint32, of `randomness.stream`.
        strengths: () float32 of those of `AFFINE` and "elastic_alpha" that are not 0; units as
            in `RunConfig`.
        elastic_sigma: standard deviation of the Gaussian that smooths the field, pixels.

    Returns:
        (n, 784) float32 in [0, 255]; what lies outside an image is background.
    """
    count = images.shape[0]
    rows, columns = np.divmod(np.arange(_PIXELS, dtype=np.float32), np.float32(SIDE))
    x, y = tf.constant(columns[None]), tf.constant(rows[None])
    if any(name in strengths for name in AFFINE):
        x, y = _affine(x, y, uniform((count, 5), key) * 2.0 - 1.0, strengths)
    if "elastic_alpha" in strengths:
        factor = field_factor(elastic_sigma)
        rank = factor.shape[1]
        # Another key than the affine map's: the same words would tie the one to the other.
        draws = normal((2 * count * rank, rank), tf.reverse(key, [0]))
        fields = _smooth(draws, tf.constant(factor), count) * strengths["elastic_alpha"]
        x, y = x + fields[0], y + fields[1]
    return _sampled(images, x, y)


def field_factor(sigma: float) -> np.ndarray:
    """The factor A, (28, rank) float32, of a random displacement field A Z A^T.

    With Z of independent normal numbers, the field has the covariance of what is usually drawn:
    a number from a uniform distribution in [-1, 1) for each pixel, filtered with a Gaussian
    along both axes, with zeros outside. That sums a hundred or so of them, so it is normal to a
    good approximation. The Gaussian's matrix has few singular values of any size: those that
    carry less than a millionth of the variance are left out, which saves nine in ten draws at
    sigma = 4.
    """
    distance = np.arange(SIDE)[:, None] - np.arange(SIDE)[None]
    kernel = np.exp(-0.5 * (np.arange(-4 * SIDE, 4 * SIDE + 1) / sigma) ** 2)
    gaussian = np.exp(-0.5 * (distance / sigma) ** 2) / kernel.sum()
    left, singular, _ = np.linalg.svd(gaussian)
    kept = singular**2 > 1e-6 * (singular**2).sum()
    variance = 1.0 / 3.0  # of a uniform number in [-1, 1)
    return np.asarray(left[:, kept] * singular[kept] * variance**0.25, dtype=np.float32)


def _smooth(draws: tf.Tensor, factor: tf.Tensor, count: int) -> tf.Tensor:
    """Fields (2, count, 784) from draws (2 * count * rank, rank): A Z A^T of each."""
    rank = factor.shape[1]
    wide = tf.reshape(tf.matmul(draws, factor, transpose_b=True), (2 * count, rank, SIDE))
    tall = tf.reshape(tf.transpose(wide, (0, 2, 1)), (2 * count * SIDE, rank))
    return tf.reshape(tf.matmul(tall, factor, transpose_b=True), (2, count, _PIXELS))


def _affine(
    x: tf.Tensor, y: tf.Tensor, draws: tf.Tensor, strengths: Mapping[str, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where each pixel comes from: (n, 784) each, from draws (n, 5) in [-1, 1)."""
    zero = tf.zeros(())
    degree = np.float32(np.pi / 180)
    angle = draws[:, :1] * strengths.get("rotation", zero) * degree
    shear = tf.tan(draws[:, 1:2] * strengths.get("shear", zero) * degree)
    scale = 1.0 / (1.0 + draws[:, 2:3] * strengths.get("zoom", zero))
    reach = strengths.get("shift", zero)
    dx, dy = x - _CENTER, y - _CENTER
    cosine, sine = tf.cos(angle) * scale, tf.sin(angle) * scale
    return (
        cosine * (dx + shear * dy) - sine * dy + _CENTER + draws[:, 3:4] * reach,
        sine * (dx + shear * dy) + cosine * dy + _CENTER + draws[:, 4:5] * reach,
    )


def _sampled(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Bilinear values of images (n, 784) uint8 at places (n, 784), background outside.

    Gathering is the slow part, so the four neighbours of a place are packed into one word and
    gathered at once.
    """
    side = SIDE + 1  # places between pixels, the border's included
    framed = tf.pad(tf.reshape(images, (-1, SIDE, SIDE)), [[0, 0], [1, 1], [1, 1]])
    pixels = tf.cast(framed, tf.uint32)
    packed = (
        pixels[:, :-1, :-1]
        + pixels[:, :-1, 1:] * np.uint32(1 << 8)
        + pixels[:, 1:, :-1] * np.uint32(1 << 16)
        + pixels[:, 1:, 1:] * np.uint32(1 << 24)
    )
    x = tf.clip_by_value(x + 1.0, 0.0, SIDE + 1.0)
    y = tf.clip_by_value(y + 1.0, 0.0, SIDE + 1.0)
    left = tf.minimum(tf.floor(x), np.float32(SIDE))
    top = tf.minimum(tf.floor(y), np.float32(SIDE))
    place = tf.cast(top * side + left, tf.int32)
    words = tf.gather(tf.reshape(packed, (-1, side * side)), place, batch_dims=1)

    def neighbour(shift: int) -> tf.Tensor:
        byte = tf.bitwise.right_shift(words, np.uint32(shift))
        return tf.cast(tf.bitwise.bitwise_and(byte, np.uint32(255)), tf.float32)

    right, down = x - left, y - top
    upper = neighbour(0) * (1.0 - right) + neighbour(8) * right
    lower = neighbour(16) * (1.0 - right) + neighbour(24) * right
    return upper * (1.0 - down) + lower * down
