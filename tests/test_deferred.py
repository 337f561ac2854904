"""What is imported late is all there."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import environment

_USE = """
import sys
import mnist_lab
from mnist_lab.backend import keras
mnist_lab.RunConfig, mnist_lab.train
assert "sklearn" not in sys.modules
assert "matplotlib" not in sys.modules
import keras.wrappers
assert "sklearn" not in sys.modules
from sklearn.base import BaseEstimator
assert issubclass(keras.wrappers.SKLearnClassifier, BaseEstimator)
from keras.wrappers import SKLearnRegressor
assert keras._tf_keras.keras.wrappers is keras.wrappers
from keras.src.visualization.plot_image_gallery import plt
assert plt is sys.modules["matplotlib.pyplot"]
assert "plot_image_gallery" in dir(keras.visualization)
assert callable(keras.visualization.plot_image_gallery)
"""


def test_keras_parts_are_imported_when_they_are_used() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _USE],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
