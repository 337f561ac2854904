"""Search hyperparameters: `python -m mnist_lab.study NAME` runs studies/NAME.toml."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from mnist_lab import options, wording
from mnist_lab.command import command
from mnist_lab.config import UserError

if TYPE_CHECKING:
    import pandas as pd

    from mnist_lab.config import RunConfig
    from mnist_lab.confirmation import Confirmation
    from mnist_lab.data import Dataset
    from mnist_lab.outcome import Outcome
    from mnist_lab.space import StudyDeclaration
    from mnist_lab.tracking import Store
    from mnist_lab.work import Team

FOLDER = Path("studies")
_SHOWN_TRIALS = 10
_SHOWN_REASONS = 3
_CONFIRMATION_SEEDS = 5
_SERVING_PORT = 5001


@click.command(
    epilog="NAME is the stem of a file in studies/, or the path of a .toml file. A study goes on "
    "where it stopped: run the command again to do the trials that are missing."
)
@click.argument("name")
@click.option("--trials", type=click.IntRange(1, 1_000_000), help="The study's total of trials.")
@click.option("--epochs", type=click.IntRange(1, 1_000_000), help="Epochs of each trial.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of the sampler and of every training."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    callback=options.finite,
    metavar="SECONDS",
    help="Start no further trial after SECONDS.",
)
@options.data
@click.option(
    "--storage",
    metavar="URL",
    help="Optuna storage; by default sqlite, in a .db file beside the study's .toml.",
)
@click.option(
    "--confirm",
    type=click.IntRange(0, 600),
    default=_CONFIRMATION_SEEDS,
    show_default=True,
    metavar="SEEDS",
    help="Seeds of the best configuration's comparison with the baseline; 0 for none.",
)
@options.workers
@options.scheduler
@options.output("the trials and the confirmation")
@command
def main(
    name: str,
    trials: int | None,
    epochs: int | None,
    seed: int | None,
    timeout: float | None,
    data_path: str | None,
    storage: str | None,
    confirm: int,
    workers: int | None,
    scheduler: str | None,
    output: Path | None,
) -> None:
    """Run the study NAME: search, then compare the best configuration with the baseline."""
    from mnist_lab.declaration import check_held_out, find, read
    from mnist_lab.files import check_folder, opened
    from mnist_lab.space import StudyDeclaration

    options.check_team(workers, scheduler)
    if storage is not None and not storage.strip():
        raise click.UsageError("--storage is empty; expected a URL such as sqlite:///studies/x.db")
    path = find(name, FOLDER, "study")
    declared = read(path, StudyDeclaration)
    declaration = _overridden(declared, trials, epochs, seed)
    space = None
    if declaration.space is not None:
        from mnist_lab.conditional import load_space

        space = load_space(declaration.space, path.parent)
    if output is not None:
        check_folder(output, "--output")

    from mnist_lab.data import load_data, load_mnist

    data = load_mnist() if data_path is None else load_data(data_path)
    held_out, images = declaration.config.validation_size, len(data.train_labels)
    # Refused now, before anything is made.
    check_held_out(path, "config.validation_size", held_out, 1, images, data.name)
    # What the command line changes makes another study: its trials are not to be mixed with
    # those of the study as declared. It is filed under the same name in MLflow.
    changes = [
        f" epochs={epochs}" if declaration.config != declared.config else "",
        f" seed={seed}" if declaration.seed != declared.seed else "",
        f" data={data.name}" if data_path is not None else "",
    ]
    study_name = path.stem + "".join(changes)
    url = storage or f"sqlite:///{quote(str(path.with_suffix('.db')))}"

    from mnist_lab.connection import without_password
    from mnist_lab.start import start

    store = start("mnist_lab.search", workers, scheduler)

    from mnist_lab.search import run_study
    from mnist_lab.team import team

    given = (
        *(("trials", trials), ("epochs", epochs), ("seed", seed), ("data", data_path)),
        ("storage", None if storage is None else without_password(storage)),
        ("confirm", None if confirm == _CONFIRMATION_SEEDS else confirm),
        *(("workers", workers), ("scheduler", scheduler), ("output", output)),
    )
    again = options.again("study", name, given)
    confirmation: Confirmation | None = None
    refused: UserError | None = None
    try:
        with (
            opened(path) as file,
            team(store, data, data_path, workers, scheduler, url) as trainers,
        ):
            call = _Call(declaration, path, file, study_name, data, store, trainers, url, again)
            outcome = run_study(
                declaration, path.stem, study_name, data, store, url, trainers, timeout, space
            )
            call.report_search(outcome)
            if confirm and outcome.best is not None and outcome.done >= declaration.trials:
                confirmation, refused = call.confirm(outcome, outcome.best, confirm)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the finished runs are kept; go on with\n  {again}") from None
    call.show_more(outcome)
    if output is not None:
        call.write(output, outcome, confirmation)
    if refused is not None:
        raise refused


def _overridden(
    declaration: StudyDeclaration, trials: int | None, epochs: int | None, seed: int | None
) -> StudyDeclaration:
    config = declaration.config
    if epochs is not None and "epochs" in declaration.search:
        raise UserError("--epochs: this study searches epochs, in its file; leave one of them out")
    if epochs is not None:
        config = config.model_copy(update={"epochs": epochs})
    given: dict[str, object] = {"trials": trials, "seed": seed}
    changes = {key: value for key, value in given.items() if value is not None}
    changed = declaration.model_copy(update={**changes, "config": config})
    options_ = {**given, "epochs": epochs}
    told = " ".join(f"--{key} {value}" for key, value in options_.items() if value is not None)
    for key, what in changed.problems():  # a grid of fewer points than --trials, say
        raise UserError(f"--{key}: {what}" if key in given else f"{told}: {key}: {what}")
    return changed


@dataclass(frozen=True)
class _Call:
    """One call of the command, and what it tells the user.

    Attributes:
        declaration: of the study, with what the command line changed.
        path: of the study's file.
        file: the same, open.
        study: the study's name: the file's, and what the command line changed.
        data: the digits.
        store: where runs are recorded.
        team: who trains.
        url: of the Optuna storage.
        again: the command that goes on with the study.
    """

    declaration: StudyDeclaration
    path: Path
    file: int
    study: str
    data: Dataset
    store: Store
    team: Team
    url: str
    again: str

    @property
    def name(self) -> str:
        """Of the MLflow experiment."""
        return self.path.stem

    def _trials(self, outcome: Outcome) -> pd.DataFrame:
        """The runs of the study's trials that have ended."""
        from mnist_lab.tables import runs

        table = runs(self.name, self.store)
        own = (table["study"] == self.study) & ~table["parent"].isin(outcome.others)
        return table[own & table["state"].notna()]

    def report_search(self, outcome: Outcome) -> None:
        """The best trials, the best configuration, and what is missing."""
        from mnist_lab.connection import without_password
        from mnist_lab.listing import by_trial, readable, readable_front, sort

        declaration, trials = self.declaration, by_trial(self._trials(outcome))
        metric, seeds = declaration.chosen_by, declaration.seeds
        states = trials["state"].value_counts().items()
        kinds = ", ".join(f"{count} {wording.state(str(name))}" for name, count in states)
        done = wording.plural(outcome.done, "trial")
        click.echo(f"{self.study}: {done}" + (f" ({kinds})" if kinds else ""))
        reasons = trials.loc[trials["state"] == "FAIL", "reason"].value_counts()
        for reason, count in reasons.head(_SHOWN_REASONS).items():
            click.echo(f"  {count} failed: {str(reason).splitlines()[0]}")
        how = f"one training a trial, seed {seeds[0]}"
        if len(seeds) > 1:
            how = f"the mean over trainings with seeds {seeds[0]} to {seeds[-1]}"
        versions = trials["code_digest"].nunique()
        if versions > 1:
            click.echo(f"  they were trained by {versions} versions of the trainer (code_digest)")
        click.echo(
            f"\nBest by {metric} ({how}; "
            "test accuracy is on record only, nothing is chosen by it):\n"
        )
        best = sort(trials, metric).head(_SHOWN_TRIALS)
        click.echo(readable(best, keep=list(declaration.search), metric=metric))
        if len(outcome.front):
            goals = ", ".join(declaration.goals)
            click.echo(
                f"\nPareto front of {goals}: no trial is at least as good in all of them and "
                "better in one\n"
            )
            click.echo(readable_front(outcome.front))
        if outcome.best is None:
            click.echo("\nNo trial is complete yet.")
        else:
            click.echo(
                f"\nBest configuration (trial {outcome.best_trial}, "
                f"{metric} {outcome.best_value:.4f}); all other fields are the baseline's:\n"
            )
            lines = outcome.best.own_toml(declaration.search).splitlines()
            click.echo("\n".join(f"  {line}" for line in lines))
        if (missing := declaration.trials - outcome.done) > 0:
            total = declaration.trials
            click.echo(f"\n{missing} of {total} trials are missing; go on with\n  {self.again}")
        if (absent := outcome.done - len(trials)) > 0:
            click.echo(
                f"\n{absent} finished trials are in {without_password(self.url)} but have no run "
                "in this MLflow store. To begin the study anew, delete the one or use another "
                "--storage."
            )

    def confirm(
        self, outcome: Outcome, best: RunConfig, seeds: int
    ) -> tuple[Confirmation, UserError | None]:
        """Compare the best configuration with the baseline, and register its model.

        Of several processes that run the study, one does so, and the others find it done.

        Returns:
            What it came to, and what a registry that refused the model said: nothing that is
            known besides is kept back for it.
        """
        from mnist_lab import postgresql
        from mnist_lab.files import locked, opened

        with ExitStack() as stack:
            try:  # an editor may have put another file in its place, which others will open
                file = stack.enter_context(opened(self.path))
            except UserError:  # it is gone
                file = self.file
            stack.enter_context(locked(file, self._tell_waiting))
            if postgresql.is_postgresql(self.url):  # there may be other machines
                confirmation = f"confirmation of {self.study}"
                alone = postgresql.alone_on(self.url, confirmation, self._tell_waiting)
                stack.enter_context(alone)
            return self._confirm(outcome, best, seeds)

    def _tell_waiting(self) -> None:
        click.echo(f"waiting for another process, which confirms {self.path}", err=True)

    def _confirm(
        self, outcome: Outcome, best: RunConfig, seeds: int
    ) -> tuple[Confirmation, UserError | None]:
        from mnist_lab.confirmation import confirm, confirmation_seeds
        from mnist_lab.connection import TrackingError
        from mnist_lab.verdict import report

        confirmation = confirm(
            best,
            outcome.best_trial,
            confirmation_seeds(seeds, self.declaration.seeds),
            self.name,
            self.study,
            self.data,
            self.store,
            self.team,
            outcome.experiment_id,
            outcome.parent_id,
        )
        used = confirmation.asked.seeds
        several = f"seeds {used[0]} to {used[-1]}" if len(used) > 1 else f"seed {used[0]}"
        click.echo(
            f"\nConfirmation: trained on all {len(self.data.train_labels):,} training images with "
            f"{several}, which the search never used;\nthe baseline is Chollet's (section 2.1), "
            f"whatever the study fixes. Trained now: {wording.plural(confirmation.trained, 'run')}."
            "\n"
        )
        click.echo(report(confirmation.recorded, confirmation.asked))
        if confirmation.missing:
            missing = wording.plural(confirmation.missing, "run")
            click.echo(f"\n{missing} missing; go on with\n  {self.again}")
        if len(confirmation.asked.configs) == 1:
            click.echo("\nThe best configuration is the baseline itself: nothing to compare.")
        try:
            self._register(outcome, confirmation)
        except TrackingError as error:
            return confirmation, error
        return confirmation, None

    def _register(self, outcome: Outcome, confirmation: Confirmation) -> None:
        from mnist_lab.registry import Winner, register

        run = confirmation.model_run
        if run is None:
            click.echo("\nNo model is registered: no training of the best configuration finished.")
            return
        tags = {
            "study": self.study,
            "trial": str(outcome.best_trial),
            "seed": str(run["seed"]),
            "config_digest": str(run["config_digest"]),
            "data_sha256": self.data.sha256,
            "validation_size": str(self.declaration.config.validation_size),
            "seeds_per_trial": str(self.declaration.seeds_per_trial),
        }
        run_id, uri = str(run["run_id"]), str(run["model_uri"])
        winner = Winner(run_id, uri, self.declaration.chosen_by, outcome.best_value, tags)
        registered = register(self.store, self.study, winner)
        version = f"\nRegistered model '{registered.name}': version {registered.version}"
        if registered.reason:
            stays = f"{registered.champion} stays champion: {registered.reason}"
            click.echo(f"{version}; {stays}\nTo serve the champion:")
        else:
            click.echo(f"{version} is the champion; to serve it:")
        # Its default port is that of `mlflow ui`.
        serve = f"mlflow models serve -m {shlex.quote(registered.uri)} --env-manager local"
        click.echo(f"  {serve} --port {_SERVING_PORT}")

    def write(self, output: Path, outcome: Outcome, confirmation: Confirmation | None) -> None:
        """The trials, and the runs of the confirmation, as a file."""
        from mnist_lab.files import replace
        from mnist_lab.tables import no_runs
        from mnist_lab.verdict import study_results

        confirmed = no_runs() if confirmation is None else confirmation.runs
        text = study_results(self._trials(outcome), confirmed).to_csv(index=False)
        replace(output, text, "--output")

    def show_more(self, outcome: Outcome) -> None:
        """Where to look closer."""
        from mnist_lab.connection import without_password

        click.echo(f"\nAll runs as a table:  python -m mnist_lab.compare {shlex.quote(self.name)}")
        url = shlex.quote(without_password(self.url))
        click.echo(f"The search:           optuna-dashboard {url}")
        click.echo(f"All runs in MLflow:   {self.store.how_to_look(outcome.experiment_id)}")


if __name__ == "__main__":
    main()
