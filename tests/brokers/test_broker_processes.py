"""Starting, stopping, killing and pausing a broker of our own, and what is said when one cannot be had."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.brokers import (
    BrokerFailedError,
    BrokerMissingError,
    BrokerNotOursError,
    LocalBroker,
    broker_from,
    start_broker,
)
from streams.brokers.jars import KAFKA_VERSION, kafka_jars
from streams.brokers.process import BrokerHome, BrokerProcess, free_port, port_is_free
from streams.brokers.serving import check_answers
from tests.brokers.clients import WAIT_S, Clients, create_topic, eventually, values

_CHECKOUT = Path(__file__).parents[2]
_COMMAND = [sys.executable, "-m", "streams.brokers", "embedded"]
StartBroker = Callable[[], LocalBroker]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _port(broker: LocalBroker) -> int:
    return int(broker.bootstrap.rpartition(":")[2])


def _write(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    create_topic(admin, topic)
    producer = Clients(bootstrap, 6_000).producer(acks="all")
    producer.produce(topic, b"acknowledged")
    assert producer.flush(WAIT_S) == 0


def _read(bootstrap: str, topic: str) -> list[bytes | None]:
    clients = Clients(bootstrap, 6_000)
    try:
        return values(clients.read(topic))
    finally:
        clients.close()


def test_a_restarted_broker_has_the_same_address_and_records(start_own_broker: StartBroker) -> None:
    broker = start_own_broker()
    before = broker.bootstrap
    _write(before, "kept")
    broker.stop()
    assert port_is_free(_port(broker))
    broker.restart()
    assert broker.bootstrap == before
    assert _read(before, "kept") == [b"acknowledged"]


# The embedded broker writes its data when it is stopped; a kill loses even its topics.
@pytest.mark.apache
def test_a_killed_broker_keeps_what_it_acknowledged(start_own_broker: StartBroker) -> None:
    broker = start_own_broker()
    _write(broker.bootstrap, "kept")
    broker.kill()
    assert port_is_free(_port(broker))
    broker.restart()
    assert _read(broker.bootstrap, "kept") == [b"acknowledged"]


def test_a_paused_broker_answers_nobody_until_it_is_resumed(start_own_broker: StartBroker) -> None:
    broker = start_own_broker()
    _write(broker.bootstrap, "kept")
    broker.pause()
    paused = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    with pytest.raises(KafkaException):
        paused.list_topics(timeout=0.5)
    broker.resume()
    assert "kept" in paused.list_topics(timeout=WAIT_S).topics
    assert _read(broker.bootstrap, "kept") == [b"acknowledged"]


def test_a_paused_broker_can_be_closed() -> None:
    broker = start_broker("embedded")
    broker.pause()
    broker.close()
    assert port_is_free(_port(broker))


def test_a_temporary_folder_goes_with_its_broker_and_a_named_one_stays(tmp_path: Path) -> None:
    with start_broker("embedded") as broker:
        temporary = broker.home.path
        assert temporary.is_dir()
    assert not temporary.exists()

    with start_broker("embedded", data_dir=tmp_path / "named") as broker:
        _write(broker.bootstrap, "kept")
    with start_broker("embedded", data_dir=tmp_path / "named") as broker:
        assert _read(broker.bootstrap, "kept") == [b"acknowledged"]


def test_a_broker_that_is_there_can_be_used_and_not_disturbed() -> None:
    with start_broker("embedded") as ours:
        with broker_from(ours.bootstrap) as there:
            assert there.bootstrap == ours.bootstrap
            there.stop()
            for disturb in (there.kill, there.pause, there.resume, there.restart):
                with pytest.raises(BrokerNotOursError, match="not ours to"):
                    disturb()
        _write(ours.bootstrap, "still-serving")


@pytest.mark.parametrize("option", ["", "kafka", "host", "host:", ":9092", "host:port", "a:1,b:2"])
def test_an_option_that_names_no_broker_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match="expected embedded, apache or HOST:PORT"):
        broker_from(option)


def test_an_address_where_nothing_serves_is_said_in_one_line() -> None:
    with pytest.raises(BrokerFailedError, match=r"^no Kafka broker answers at 127\.0\.0\.1:\d+: .+$"):
        check_answers(f"127.0.0.1:{free_port()}", timeout_s=0.5)


def test_a_program_that_ends_at_once_is_said_with_its_last_words(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo first; echo the disk is full; exit 3"]
    broker = BrokerProcess(command, port=free_port(), home=BrokerHome(tmp_path))
    with pytest.raises(BrokerFailedError, match=r"ended while it was starting.*the disk is full$"):
        broker.start()
    with pytest.raises(BrokerFailedError, match="is not running"):
        broker.pause()
    broker.close()


def test_without_java_or_maven_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerMissingError, match=r"`java`.*install a Java runtime, 17 or newer$"):
        start_broker("apache")
    with pytest.raises(BrokerMissingError, match=r"`mvn`.*install Maven"):
        kafka_jars()


@pytest.mark.parametrize(
    ("maven", "message"),
    [
        ("echo '[INFO] x'; echo '[ERROR] Could not find artifact'; exit 1", "Could not find artifact$"),
        ("exit 1", "it gave no reason$"),
        ("exit 0", "did not deliver Apache Kafka"),
    ],
)
def test_jars_that_maven_does_not_deliver_are_an_error_and_leave_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maven: str, message: str
) -> None:
    program = tmp_path / "mvn"
    program.write_text(f"#!/bin/sh\n{maven}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(BrokerMissingError, match=message):
        kafka_jars()
    assert [path.suffix for path in (tmp_path / "cache" / "stayhand").iterdir()] == [".lock"]


def test_the_version_of_the_jars_is_the_version_in_the_pom() -> None:
    pom = (_CHECKOUT / "streams/brokers/pom.xml").read_text()
    assert f"<artifactId>kafka_2.13</artifactId>\n      <version>{KAFKA_VERSION}</version>" in pom


def test_the_command_prints_the_address_and_ends_its_broker_on_sigterm() -> None:
    with subprocess.Popen(_COMMAND, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        address = command.stdout.readline().strip()
        with broker_from(address):
            command.send_signal(signal.SIGTERM)
        assert command.wait(WAIT_S) == 0
    assert port_is_free(int(address.rpartition(":")[2]))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ties a child to its parent")
def test_a_broker_dies_with_a_parent_that_is_killed() -> None:
    script = (
        "import sys; from streams.brokers import start_broker; broker = start_broker('embedded');"
        "print(broker.pid, broker.home.path, flush=True); sys.stdin.readline(); broker.close()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=_CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, home = parent.stdout.readline().split()
        assert _alive(int(pid))
        parent.kill()
    eventually(lambda: not _alive(int(pid)))
    BrokerHome(Path(home)).remove()


def test_apache_tests_are_left_out_on_the_embedded_broker_and_fail_where_apache_cannot_be_had(
    tmp_path: Path,
) -> None:
    suite = tmp_path / "test_suite.py"
    suite.write_text(
        "import pytest\n@pytest.mark.apache\ndef test_proven_on_apache(broker): ...\ndef test_plain(): ...\n"
    )
    arguments = [sys.executable, "-m", "pytest", str(suite), "-p", "tests.conftest", f"--rootdir={tmp_path}"]

    def run(option: str) -> tuple[int, str]:
        environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": f"{_CHECKOUT}:{_CHECKOUT / 'sdk'}"}
        done = subprocess.run(
            [*arguments, f"--broker={option}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    status, output = run("embedded")
    assert (status, "1 passed, 1 deselected" in output) == (0, True), output
    status, output = run("apache")
    assert (status, "1 passed" in output, "1 error" in output, "skipped" in output) == (1, True, True, False)
    assert "Apache Kafka needs `java`" in output
