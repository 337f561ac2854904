"""A network saved in MLflow's format."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import mlflow

import mnist_lab as lab
from mnist_lab import logged_model
from mnist_lab.models import build_network, serving_model

# Of the saving itself, another each time.
_OWN = ("model_uuid", "utc_time_created")


def test_the_files_are_those_of_mlflows_own_way(tmp_path: Path) -> None:
    config = lab.RunConfig(hidden=(8,), normalization="batch")
    model = serving_model(build_network(config, 0), config)
    logged_model.save(model, tmp_path / "ours")
    pins = (tmp_path / "ours" / "requirements.txt").read_text().split()
    assert [pin.partition("==")[0] for pin in pins] == ["keras", "tensorflow", "mlflow"]
    mlflow.keras.save_model(
        model,
        str(tmp_path / "theirs"),
        signature=mlflow.models.get_model_info(str(tmp_path / "ours")).signature,
        pip_requirements=pins,
    )
    ours, theirs = (_files(tmp_path / name) for name in ("ours", "theirs"))
    del ours["MLmodel"], theirs["MLmodel"]
    assert ours == theirs
    described, expected = (
        mlflow.models.Model.load(str(tmp_path / name)).to_dict() for name in ("ours", "theirs")
    )
    assert {key: described[key] for key in described if key not in _OWN} == {
        key: expected[key] for key in expected if key not in _OWN
    }
    assert described.keys() == expected.keys()


def _files(folder: Path) -> dict[str, bytes]:
    """All files, those in the archive of the network as well, but for the time it was made at."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                inside = {f"{name}/{part}": archive.read(part) for part in archive.namelist()}
            made = json.loads(inside[f"{name}/metadata.json"])
            found |= {**inside, f"{name}/metadata.json": made["keras_version"].encode()}
        elif path.is_file():
            found[name] = path.read_bytes()
    return found
