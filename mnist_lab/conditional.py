"""Conditional spaces: the Python function that a study names, and what it may ask of a trial."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mnist_lab.config import ConfigError, RunConfig, RunFields, UserError
from mnist_lab.declared import nearest
from mnist_lab.provenance import meaning

# A file beside the study's and a function in it. No folder and no package: what a study runs is
# what lies beside it, to be read in one place.
NAMED = re.compile(r"(?P<file>[A-Za-z0-9_-]+\.py):(?P<function>[A-Za-z_][A-Za-z0-9_]*)")


class SpaceError(UserError):
    """A space that cannot be loaded, or that gives no configuration."""


class Trial(Protocol):
    """What a space may ask for; each name is a parameter of the search, of the same range always.

    These are methods of Optuna's trial.
    """

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """A whole number from `low` to `high`, both included."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A real number from `low` to `high`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of some numbers, texts or booleans."""


Function = Callable[[Any], Mapping[str, Any]]


class ConditionalSpace:
    """A space that a function defines: from a trial to fields of `RunConfig`.

    Attributes:
        named: as the study names it: "depth.py:space".
        digest: 16 hexadecimal digits that tell versions of its file apart; comments and
            formatting do not count.
    """

    def __init__(self, named: str, function: Function, path: Path, digest: str) -> None:
        self.named = named
        self.digest = digest
        self._function = function
        self._path = path

    def configuration(self, trial: Trial, fixed: RunFields) -> RunConfig:
        """The configuration of a trial.

        Args:
            trial: what the function asks.
            fixed: the fields that are the same for all trials.

        Raises:
            SpaceError: the function raised an error, or gave fields that are refused.
        """
        name = self.named.partition(":")[2]
        try:
            fields = self._function(trial)
        except (Exception, SystemExit) as error:
            raise SpaceError(
                f"{self._path}{_line(error, self._path)}: {name} failed: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(fields, Mapping) or not all(isinstance(key, str) for key in fields):
            raise SpaceError(
                f"{self._path}: {name} gave {fields!r}; expected a dictionary of fields of "
                'RunConfig, such as {"hidden": [512, 256]}'
            )
        if taken := sorted(fields.keys() & {*fixed.model_fields_set, "validation_size"}):
            option = " or to --epochs" if "epochs" in taken else ""
            raise TakenError(
                f"{self._path}: {name} gave {', '.join(taken)}, which belongs to [config]{option} "
                "alone; leave one of them out"
            )
        try:
            return RunConfig(**{**dict(fixed), **fields})
        except ConfigError as error:
            text = str(error).removeprefix("RunConfig: ")
            raise SpaceError(f"{self._path}: {name} gave {dict(fields)}: {text}") from None


class TakenError(SpaceError):
    """A space that gives what is fixed."""


class EpochsError(SpaceError):
    """A space that gives epochs where all trials are to have the same."""


def load_space(named: str, folder: Path) -> ConditionalSpace:
    """The function that a study names.

    Args:
        named: "FILE.py:FUNCTION".
        folder: where the study's file lies, and FILE.py with it.

    Raises:
        SpaceError: there is no such file or function, or the file cannot be run.
    """
    match = NAMED.fullmatch(named)
    assert match is not None, named  # the declaration was validated
    path, function = folder / match["file"], match["function"]
    try:
        source = path.read_text(encoding="utf-8-sig")
        code = compile(source, str(path), "exec", dont_inherit=True)
    except (OSError, UnicodeDecodeError) as error:
        known = sorted(file.name for file in folder.glob("*.py"))
        raise SpaceError(
            f"space: {path} cannot be read ({error}){nearest(path.name, known)}; it is to lie "
            "beside the study's file"
        ) from None
    except SyntaxError as error:
        raise SpaceError(f"space: {path}:{error.lineno}: {error.msg}") from None
    except (MemoryError, RecursionError, ValueError) as error:  # nested too deeply, say
        raise SpaceError(f"space: {path}: {type(error).__name__}: {error}") from None
    spec = importlib.util.spec_from_loader(f"space_{path.stem}", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[spec.name] = module  # dataclasses look for theirs there
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        raise SpaceError(
            f"space: {path}{_line(error, path)}: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, function, None)
    if not callable(found):
        known = [name for name, value in vars(module).items() if callable(value)]
        raise SpaceError(
            f"space: {path} has no function '{function}'{nearest(function, known) or '.'} "
            f"Functions: {', '.join(known) or 'none'}"
        )
    digest = hashlib.sha256(meaning(source).encode()).hexdigest()[:16]
    return ConditionalSpace(named, found, path, digest)


def _line(error: BaseException, path: Path) -> str:
    """The line of a file where an error came up, as text ":LINE"."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f":{lines[-1]}" if lines else ""
