"""`python -m streams`: collects the commands of the scorer and its operators, and loads only the one that is run."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# name: (module, what it does). Each module offers `app`; importing them all would make --help take seconds.
COMMANDS: dict[str, tuple[str, str]] = {
    "scorer": ("streams.service", "Run a scorer: decide what is asked."),
    "topics": ("streams.commands.topics", "Create and check the topics and their ACLs."),
    "secret": ("streams.commands.secret", "Make the master secret."),
    "point": ("streams.commands.point", "Register, rotate, revoke and show enforcement points."),
    "policy": ("streams.commands.policy", "Check, publish, activate, shadow and roll back policy packs."),
    "observe": ("streams.commands.observe", "Decide and record, but permit: switch it on and off."),
    "freeze": ("streams.commands.controls", "Block an identity, a family, a point or everything."),
    "unfreeze": ("streams.commands.controls", "End a freeze."),
    "register": ("streams.commands.controls", "Say whose an identity is."),
    "offboard": ("streams.commands.controls", "Say that an identity has left."),
    "grant": ("streams.commands.controls", "Approve in advance, for a time and a number of uses."),
    "revoke-grant": ("streams.commands.controls", "Take a grant back."),
    "approve": ("streams.commands.controls", "Answer a hold with yes."),
    "deny": ("streams.commands.controls", "Answer a hold with no."),
    "review": ("streams.commands.review", "Say of a decision that it was fine, or bad."),
    "identity": ("streams.commands.identity", "Show and reset an identity."),
    "explain": ("streams.commands.explain", "Show why a decision was made, by its id."),
    "profiles": ("streams.commands.profiles", "Build and publish what peers do, for scorers to compare with."),
    "backtest": ("streams.backtest.command", "Show what another policy would have changed about recorded decisions."),
    "replay": ("streams.replay.command", "Score recorded logs under a prefix of their own."),
    "demo": ("streams.demo.command", "Show the gate at work on a small simulated fleet."),
}
_OURS = ("streams", "schemas", "models")


class Lazy(TyperGroup):
    """A group that knows its commands' names and purposes, and imports the one that runs."""

    def __init__(self, **settings: Any) -> None:
        """Fill in stand-ins, enough for the list of commands and for suggestions."""
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=purpose) for name, (_, purpose) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, loaded."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in if name is None else load(name), rest


def load(name: str) -> Any:
    """Import a command. Where its module offers several, the one of this name is meant.

    Raises:
        typer.Exit: with code 1 and a line, when something that it needs is not installed.
    """
    module = COMMANDS[name][0]
    try:
        app = importlib.import_module(module).app
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] in _OURS and not f"{module}.".startswith(f"{missing}."):
            raise
        sys.stderr.write(f"{name}: {missing} is not installed: `make venv`, or pip install -e '.[server]'\n")
        raise typer.Exit(1) from error
    found = typer.main.get_command(app)
    return getattr(found, "commands", {}).get(name, found)


main = typer.Typer(
    cls=Lazy,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Stayhand's scorer and its operators.",
)


@main.callback()
def _root() -> None:
    """Stayhand's scorer, and what its operators run."""


if __name__ == "__main__":
    main(prog_name="python -m streams")
