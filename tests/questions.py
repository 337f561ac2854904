"""Experiments of a few small nets."""

from __future__ import annotations

WIDTH = """
title = "Width of one hidden layer"
question = "Does a wider hidden layer help?"
claim = "Yes, by over 1,000 images."
baseline = "narrow"
seeds = 3
margin = 50

[config]
epochs = 2
batch_size = 100

[variants.narrow]
hidden = 8

[variants.wide]
hidden = 32
"""


TUNED = """
baseline = "8"
seeds = 2
tuning_seeds = [100, 101]
tuning_validation_size = 400

[config]
epochs = 2
batch_size = 100

[tune]
learning_rate = [1e-4, 3e-2]

[variants.8]
hidden = 8

[variants.fixed]
hidden = 8
activation = "tanh"
tune.learning_rate = [1e-2]
"""
