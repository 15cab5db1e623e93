"""What a replay stands on: topics of its own, a master secret, a registered point and a policy pack in force."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import structlog
from confluent_kafka import KafkaException, TopicPartition

from models.policy import InvalidPack, compile_pack
from schemas.documents import ActivePolicy, Document, EnforcementPoint, PackDocument, PointKey
from schemas.topics import TOPICS
from stayhand.signing import point_key
from streams import topics
from streams.commands import _kafka
from streams.commands._session import Mistaken, Session

KEY_ID = "k1"
NO_LIMIT = 1_000_000_000
_LOG = structlog.get_logger("stayhand.replay")


@dataclass(frozen=True, slots=True)
class Ground:
    """Where asks go and how they are signed; the secret's file is readable by its owner alone."""

    session: Session
    point: str
    key: bytes
    secret_file: Path
    partitions: int

    @property
    def settings(self) -> dict[str, str]:
        """The scorer's environment, clock and state directory left out."""
        kafka = dict(self.session.kafka)
        settings = {
            "STAYHAND_BOOTSTRAP": str(kafka.pop("bootstrap.servers")),
            "STAYHAND_PREFIX": self.session.prefix,
            "STAYHAND_MASTER_SECRET_FILE": str(self.secret_file),
            "STAYHAND_HEALTH_PORT": "0",
        }
        return settings | {
            f"STAYHAND_KAFKA__{name.upper().replace('.', '__')}": str(value) for name, value in kafka.items()
        }


def lay(session: Session, point: EnforcementPoint, policy: Path, folder: Path, partitions: int) -> Ground:
    """Create the topics, make a secret in ``folder`` (0600), register the point and put the pack in force.

    Raises:
        Mistaken: for a policy that cannot be read, or a prefix that was used before.
        TopicsFailed, KafkaDown: where Kafka does not do its part.
    """
    pack = _pack(policy, session.by)
    topics.ensure(session.kafka, session.prefix, partitions=partitions)
    _refuse_used(session)
    secret_file = folder / f"{session.prefix}.secret"
    secret_file.touch(mode=0o600)
    master = secrets.token_hex(32).encode()
    secret_file.write_bytes(master)
    entries: list[tuple[str, Document | None]] = [
        (f"point/{point.point}", point),
        (f"pack/{pack.hash}", pack),
        # Nobody is stopped by a replay, and it shall show all that this pack does: no guard.
        ("policy", ActivePolicy(active=pack.hash, by=session.by, cap_percent=100)),
    ]
    _kafka.send(session, "global", entries)
    actual = _kafka.partitions_of(session, "actions")
    return Ground(session, point.point, point_key(master, point.point, KEY_ID), secret_file, actual)


def replay_point(session: Session, name: str) -> EnforcementPoint:
    """A point that may ask for everything: old logs speak for every identity, and as fast as they can be read."""
    return EnforcementPoint(
        point=name,
        keys=(PointKey(key_id=KEY_ID),),
        identities=("*",),
        actions=("*",),
        reply_topics=(session.topic("decisions"),),
        rate_per_s=NO_LIMIT,
        new_identities_per_hour=NO_LIMIT,
    )


def remove(session: Session) -> None:
    """Delete the prefix's topics; those that stay are named in the log, for the replay itself is over."""
    client = topics.admin_client(session.kafka)
    for name, deletion in client.delete_topics([session.topic(spec.kind) for spec in TOPICS]).items():
        try:
            deletion.result(topics.TIMEOUT_S)
        except KafkaException as error:
            _LOG.warning("a replay's topic stays", topic=name, why=error.args[0].str())


def _pack(path: Path, by: str) -> PackDocument:
    try:
        source = path.read_text(encoding="utf-8")
        pack = compile_pack(source)
    except (OSError, UnicodeDecodeError) as error:
        raise Mistaken(f"--policy {path}: cannot be read") from error
    except InvalidPack as error:
        raise Mistaken(f"{path}:{error.line}: {error.field}: {error.expected}") from error
    return PackDocument(hash=pack.hash, name=pack.name, version=pack.version, source=source, by=by)


def _refuse_used(session: Session) -> None:
    name = session.topic("actions")
    with _kafka.reader(session) as consumer:
        for partition in range(_kafka.partitions_of(session, "actions")):
            if consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=_kafka.TIMEOUT_S)[1]:
                raise Mistaken(f"--prefix {session.prefix}: {name} is not empty, and old state would be scored with")
