"""Search hyperparameters: `python -m mnist_lab.study NAME` runs studies/NAME.toml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_lab.command import command

if TYPE_CHECKING:
    import pandas as pd

    from mnist_lab.search import Outcome
    from mnist_lab.space import StudyDeclaration

FOLDER = Path("studies")
_SHOWN_TRIALS = 10


@click.command(
    epilog="NAME is the stem of a file in studies/, or the path of a .toml file. A study goes on "
    "where it stopped: run the command again to do the trials that are missing."
)
@click.argument("name")
@click.option("--trials", type=click.IntRange(1, 1_000_000), help="The study's total of trials.")
@click.option("--epochs", type=click.IntRange(1, 1_000_000), help="Epochs of each trial.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Of sampler and trainings.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Begin no trial after this time.",
)
@click.option(
    "--data",
    "data_path",
    metavar="PATH",
    help="An .npz or a folder of IDX files in MNIST's form, instead of MNIST.",
)
@click.option(
    "--storage",
    metavar="URL",
    help="Optuna storage; by default sqlite, in a .db file beside the study's .toml.",
)
@command
def main(
    name: str,
    trials: int | None,
    epochs: int | None,
    seed: int | None,
    timeout: float | None,
    data_path: str | None,
    storage: str | None,
) -> None:
    """Run the study NAME: every trial becomes a run in MLflow, and the best are shown."""
    from mnist_lab.declaration import find, read
    from mnist_lab.space import StudyDeclaration

    path = find(name, FOLDER, "study")
    declared = read(path, StudyDeclaration)
    declaration = _overridden(declared, trials, epochs, seed)

    from mnist_lab.data import load_data, load_mnist

    data = load_mnist() if data_path is None else load_data(data_path)
    # What the command line changes makes another study: its trials are not to be mixed with
    # those of the study as declared. It is filed under the same name in MLflow.
    changes = [
        f" epochs={epochs}" if declaration.config != declared.config else "",
        f" seed={seed}" if declaration.seed != declared.seed else "",
        f" data={data.name}" if data_path is not None else "",
    ]
    study_name = path.stem + "".join(changes)
    url = storage or f"sqlite:///{path.with_suffix('.db')}"

    from mnist_lab.connection import without_password
    from mnist_lab.tracking import open_store

    store = open_store()  # before TensorFlow, which takes longer to import than this to fail

    from mnist_lab.search import run_study
    from mnist_lab.tables import runs

    again = f"python -m mnist_lab.study {name}{_options(trials, epochs, seed, data_path, storage)}"
    try:
        outcome = run_study(declaration, path.stem, study_name, data, store, url, timeout)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the finished trials are kept; go on with\n  {again}") from None
    table = runs(path.stem, store)
    table = table[table["study"] == study_name]
    click.echo(f"{study_name}: {_counts(outcome, table)}")
    _report(declaration, outcome, table, again)
    if (absent := outcome.done - len(table[table["state"].notna()])) > 0:
        click.echo(
            f"\n{absent} finished trials are in {without_password(url)} but have no run in this "
            "MLflow store. To begin the study anew, delete the one or use another --storage."
        )
    _show_more(path.stem, url, store.link(outcome.experiment_id))


def _overridden(
    declaration: StudyDeclaration, trials: int | None, epochs: int | None, seed: int | None
) -> StudyDeclaration:
    config = declaration.config
    if epochs is not None:
        config = config.model_copy(update={"epochs": epochs})
    given = {"trials": trials, "seed": seed}
    changes = {key: value for key, value in given.items() if value is not None}
    return declaration.model_copy(update={**changes, "config": config})


def _options(
    trials: int | None, epochs: int | None, seed: int | None, data: str | None, storage: str | None
) -> str:
    from mnist_lab.connection import without_password

    given = {"trials": trials, "epochs": epochs, "seed": seed, "data": data}
    if storage is not None:
        given["storage"] = without_password(storage)
    return "".join(f" --{key} {value}" for key, value in given.items() if value is not None)


def _counts(outcome: Outcome, table: pd.DataFrame) -> str:
    counts = table["state"].value_counts()
    kinds = ", ".join(f"{count} {str(state).lower()}" for state, count in counts.items())
    return f"{outcome.done} trials" + (f" ({kinds})" if kinds else "")


def _report(
    declaration: StudyDeclaration, outcome: Outcome, table: pd.DataFrame, again: str
) -> None:
    """The best trials, the best configuration, and what is missing."""
    from mnist_lab.listing import readable, sort

    finished = table[table["state"].notna()]
    best = sort(finished, declaration.metric).head(_SHOWN_TRIALS)
    click.echo(
        f"\nBest by {declaration.metric} (one training a trial, seed {declaration.seed}; "
        "test accuracy is on record only, nothing is chosen by it):\n"
    )
    click.echo(readable(best, keep=list(declaration.search)))
    if outcome.best is None:
        click.echo("\nNo trial is complete yet.")
    else:
        click.echo(
            f"\nBest configuration (trial {outcome.best_trial}, "
            f"{declaration.metric} {outcome.best_value:.4f}):\n"
        )
        click.echo("".join(f"  {line}\n" for line in outcome.best.to_toml().splitlines()), nl=False)
    missing = declaration.trials - outcome.done
    if missing > 0:
        click.echo(f"\n{missing} of {declaration.trials} trials are missing; go on with\n  {again}")


def _show_more(name: str, url: str, link: str) -> None:
    from mnist_lab.connection import without_password

    click.echo(f"\nAll runs as a table:  python -m mnist_lab.compare {name}")
    click.echo(f"The search:           optuna-dashboard {without_password(url)}")
    click.echo(f"All runs in MLflow:   mlflow ui, then open\n  {link}")


if __name__ == "__main__":
    main()
