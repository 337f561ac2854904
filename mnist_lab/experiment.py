"""Answer a question: `python -m mnist_lab.experiment NAME` runs experiments/NAME.toml."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnist_lab import options
from mnist_lab.command import command
from mnist_lab.wording import plural

if TYPE_CHECKING:
    from mnist_lab.data import Dataset
    from mnist_lab.question import ExperimentDeclaration
    from mnist_lab.runner import Outcome
    from mnist_lab.standing import Choice

FOLDER = Path("experiments")
SEEDS = "seeds.csv"  # the committed results of many seeds of the baseline


@click.command(
    epilog="NAME is the stem of a file in experiments/, or the path of a .toml file. What is on "
    "record is not trained again: run the command again to do what is missing, also after seeds "
    "or variants were added to the file."
)
@click.argument("name")
@options.data
@options.workers
@options.scheduler
@options.output("the results")
@click.option(
    "--power",
    type=click.FloatRange(0, 10_000, min_open=True),
    callback=options.finite,
    metavar="IMAGES",
    help="Train nothing; print the seeds needed to detect a difference of IMAGES in 10,000 test "
    "images.",
)
@command
def main(
    name: str,
    data_path: str | None,
    workers: int | None,
    scheduler: str | None,
    output: Path | None,
    power: float | None,
) -> None:
    """Run the experiment NAME: every variant with every seed, ending in a verdict."""
    from mnist_lab.declaration import check_held_out, find, read
    from mnist_lab.files import check_folder, locked, opened, replace
    from mnist_lab.question import ExperimentDeclaration

    options.check_team(workers, scheduler)
    beside = {"--output": output, "--workers": workers, "--scheduler": scheduler}
    if power is not None and (given_too := [key for key, value in beside.items() if value]):
        raise click.UsageError(
            f"{' and '.join(given_too)} cannot be given with --power, which trains nothing"
        )
    path = find(name, FOLDER, "experiment")
    declaration = read(path, ExperimentDeclaration)
    if output is not None:
        check_folder(output, "--output")

    from mnist_lab.data import load_data, load_mnist

    data = load_mnist() if data_path is None else load_data(data_path)
    for key, size in declaration.held_out().items():  # refused before anything is written
        least = 1 if key == "tuning_validation_size" else 0
        check_held_out(path, key, size, least, len(data.train_labels), data.name)
    # Other data make another experiment, filed under the same name in MLflow.
    experiment = path.stem + (f" data={data.name}" if data_path is not None else "")
    if power is not None:
        again = options.again("experiment", name, (("data", data_path),))
        click.echo(_power(declaration, path.stem, experiment, data, power, again))
        return

    from mnist_lab.start import start

    store = start("mnist_lab.runner", workers, scheduler)

    from mnist_lab.runner import run_experiment
    from mnist_lab.team import team

    given = (
        ("data", data_path),
        ("workers", workers),
        ("scheduler", scheduler),
        ("output", output),
    )
    again = options.again("experiment", name, given)
    try:
        with (
            opened(path) as file,
            locked(file, lambda: click.echo(f"waiting for another process: {path}", err=True)),
            team(store, data, data_path, workers, scheduler) as trainers,
        ):
            outcome = run_experiment(declaration, path.stem, experiment, data, store, trainers)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the finished runs are kept; go on with\n  {again}") from None
    _report(declaration, experiment, outcome)
    if missing := outcome.standing.recorded.missing(outcome.standing.verdict_cells()):
        click.echo(f"\n{plural(len(missing), 'run')} missing; go on with\n  {again}")
    if output is not None:
        from mnist_lab.verdict import results

        replace(output, results(outcome.runs, outcome.asked).to_csv(index=False), "--output")
    click.echo(f"\nAll runs as a table:  python -m mnist_lab.compare {shlex.quote(path.stem)}")
    click.echo(f"All runs in MLflow:   {store.how_to_look(outcome.experiment_id)}")


def _report(declaration: ExperimentDeclaration, experiment: str, outcome: Outcome) -> None:
    """The verdict, what it rests on, and what it leaves out."""
    from mnist_lab.verdict import report

    standing, runs = outcome.standing, outcome.runs
    click.echo(f"{experiment}: {plural(len(runs), 'run')}, {outcome.trained} of them trained now\n")
    click.echo(report(standing.recorded.own, outcome.asked))
    if tuned := [name for name in declaration.variants if declaration.is_tuned(name)]:
        click.echo(
            f"\nTuned by val_accuracy on the last {declaration.tuning_validation_size:,} training "
            f"images, with seeds of their own ({', '.join(map(str, declaration.tuning_seeds))}):"
        )
        for name in tuned:
            click.echo(f"  {name}: {_told(outcome.choices[name])}")
    for reason, count in standing.not_counted().items():
        click.echo(f"\n{count} more on record of this experiment, not counted: {reason}")


def _told(choice: Choice) -> str:
    text = f"{choice.candidate} (val_accuracy {choice.val_accuracy:.4f})"
    for key in choice.at_edge:
        text += f"; {key} lies at the edge of its candidates: a better one may lie outside"
    for failed in choice.failed:
        text += f"; {failed} failed"
    return text


def _power(
    declaration: ExperimentDeclaration,
    name: str,
    experiment: str,
    data: Dataset,
    images: float,
    again: str,
) -> str:
    from mnist_lab.planning import power_report
    from mnist_lab.runner import standing_of
    from mnist_lab.tables import no_runs
    from mnist_lab.tracking import NoStoreError, open_store

    try:
        recorded = standing_of(declaration, name, experiment, data, open_store(create=False)).judged
    except NoStoreError:  # nothing is on record yet; to plan, no store is needed
        recorded = no_runs()
    results = FOLDER / "results" / SEEDS
    return power_report(declaration, images, recorded, results, data.sha256, again)


if __name__ == "__main__":
    main()
