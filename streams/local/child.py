"""A Python process of ours: started with its settings, asked whether it lives, ended with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.brokers import tether
from streams.local.errors import Failed

_STOP_TIMEOUT_S = 20.0
_ROOT = Path(__file__).resolve().parents[2]
_LAST_WORDS_BYTES = 4_096


class Child:
    """``python -m MODULE ARGUMENTS`` from the checkout; what it says goes to a file.

    It ends with its ``with`` block, and with this process, also when that is killed (on Linux).
    """

    def __init__(
        self, module: str, arguments: Sequence[str], log: Path, settings: Mapping[str, str], *, tied: bool = True
    ) -> None:
        """Start it; ``settings`` are environment variables that replace every ``STAYHAND_`` one of ours.

        ``tied``: Linux ends it with the thread that starts it, so one that starts in a passing thread must not be tied.
        """
        self._log = log
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STAYHAND_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), str(_ROOT / "sdk")])
        command = [sys.executable, "-m", module, *arguments]
        tie = [sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid())] if tied else []
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                [*tie, *command],
                cwd=_ROOT,
                env=environment | dict(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id, for those who measure it."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, None while it lives."""
        return self._process.poll()

    def check(self) -> None:
        """Raise Failed when it ended, with its last words."""
        if self.status is not None:
            raise Failed(f"{self._log.stem} ended with status {self.status}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that it wrote, for an error message."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LAST_WORDS_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def said(self, text: str) -> bool:
        """Whether this stands in what it wrote."""
        return text in self._log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit status once it ended by itself.

        Raises:
            subprocess.TimeoutExpired: it lives on.
        """
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """End it in an orderly way. Idempotent.

        Raises:
            Failed: when it does not end by itself, or not well.
        """
        if self.status is None:
            self.signal(signal.SIGTERM)
        try:
            status = self.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise Failed(f"{self._log.stem} did not stop within {_STOP_TIMEOUT_S:.0f} s") from error
        if status != 0:
            raise Failed(f"{self._log.stem} ended with status {status}: {self.last_words()}")

    def kill(self) -> None:
        """End it at once, also one that was paused. Idempotent."""
        if self.status is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
