"""What the commands have in common: how errors, interrupts and progress reach the user."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click

from mnist_lab.config import UserError

MISTAKE = 2
INTERRUPTED = 130  # the shells' status for a process ended by Ctrl-C
EPOCH = "epoch"  # what the name of a thread begins with that trains for one


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a user's mistake into one message and exit code 2; a bug keeps its traceback."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            _check_names(kwargs)
            return function(*args, **kwargs)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(MISTAKE)
        except KeyboardInterrupt as interrupt:
            click.echo(f"\ninterrupted{': ' if str(interrupt) else ''}{interrupt}", err=True)
            if any(thread.name.startswith(EPOCH) for thread in threading.enumerate()):
                # It computes outside of Python, where nothing calls it off, and Python would wait.
                sys.stdout.flush()
                os._exit(INTERRUPTED)
            sys.exit(INTERRUPTED)

    return guarded


def _check_names(given: Mapping[str, object]) -> None:
    """Refuse names that are no UTF-8: they become names of studies and runs, which are.

    Raises:
        UserError: shows the name.
    """
    for key in ("name", "data_path"):
        value = str(given.get(key) or "")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(f"{value!a} is not UTF-8; expected a file name that is") from None
