"""What an epoch does, known before it begins: order, rates, partners and maps of the images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mnist_lab.config import RunConfig
from mnist_lab.distortion import AFFINE, affine_maps, elastic_basis
from mnist_lab.schedules import values


class Plan(NamedTuple):
    """What an epoch of one training does, drawn and scheduled before it begins.

    Attributes:
        order: (size,) int32, the images in the order of their use.
        rates: (updates,) float32, the learning rate of each update.
        momenta: (updates,) float32, its momentum.
        mixes: (updates,) float32, the weight in [0, 1] of an image itself under mixup.
        maps: (size, 6) float32, the affine map of each image in the order of their use; (0, 6)
            where nothing is distorted.
        alpha: () float32, the strength of elastic distortions, pixels.
        basis: (rank**2, 784) float32, of `elastic_basis`; (0, 784) where nothing is elastic.
        seed: () int32, of the epoch's elastic distortions.
    """

    order: np.ndarray
    rates: np.ndarray
    momenta: np.ndarray
    mixes: np.ndarray
    maps: np.ndarray
    alpha: np.ndarray
    basis: np.ndarray
    seed: np.ndarray


def plan_of(config: RunConfig, seed: int, epoch: int, size: int) -> Plan:
    """The plan of an epoch, counted from 0."""
    updates = -(-size // min(config.batch_size, size))
    place = {"epoch": epoch, "epochs": config.epochs, "updates": updates}
    draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, epoch)))
    mixes = draw.beta(config.mixup, config.mixup, updates) if config.mixup else np.ones(updates)
    distorted_images = size if distorts(config) else 0
    return Plan(
        order=permutation(seed, epoch, size),
        rates=values(config.learning_rate_schedule, config.learning_rate, **place),
        momenta=values(config.momentum_schedule, config.momentum or 0.0, **place),
        mixes=mixes.astype(np.float32),
        maps=affine_maps(config, distorted_images, draw),
        alpha=np.array(config.elastic_alpha, np.float32),
        basis=elastic_basis(config),
        seed=np.array(draw.integers(2**31), np.int32),
    )


def distorts(config: RunConfig) -> bool:
    """Whether training images are distorted."""
    return any(getattr(config, name) for name in (*AFFINE, "elastic_alpha"))


def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of the images in an epoch (counted from 0): (size,) int32."""
    stream = np.random.SeedSequence(seed, spawn_key=(1, epoch))
    return np.random.default_rng(stream).permutation(size).astype(np.int32)
