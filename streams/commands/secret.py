"""`python -m streams secret`: makes the master secret from which the keys of enforcement points are derived."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from streams.commands._session import Refused, Session, command

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make the master secret.")
SECRET_BYTES = 32


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read.

    Raises:
        Refused: when it cannot be made, or is there already: a secret is never overwritten.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(f"cannot make {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


@command(app, "new")
def new(session: Session, file: Annotated[Path, typer.Argument(help="Where; must not be there yet.")]) -> None:
    """Make a master secret in a new file of mode 0600; it is not printed.

    Whoever has it can derive the key of every enforcement point: keep it where only scorers and this command read.
    """
    write_private(file, secrets.token_hex(SECRET_BYTES))
    session.show({"file": str(file)}, f"{file}: made, mode 0600; give it to scorers as STAYHAND_MASTER_SECRET_FILE")


@app.callback()
def _group() -> None:
    """Keep `new` a command of its own."""
