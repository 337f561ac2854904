"""The options that a study and an experiment share."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

data: Decorator = click.option(
    "--data",
    "data_path",
    metavar="PATH",
    help="An .npz or a folder of IDX files in MNIST's form, instead of MNIST.",
)
workers: Decorator = click.option(
    "--workers",
    type=click.IntRange(1, 1_000),
    metavar="N",
    help="Train in N processes on this machine, which share its cores.",
)
scheduler: Decorator = click.option(
    "--scheduler",
    metavar="URL",
    help="Train on a running Dask cluster instead: tcp://HOST:PORT of its scheduler.",
)


def output(what: str) -> Decorator:
    """The option --output.

    Args:
        what: is written: "the results".
    """
    return click.option(
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Write {what} there as CSV, a row a run.",
    )


def finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse NaN, which lies in every range.

    Raises:
        BadParameter: names the option.
    """
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no finite number")
    return value


def check_team(workers: int | None, scheduler: str | None) -> None:
    """Refuse two kinds of workers at once.

    Raises:
        UsageError: both are given.
    """
    if workers is not None and scheduler is not None:
        raise click.UsageError(
            "--workers and --scheduler are both given; it can be one or the other"
        )


def again(verb: str, name: str, given: Iterable[tuple[str, object]]) -> str:
    """The command that goes on.

    Args:
        verb: "study" or "experiment".
        name: of its file.
        given: the options with their values, None for those that were not given.
    """
    told = [f" --{key} {shlex.quote(str(value))}" for key, value in given if value is not None]
    return f"python -m mnist_lab.{verb} {shlex.quote(name)}" + "".join(told)
