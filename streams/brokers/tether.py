"""Runs a command that dies with its parent: ``tether.py PARENT_PID COMMAND...`` (on Linux).

It is a program of its own because the request must be made in the child, between fork and exec, and
Python code there (``preexec_fn``) is unsafe in a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _tie_to(parent_pid: int) -> None:
    """Asks the kernel for SIGKILL when the parent ends; see prctl(2). Exits if it ended already."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(1)


if __name__ == "__main__":
    _tie_to(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command comes from this package
