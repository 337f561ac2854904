"""Stores that can and cannot be reached, and how they are named."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from mnist_lab.connection import TrackingError, local_uri, probe, without_password
from mnist_lab.tracking import Store, open_store
from tests.servers import INITDB, postgresql


def test_a_deleted_experiment_is_named(store: Store) -> None:
    mlflow.MlflowClient().delete_experiment(store.experiment("gone"))
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        store.experiment("gone")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1",
        "http://127.0.0.1:{silent}",
        "postgresql://me:secret@127.0.0.1:1/lab",
        "postgresql://me:secret@127.0.0.1:{silent}/lab",
        "sqlite:////no/such/folder/mlflow.db",
        "nonsense://store",
        "file:///tmp/old-store",
    ],
)
def test_an_unreachable_store_is_said_within_seconds(
    uri: str, silent_port: int, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(silent=silent_port))
    began = time.perf_counter()
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI") as error:
        open_store()
    assert time.perf_counter() - began < 15
    assert "secret" not in str(error.value)
    assert "expected" in str(error.value)


@pytest.mark.skipif(
    INITDB is None and "CI" not in os.environ, reason="needs PostgreSQL (Debian: postgresql)"
)
def test_a_database_that_is_not_there_is_said_within_seconds(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql() as databases:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{databases}/another")
        began = time.perf_counter()
        with pytest.raises(TrackingError, match='database "another" does not exist') as error:
            open_store()
        assert time.perf_counter() - began < 15
    assert "secret" not in str(error.value)


def test_a_local_store_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b%").mkdir()
    monkeypatch.chdir(tmp_path / "a b%")
    assert local_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/a b%25/mlflow.db"
    assert (
        local_uri("sqlite+pysqlite:///./my%20runs.db?timeout=5")
        == f"sqlite+pysqlite:///{tmp_path}/a b%25/my runs.db?timeout=5"
    )
    assert local_uri("sqlite:////my%20runs/mlflow.db") == "sqlite:////my runs/mlflow.db"
    assert local_uri("http://host:5000") == "http://host:5000"


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:pw@host/db") == "postgresql://me:***@host/db"
    assert without_password("postgresql://h/d?user=me&password=p") == (
        "postgresql://h/d?user=me&password=***"
    )
    assert without_password("postgresql://lab@host/optuna") == "postgresql://lab@host/optuna"
    assert without_password("sqlite:///mlflow.db") == "sqlite:///mlflow.db"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite://", "is in the memory of one process"),
        ("sqlite:///:memory:", "is in the memory of one process"),
        ("http://[::1", "is no URL"),
        ("http://me:secret@[::1", "is no URL"),
    ],
)
def test_a_store_that_keeps_nothing_and_what_is_no_url_are_refused(uri: str, said: str) -> None:
    with pytest.raises(TrackingError, match=said) as error:
        open_store(uri=uri)
    assert "secret" not in str(error.value)


def test_a_store_is_reached_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """By way of a proxy, or of a database's socket, which no connection of ours can try."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    probe("http://mlflow.campus.invalid:5000", "shown")
    with pytest.raises(TrackingError, match="No such file or directory"):
        probe("postgresql://lab@/mlflow?host=/tmp/no-such-folder", "shown")


def test_a_folder_of_an_old_mlflow_is_said_to_be_one(
    bare_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_workspace / "mlruns" / "0").mkdir(parents=True)
    (bare_workspace / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: '0'\n")
    with pytest.raises(TrackingError, match="has runs of an old MLflow"):
        open_store()
