"""A broker that runs as our child process: start, stop, kill, pause, resume, restart."""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.brokers.errors import BrokerFailedError
from streams.brokers.serving import wait_until_serving

HOST = "127.0.0.1"
_TETHER = Path(__file__).with_name("tether.py")
# A JVM on a machine with all cores busy was seen to need 26 s.
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 15.0
# Below the usual ephemeral range: an outgoing connection must not take the port between stop and restart.
_PORTS = range(20_000, 32_000)


def port_is_free(port: int) -> bool:
    """Tells whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Returns a loopback port on which nothing listens.

    Raises:
        BrokerFailedError: no such port was found in 200 tries.
    """
    for port in random.SystemRandom().choices(_PORTS, k=200):
        if port_is_free(port):
            return port
    raise BrokerFailedError(f"no free loopback port from {_PORTS.start} to {_PORTS.stop}: stop some servers")


class BrokerHome:
    """The folder of one broker: its data, its settings, its log. A temporary one goes when it is removed."""

    def __init__(self, data_dir: Path | None) -> None:
        self.is_temporary = data_dir is None
        self.path = data_dir or Path(tempfile.mkdtemp(prefix="stayhand-broker-"))
        self.path.mkdir(parents=True, exist_ok=True)
        self.log = self.path / "broker.log"

    @property
    def data(self) -> Path:
        """Where the broker keeps its own files."""
        return self.path / "data"

    def last_log_line(self) -> str:
        """Returns the last line that the broker wrote, for an error message; empty if there is none."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def remove(self) -> None:
        """Removes a temporary folder; leaves one that the caller named."""
        if self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)


class BrokerProcess:
    """One broker as a child process, on one port and one data folder for its whole life.

    It ends with this process, also when that is killed (Linux, if it was started from the main thread: the
    kernel ties a child to the thread that made it).
    """

    def __init__(self, command: Sequence[str], *, port: int, home: BrokerHome) -> None:
        self.bootstrap = f"{HOST}:{port}"
        self.home = home
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """The process id of the broker itself. Raises BrokerFailedError when it does not run."""
        return self._running().pid

    def start(self) -> None:
        """Starts the process and returns when it serves.

        Raises:
            BrokerFailedError: it ended or did not serve in time; nothing is left running.
        """
        if self._is_running():
            raise BrokerFailedError(f"the broker at {self.bootstrap} is running already")
        with self.home.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command comes from this package
                self._tethered(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until_serving(self.bootstrap, timeout_s=_START_TIMEOUT_S, is_running=self._is_running)
        except BrokerFailedError as error:
            self.kill()
            last_words = self.home.last_log_line() or "none"
            raise BrokerFailedError(f"{error}; its last words: {last_words}") from error
        except BaseException:
            self.kill()
            raise

    def _tethered(self) -> list[str]:
        if threading.current_thread() is not threading.main_thread():
            return self._command
        return [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *self._command]

    def stop(self) -> None:
        """Ends the broker in an orderly way and keeps its data for a ``restart``. Idempotent."""
        if not self._is_running():
            return
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            self._running().wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the broker as ``kill -9`` does and keeps what is on its disk. Idempotent."""
        if self._process is None:
            return
        if self._is_running():
            self._signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Freezes the broker (SIGSTOP): connections stay open and nothing answers. Returns once every thread stands."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._running().pid, os.WSTOPPED)

    def resume(self) -> None:
        """Lets a paused broker go on (SIGCONT); without effect on one that is not paused."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Starts the broker again on the same port and data, after an orderly stop if it still runs."""
        self.stop()
        self.start()

    def wait(self) -> int:
        """Blocks until the broker ends by itself or is ended; returns its exit status."""
        return self._running().wait()

    def close(self) -> None:
        """Ends the broker and removes its temporary data. Idempotent; runs at exit in any case."""
        atexit.unregister(self.close)
        if self.home.is_temporary:
            self.kill()
        self.stop()
        self.home.remove()

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise BrokerFailedError(f"the broker at {self.bootstrap} is not running: call restart() first")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._running().pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
