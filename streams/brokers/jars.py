"""The jars of an Apache Kafka broker, fetched once by Maven coordinates into a folder of the user's cache."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.brokers.errors import BrokerMissingError

KAFKA_VERSION = "4.3.1"
_POM = Path(__file__).with_name("pom.xml")
_MAVEN_TIMEOUT_S = 600.0


def program(name: str, hint: str) -> str:
    """Returns the full path of a program on the PATH.

    Raises:
        BrokerMissingError: it is not there; the message ends with ``hint``.
    """
    found = shutil.which(name)
    if found is None:
        raise BrokerMissingError(f"Apache Kafka needs `{name}`, which is not on the PATH: {hint}")
    return found


def kafka_jars() -> Path:
    """Returns the folder with all jars of the broker; fetches them on the first call on a machine.

    Raises:
        BrokerMissingError: Maven is missing, or could not get the jars.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stayhand"
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"kafka-{KAFKA_VERSION}.lock"):
        if not jars.is_dir():
            _fetch(jars)
    return jars


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a file lock: Maven's own repository does not bear two writers."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(jars: Path) -> None:
    """Copies the jars into a folder beside ``jars``, which takes its name only when it is complete."""
    maven = program("mvn", "install Maven 3.6 or newer")
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".kafka-") as scratch:
        target = Path(scratch) / "jars"
        _run_maven([maven, "-q", "-B", "-C", "-f", str(_POM), "dependency:copy-dependencies"], target)
        if not (target / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file():
            raise BrokerMissingError(f"Maven did not deliver Apache Kafka {KAFKA_VERSION}: check {_POM}")
        target.rename(jars)


def _run_maven(command: list[str], target: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the command comes from this module
            [*command, f"-DoutputDirectory={target}", "-DincludeScope=runtime"],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_MAVEN_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise BrokerMissingError(
            f"Maven did not get Apache Kafka {KAFKA_VERSION} within {_MAVEN_TIMEOUT_S:.0f} s: try again"
        ) from None
    if done.returncode != 0:
        raise BrokerMissingError(
            f"Maven cannot get Apache Kafka {KAFKA_VERSION}: {_first_error(done.stdout + done.stderr)}"
        )


def _first_error(output: str) -> str:
    errors = (line.removeprefix("[ERROR]").strip() for line in output.splitlines() if "[ERROR]" in line)
    return next((line for line in errors if line), "it gave no reason")
