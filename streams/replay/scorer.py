"""A scorer as our child process: started with its settings, asked whether it lives, stopped with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.brokers import tether
from streams.replay.errors import ReplayFailed

_STOP_TIMEOUT_S = 20.0
_ROOT = Path(__file__).resolve().parents[2]
_LAST_WORDS_BYTES = 4_096


class ScorerProcess:
    """``python -m streams scorer`` with settings in its environment; what it logs goes to a file.

    It ends with this process, also when that is killed (on Linux).
    """

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        """Start it; ``settings`` are environment variables that replace every ``STAYHAND_`` one of ours."""
        self._log = log
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STAYHAND_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), str(_ROOT / "sdk")])
        command = [sys.executable, "-m", "streams", "scorer"]
        tied = [sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid()), *command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                tied,
                cwd=_ROOT,
                env=environment | dict(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id, for who watches what it uses."""
        return self._process.pid

    def check(self) -> None:
        """Raise ReplayFailed when it ended, with its last words."""
        status = self._process.poll()
        if status is not None:
            raise ReplayFailed(f"the scorer ended with status {status}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that it wrote, for an error message."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LAST_WORDS_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def stop(self) -> None:
        """End it in an orderly way, so that its last checkpoint is written. Idempotent.

        Raises:
            ReplayFailed: when it does not end by itself, or not well.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ReplayFailed(f"the scorer did not stop within {_STOP_TIMEOUT_S:.0f} s") from error
        if status != 0:
            raise ReplayFailed(f"the scorer ended with status {status}: {self.last_words()}")

    def kill(self) -> None:
        """End it at once. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
