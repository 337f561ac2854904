"""`mnist-lab VERB`, the same as `python -m mnist_lab.VERB`; a verb is imported when used."""

from __future__ import annotations

from importlib import import_module

import click

VERBS = {
    "experiment": "Answer a question: run experiments/NAME.toml.",
    "study": "Search hyperparameters: run studies/NAME.toml.",
    "compare": "Show the recorded runs of NAME as a table.",
    "send": "Send the runs that a store did not take in time.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of their use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb, from the module of that name."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"mnist_lab.{cmd_name}").main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=_Verbs)
def main() -> None:
    """A laboratory for multilayer perceptrons on MNIST."""


if __name__ == "__main__":
    main()
