"""The line to a store, and what becomes of a run when it is cut: nothing measured is lost.

MLflow itself tries again for about a minute. After that a run goes on without its store, and
what it measures is kept on disk. At its end the store is tried once more; if it is still away,
the user is told what is kept and how to send it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mnist_lab import unsent
from mnist_lab.config import UserError
from mnist_lab.connection import TrackingError, first_line, probe, without_password
from mnist_lab.delivery import deliver
from mnist_lab.measured import Measured
from mnist_lab.mlflow_backend import mlflow

Answer = TypeVar("Answer")

# What MLflow answers to a wrong request, as only a bug would make it. Everything else is a store
# that does not do its work: away, read-only or full.
_WRONG_REQUEST = ("INVALID_PARAMETER_VALUE", "INVALID_STATE")
# The one of them that a user can bring about: who deletes a run or an experiment that is written.
_DELETED = "must be in the 'active' state"
# To a question, an answer; of a run being written it says that the store lost it.
_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"


class Line:
    """A client of a store, shared by all that is read and written there.

    Attributes:
        uri: of the store.
        shown: the same without a password.
        client: MLflow's.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.shown = without_password(uri)
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self._cut: Exception | None = None
        self._kept: dict[str, tuple[Measured, Path]] = {}
        self._not_kept: dict[str, str] = {}

    def ask(self, request: Callable[[mlflow.MlflowClient], Answer]) -> Answer:
        """What the store answers.

        Raises:
            TrackingError: it does not.
        """
        try:
            if self._cut is not None:  # it was waited for already: is anything there now?
                probe(self.uri, self.shown)
            return request(self.client)
        except Exception as error:
            if _is_deleted(error):
                said = first_line(error, self.uri, self.shown)
                raise TrackingError(
                    f"{said} (in the MLflow store {self.shown}); bring it back with `mlflow runs "
                    "restore` or `mlflow experiments restore`"
                ) from None
            away = isinstance(error, TrackingError) or _is_cut(error)
            if not away or getattr(error, "error_code", "") == _NOT_THERE:
                raise
            # The first is what is told, lest one outage be told in several words.
            self._cut = self._cut or error
            raise TrackingError(
                f"{self._away()}; what is on record there is as it was, and the same command "
                "goes on with it once the store is back"
            ) from None

    def take(
        self, measured: Measured, files: Path, request: Callable[[mlflow.MlflowClient], object]
    ) -> None:
        """Write more of a run; where the store does not take it, keep all of the run on disk.

        Args:
            measured: the run, with what is to be written.
            files: a folder with its files/ and its model/, so far as it has them.
            request: writes what is new.
        """
        if self._cut is None:
            try:
                request(self.client)
                return
            except Exception as error:
                if not _is_cut(error):
                    raise
                self._cut = error
        self._keep(measured, files)

    def settle(self) -> None:
        """Send what is kept, should the store be back; otherwise say where it lies.

        Raises:
            TrackingError: the store is still away, or the run was deleted there.
        """
        ended = [kept for kept in self._kept.values() if kept[0].status]
        if not ended and not self._not_kept:
            return
        try:
            probe(self.uri, self.shown)  # it was waited for already: is anything there now?
            deleted = [told for kept in ended if (told := self._deliver(*kept))]
        except Exception as error:
            if not _is_cut(error) and not isinstance(error, TrackingError):
                raise
            raise TrackingError(self._told()) from None
        self._cut = None
        if self._not_kept:
            raise TrackingError(self._told())
        if deleted:
            raise TrackingError("\n".join(deleted))

    def _deliver(self, measured: Measured, folder: Path) -> str:
        """Send a run; what is said of one that was deleted in the store, which stays kept."""
        told = ""
        with unsent.taken(folder) as kept:
            if kept is not None:  # `send` may have sent it meanwhile
                try:
                    deliver(self.client, measured, folder)
                    unsent.forget(folder)
                except UserError as error:
                    if isinstance(error, TrackingError):
                        raise
                    told = str(error)
        del self._kept[measured.run_id]
        return told

    def _keep(self, measured: Measured, files: Path) -> None:
        try:
            self._kept[measured.run_id] = measured, unsent.keep(measured, files)
            self._not_kept.pop(measured.run_id, None)
        except OSError as error:
            self._not_kept[measured.run_id] = f"run '{measured.name}': {error.strerror or error}"

    def _away(self) -> str:
        said = first_line(self._cut, self.uri, self.shown) if self._cut else "no answer"
        return f"the MLflow store {self.shown} does not answer or takes nothing ({said})"

    def _told(self) -> str:
        text = self._away()
        for measured, folder in self._kept.values():
            text += (
                f"\n  what run '{measured.name}' measured is kept in {folder}: {measured.summary()}"
            )
        for problem in self._not_kept.values():
            text += f"\n  what was measured could not be kept in {unsent.FOLDER}/ either: {problem}"
        self._not_kept.clear()  # it is lost, and that is said once
        if self._kept:
            text += "\nonce the store is back, send it there with\n  python -m mnist_lab.send"
        return text


def _is_deleted(error: Exception) -> bool:
    """Whether an error says that a run or an experiment was deleted."""
    return isinstance(error, mlflow.MlflowException) and _DELETED in str(error)


def _is_cut(error: Exception) -> bool:
    """Whether an error says that a store is away, read-only or full, or lost what is written."""
    if isinstance(error, mlflow.MlflowException):
        return error.error_code not in _WRONG_REQUEST or _is_deleted(error)
    # Errors of HTTP are OSErrors, too.
    return isinstance(error, OSError | sqlite3.Error)
