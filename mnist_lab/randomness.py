"""Random numbers for the compiled epoch: a counter hashed with a key, cheap where XLA runs it.

XLA's own generators dominate an epoch on a CPU: Philox takes 0.66 s for the dropout masks of one
epoch of the baseline, Threefry 0.07 s, and Gaussian input noise by Threefry 0.64 s, where the
epoch itself takes 0.8 s. Hashing the counter takes 0.01 s and 0.17 s.

The generator is that of SplitMix (Steele, Lea and Flood, 2014) on 32-bit words: the position of a
number times an odd constant goes through a mixing function, here twice with one half of the key
each, so that two streams are no shifted copies of each other. The mixing function is one
that Wellons (2018) found by search for the least bias of its output bits. It is for noise, not
for secrets.

A number depends on its key and its position alone: the same on every machine and in every number
of threads. (Of normal ones the last bits differ between what XLA compiles and what it does not.)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mnist_lab.backend import tf

_GAMMA = np.uint32(0x9E3779B9)  # 2**32 over the golden ratio, odd: SplitMix's constant


def stream(seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The key of a step in the stream of a seed: two () int32 to (2,) uint32."""
    seed, step = tf.bitcast(seed, tf.uint32), tf.bitcast(step, tf.uint32)
    first = _mixed(_mixed(seed) + step * _GAMMA)
    second = _mixed(tf.bitwise.bitwise_xor(_mixed(step + _GAMMA), seed))
    return tf.stack([first, second])


def uniform(shape: Sequence[int], key: tf.Tensor) -> tf.Tensor:
    """Numbers in [0, 1): float32 of a static `shape`, from a (2,) uint32 key of `stream`."""
    return tf.cast(_shifted(_words(shape, key), 8), tf.float32) * np.float32(2.0**-24)


def normal(shape: Sequence[int], key: tf.Tensor) -> tf.Tensor:
    """Numbers of mean 0 and variance 1: float32 of a static `shape`, by the inverse of erf.

    None is larger than 5.5 in magnitude, as the 24 bits of a number have it.
    """
    centered = 2.0 * uniform(shape, key) - np.float32(1.0 - 2.0**-24)
    # Of the negative side: near 1, where it is not compiled, TensorFlow rounds, up to infinity.
    inverse = -tf.sign(centered) * tf.math.erfinv(-tf.abs(centered))
    return inverse * np.float32(2.0**0.5)


def _words(shape: Sequence[int], key: tf.Tensor) -> tf.Tensor:
    positions = tf.bitcast(tf.range(prod(shape), dtype=tf.int32), tf.uint32)
    words = _mixed(positions * _GAMMA + key[0])
    return tf.reshape(_mixed(tf.bitwise.bitwise_xor(words, key[1])), shape)


def _mixed(word: tf.Tensor) -> tf.Tensor:
    """A bijection of 32-bit words under which each input bit changes about half of the output."""
    word = tf.bitwise.bitwise_xor(word, _shifted(word, 16)) * np.uint32(0x21F0AAAD)
    word = tf.bitwise.bitwise_xor(word, _shifted(word, 15)) * np.uint32(0x735A2D97)
    return tf.bitwise.bitwise_xor(word, _shifted(word, 15))


def _shifted(word: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(word, np.uint32(bits))
