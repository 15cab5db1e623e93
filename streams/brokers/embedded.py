"""The embedded broker: one small program from the development dependencies, for demo and first test runs.

It is a convenience, not a truth: what touches groups, compaction, transactions or restarts is proven on
Apache Kafka.
"""

import importlib.util
import os
from pathlib import Path

from streams.brokers.errors import BrokerMissingError
from streams.brokers.process import HOST, BrokerHome, BrokerProcess


def _program() -> Path:
    """Returns the path of the noida-db binary. Raises BrokerMissingError."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise BrokerMissingError(
            "the embedded broker is not installed: run `make venv` (development dependency noida-db)"
        )
    program = Path(spec.origin).with_name("noida-db")
    if not program.is_file():
        raise BrokerMissingError(f"the embedded broker has no program at {program}: reinstall noida-db")
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
    return program


def prepare(home: BrokerHome, port: int) -> BrokerProcess:
    """Returns an embedded broker that is not yet started.

    Raises:
        BrokerMissingError: the package noida-db is not installed.
    """
    command = [str(_program()), "start", "--only", "kafka", "--kafka-port", str(port)]
    command += ["--host", HOST, "--data-dir", str(home.data)]
    return BrokerProcess(command, port=port, home=home)
