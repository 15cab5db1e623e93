"""`python -m streams` that dies by its own hand during its first take-over: the mark stands, nothing is recovered."""

import os
import signal

from streams.__main__ import main
from streams.takeover import TakeOver


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    TakeOver._recover = _die  # type: ignore[assignment]
    main()
