"""Show the recorded runs of a name as a table: `python -m mnist_lab.compare NAME`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_lab.command import command
from mnist_lab.config import RunConfig, UserError

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("table", "csv", "markdown", "json")


@click.command(
    epilog="NAME is the name of a study. table and markdown show the columns that tell the runs "
    "apart; csv and json have all columns, as mnist_lab.runs(NAME) in Python."
)
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How the table is written.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the table there instead of to the screen.",
)
@command
def main(name: str, form: str, output: Path | None) -> None:
    """Print the recorded runs of NAME, the highest validation accuracy first."""
    from mnist_lab.tables import runs
    from mnist_lab.tracking import open_store

    if output is not None and not output.parent.is_dir():
        raise UserError(f"--output: {output}: there is no folder {output.parent}/ to write it in")
    store = open_store(create=False)
    table = sort(runs(name, store), "val_accuracy")
    text = _written(table, form)
    if output is None:
        click.echo(text)
    else:
        _replace(output, text + "\n")
    if form == "table":
        click.echo(f"\n{len(table)} runs. In MLflow: mlflow ui, then open")
        click.echo(f"  {store.link(store.find_experiment(name))}")


def sort(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Runs from the best to the worst by a validation metric; those without it come last."""
    return table.sort_values(
        metric, ascending=metric.endswith("loss"), na_position="last", kind="stable"
    ).reset_index(drop=True)


def readable(table: pd.DataFrame, keep: Sequence[str] = (), form: str = "simple") -> str:
    """The columns that tell runs apart, as aligned text, or as markdown (`form="pipe"`)."""
    from tabulate import tabulate

    varied = [
        column
        for column in (*RunConfig.model_fields, "seed", "study", "data_sha256")
        if column in keep or table[column].nunique(dropna=False) > 1
    ]
    trials = table["trial"].notna().any()
    columns = [
        *(["trial", "state"] if trials else ["name"]),
        *(["status"] if (table["status"] != "FINISHED").any() else []),
        *varied,
        *("val_accuracy", "test_accuracy", "duration"),
    ]
    shown = table[columns].rename(columns={"duration": "seconds"})
    cells = [
        [
            "" if value != value or value is None else _cell(column, value)
            for column, value in zip(shown.columns, row, strict=True)
        ]
        for row in shown.astype(object).where(shown.notna(), None).itertuples(index=False)
    ]
    text: str = tabulate(
        cells,
        headers=list(shown.columns),
        tablefmt=form,
        disable_numparse=True,
        colalign=["right"] * len(shown.columns) if cells else None,
    )
    return text


def _cell(column: str, value: object) -> str:
    if column == "seconds":
        return f"{value:.1f}"
    if column == "data_sha256":
        return str(value)[:12]
    if isinstance(value, float):
        return f"{value:.4f}" if column.endswith(("accuracy", "loss")) else f"{value:.4g}"
    return str(value)


def _written(table: pd.DataFrame, form: str) -> str:
    if form == "csv":
        return table.to_csv(index=False).rstrip("\n")
    if form == "json":
        records = table.astype(object).where(table.notna(), None).to_dict("records")
        return json.dumps(records, indent=2, default=lambda time: time.isoformat())
    return readable(table, form="pipe" if form == "markdown" else "simple")


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as draft:
            draft.write(text)
        os.chmod(draft.name, 0o666 & ~_umask())
        os.replace(draft.name, path)
    except OSError as error:
        raise UserError(f"--output: {path}: cannot be written ({error.strerror})") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


if __name__ == "__main__":
    main()
