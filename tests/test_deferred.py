"""What is imported late is all there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mnist_lab.deferred import defer
from tests.conftest import environment
from tests.test_imports import loaded_after

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


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that imports two of its parts, each of which tells when it is run."""
    folder = tmp_path / "parted" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "parted" / "__init__.py").write_text("ran = []\nfrom parted import heavy, light\n")
    (tmp_path / "parted" / "light.py").write_text("")
    (tmp_path / "parted" / "heavy.py").write_text("import parted\nparted.ran += ['heavy']\nx = 1\n")
    (folder / "__init__.py").write_text("")
    (folder / "deep.py").write_text("import parted\nparted.ran += ['deep']\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "parted"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test imports of the package is not there for the next one."""
    for name in ("", ".heavy", ".light", ".inner", ".inner.deep"):
        monkeypatch.setitem(sys.modules, f"parted{name}", sys)
        monkeypatch.delitem(sys.modules, f"parted{name}")


def test_a_deferred_part_is_run_when_something_of_it_is_used(package: str) -> None:
    defer(package, "heavy", "inner.deep", "unknown", "inner.unknown", "unknown.unknown")
    import parted  # type: ignore[import-not-found]
    from parted.inner import deep  # type: ignore[import-not-found]

    assert parted.heavy.__name__ == "parted.heavy"
    assert parted.ran == []
    assert parted.heavy.x == 1
    assert parted.ran == ["heavy"]
    assert "__file__" in dir(deep)
    assert parted.ran == ["heavy", "deep"]
    from parted.heavy import x  # type: ignore[import-not-found]

    assert x == 1
    with pytest.raises(AttributeError, match="y"):
        _ = parted.heavy.y
    assert parted.ran == ["heavy", "deep"]


def test_what_is_imported_already_or_is_not_there_stays_as_it_is(package: str) -> None:
    import parted

    before = parted.light
    defer(package, "light")
    assert sys.modules["parted.light"] is before
    defer("no_such_package", "part")


def test_a_store_needs_no_web_framework(empty_store: Path) -> None:
    code = f"""
from mnist_lab.tracking import open_store
store = open_store(uri="sqlite:///{empty_store}")
store.runs(store.experiment("test"))
"""
    loaded = loaded_after(code)
    assert "mlflow" in loaded
    assert "fastapi" not in loaded
    # Whoever wants them has them.
    loaded_after(f"{code}\nfrom mlflow.genai import scorer\nimport mlflow\nmlflow.gateway.utils")
