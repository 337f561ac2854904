"""Compare recorded runs: `python -m mnist_lab.compare NAME`, or `mnist_lab.compare(runs, …)`.

The module is the command. Called as a function it is `mnist_lab.comparison.compare`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from mnist_lab.command import command
from mnist_lab.config import UserError
from mnist_lab.files import check_folder, make_folder, replace
from mnist_lab.importing import uncollected

if TYPE_CHECKING:
    import pandas as pd

    from mnist_lab.data import Dataset
    from mnist_lab.tracking import Store
    from mnist_lab.verdict import Asked

# Of an id that is given in part: fewer characters fit some run by chance.
_SHORTEST_ID = 8
FORMATS = ("table", "csv", "markdown", "json")


class _CallableModule(ModuleType):
    """A module that is a function too.

    Importing `mnist_lab.compare` sets the attribute `compare` of the package to this module, in
    place of the public function of that name; so the module does what the function does.
    """

    def __call__(self, runs: pd.DataFrame, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """`mnist_lab.comparison.compare`."""
        from mnist_lab.comparison import compare

        return compare(runs, *args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule


@click.command(
    epilog="NAME is the name of a study or an experiment. table and markdown show the columns that "
    "tell the runs apart; csv and json have all columns, as mnist_lab.runs(NAME) in Python. RUN is "
    "a run's name in the table, a trial's number, or the first 8 characters or more of its id."
)
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How the table is written; not with --mcnemar.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the table there instead of to the screen, or what --mcnemar finds.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the figures there, as PNG; not with --mcnemar.",
)
@click.option(
    "--mcnemar",
    "pair",
    nargs=2,
    metavar="RUN RUN",
    help="Compare two models image by image instead.",
)
@click.option(
    "--data",
    "data_path",
    metavar="PATH",
    help="What the runs were trained on, if not MNIST: for --figures and --mcnemar.",
)
@command
def main(
    name: str,
    form: str,
    output: Path | None,
    figures: Path | None,
    pair: tuple[str, str] | None,
    data_path: str | None,
) -> None:
    """Print the recorded runs of NAME: trials of a study, the best first, and all verdicts."""
    if pair is not None:
        _check_alone(form, figures)
    elif data_path is not None and figures is None:
        raise click.UsageError(
            "--data is for what looks at images: --figures and --mcnemar; the table needs none"
        )
    if output is not None:
        check_folder(output, "--output")

    with uncollected("mnist_lab.tables", "mnist_lab.verdict"):
        from mnist_lab.listing import ordered
        from mnist_lab.tables import runs
        from mnist_lab.tracking import open_store
        from mnist_lab.verdict import recorded_questions

        store = open_store(create=False)
    table = runs(name, store)
    if pair is not None:
        _deliver(_mcnemar(table, pair, store, _data(data_path)), output)
        return
    questions = recorded_questions(store.runs(store.find_experiment(name)))
    table = ordered(table)
    data = None if figures is None else _data(data_path)
    if figures is not None:
        make_folder(figures, "--figures")
    _deliver(_written(table, form), output)
    if form == "table":
        _show_verdicts(table, questions)
    if figures is not None and data is not None:
        _draw(figures, table, name, questions, store, data)
    if form == "table":
        look = store.how_to_look(store.find_experiment(name))
        click.echo(f"\n{len(table)} runs. In MLflow: {look}")


def _check_alone(form: str, figures: Path | None) -> None:
    """Refuse, beside --mcnemar, what is for the table of all runs.

    Raises:
        UsageError: names the options.
    """
    given = [f"--format {form}"] if form != "table" else []
    given += [f"--figures {figures}"] if figures is not None else []
    if given:
        raise click.UsageError(
            f"{' and '.join(given)} cannot be given with --mcnemar, which compares two models in a "
            "few lines of text; --output FILE writes them to a file"
        )


def _deliver(text: str, output: Path | None) -> None:
    """To the screen, or to a file."""
    if output is None:
        click.echo(text)
    else:
        replace(output, text + "\n", "--output")


def _data(path: str | None) -> Dataset:
    from mnist_lab.data import load_data, load_mnist

    return load_mnist() if path is None else load_data(path)


def _written(table: pd.DataFrame, form: str) -> str:
    from mnist_lab.listing import readable

    if form == "csv":
        return table.to_csv(index=False).rstrip("\n")
    if form == "json":
        table = table.replace([float("inf"), float("-inf")], float("nan"))  # JSON has neither
        records = table.astype(object).where(table.notna(), None).to_dict("records")
        return json.dumps(records, indent=2, default=lambda time: time.isoformat())
    # Trials are ranked, runs of an experiment or a confirmation are not: a table for each.
    is_trial = table["trial"].notna()
    parts = [part for part in (table[is_trial], table[~is_trial]) if len(part)] or [table]
    style = "pipe" if form == "markdown" else "simple"
    return "\n\n".join(readable(part, form=style) for part in parts)


def _show_verdicts(table: pd.DataFrame, questions: list[Asked]) -> None:
    from mnist_lab.verdict import report

    for asked in questions:
        click.echo(f"\n{_heading(asked, questions)}\n\n{report(table, asked)}")


def _heading(asked: Asked, questions: list[Asked]) -> str:
    """An experiment's name, with the digest of its data where others have the name as well."""
    several = sum(other.experiment == asked.experiment for other in questions) > 1
    return f"{asked.experiment} {asked.data_sha256[:8]}" if several else asked.experiment


def _draw(
    folder: Path,
    table: pd.DataFrame,
    name: str,
    questions: list[Asked],
    store: Store,
    data: Dataset,
) -> None:
    """The figures of each experiment of that name, and of a study's trials."""
    from mnist_lab import pictures
    from mnist_lab.figures import save_all

    drawn = {}
    for asked in questions:
        digits = data if data.sha256 == asked.data_sha256 else None
        if digits is None:
            click.echo(
                f"{asked.experiment}: trained on other data than {data.name}; without --data PATH "
                "of the same, there are no figures of digits",
                err=True,
            )
        # Several experiments of one name differ in what follows it: "width data=fashion".
        place = folder if len(questions) == 1 else folder / _heading(asked, questions)
        drawn[place] = pictures.of_experiment(table, name, asked, store, digits)
    trials = table[table["trial"].notna()]
    if len(trials):
        drawn[folder / "study" if questions else folder] = pictures.of_study(
            pictures.newest(trials), name, store
        )
    for place, figures in (drawn or {folder: {}}).items():
        if not figures:
            what = "no training that they would show is complete"
            click.echo(f"\nNo figures in {place}: {what}", err=True)
            continue
        try:
            paths = save_all(figures, place)
        except OSError as error:
            raise UserError(f"--figures: {place}: cannot be written ({error.strerror})") from None
        click.echo("\n".join(["", "Figures:", *(f"  {path}" for path in paths)]), err=True)


def _mcnemar(table: pd.DataFrame, pair: tuple[str, str], store: Store, data: Dataset) -> str:
    """Two models' answers beside each other, and whether they differ more than by chance."""
    from mnist_lab.comparison import IMAGES
    from mnist_lab.two_models import mcnemar

    a, b = (_run(table, text, data) for text in pair)
    found = mcnemar(store.answers(a["run_id"]), store.answers(b["run_id"]), data.test_labels)
    images = f"images of {len(data.test_labels):,}"
    scaled = [IMAGES * value for value in (found.difference, found.low, found.high)]
    return (
        f"a: {a['name']} ({a['run_id']}), test accuracy {a['test_accuracy']:.4f}\n"
        f"b: {b['name']} ({b['run_id']}), test accuracy {b['test_accuracy']:.4f}\n\n"
        f"both right  {found.both_right:>6,} {images}\n"
        f"only a      {found.only_a:>6,}\n"
        f"only b      {found.only_b:>6,}\n"
        f"both wrong  {found.both_wrong:>6,}\n\n"
        f"b - a: {scaled[0]:+.1f} images of 10,000 (95% interval {scaled[1]:+.1f} to "
        f"{scaled[2]:+.1f}), p {found.p:.2g} (McNemar, exact)\n"
        "This is about these two models, not about their variants: other seeds give other models."
    )


def _run(table: pd.DataFrame, text: str, data: Dataset) -> pd.Series[Any]:
    """The finished run of a name, of a trial's number, or of the beginning of an id.

    A number may begin an id as well, but who gives one means the trial.
    """
    from mnist_lab.declared import nearest

    finished = table[table["status"] == "FINISHED"]
    found = finished[finished["name"] == text]
    if found.empty and text.isdecimal() and len(text) < _SHORTEST_ID:
        found = finished[finished["trial"] == int(text)]
    elif found.empty and len(text) >= _SHORTEST_ID:
        found = finished[finished["run_id"].str.startswith(text)]
    if len(found) > 1 and (found["data_sha256"] == data.sha256).any():
        found = found[found["data_sha256"] == data.sha256]
    if len(found) > 1:
        began = found["start_time"].dt.strftime("%Y-%m-%d %H:%M")
        ids = ", ".join((found["run_id"].str[:12] + " of " + began)[:5])
        raise UserError(f"--mcnemar: '{text}' fits {len(found)} runs; give the id of one: {ids}")
    if found.empty:
        names = [str(name) for name in finished["name"]]
        hint = nearest(text, names) or "."
        raise UserError(
            f"--mcnemar: no finished run '{text}'{hint} Expected a run's name or a trial's number "
            f"in the table of `compare`, or the first {_SHORTEST_ID} characters or more of its id"
        )
    run = found.iloc[0]
    if run["data_sha256"] != data.sha256:
        raise UserError(
            f"--mcnemar: '{text}' was trained on other data than {data.name}; give it as --data"
        )
    return run


if __name__ == "__main__":
    main()
