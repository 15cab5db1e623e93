"""The event score on a public CloudTrail set of four benign identities and two attacks (development data)."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from models.baseline import EMPTY, Baseline
from models.event import features, score
from models.lessons import lesson, observe
from models.prior import load_prior
from stayhand.wire import PendingAction, pending_action

DATA = Path(os.environ.get("STAYHAND_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
ARCHIVES = sorted((DATA / "sans504").glob("*.tar.gz"))
SLOW, GUIDE, BLOCK = 6 * 1024, 12 * 1024, 20 * 1024
HOUR_MS = 3_600_000

pytestmark = pytest.mark.skipif(not ARCHIVES, reason="no CloudTrail set under STAYHAND_DATA (sans504/*.tar.gz)")


class Seen(NamedTuple):
    """One scored event."""

    identity: str
    at_ms: int
    name: str
    total: int
    kind: str


def _events() -> Iterator[dict[str, Any]]:
    known: set[str] = set()
    for archive in ARCHIVES:
        with tarfile.open(archive) as members:
            for member in members:
                stream = members.extractfile(member) if member.name.endswith(".json.gz") else None
                for event in json.loads(gzip.decompress(stream.read()))["Records"] if stream else ():
                    if event["eventID"] not in known:
                        known.add(event["eventID"])
                        yield event


def _action(event: dict[str, Any]) -> PendingAction:
    """Without errorCode and responseElements: they exist only after the action."""
    who = event["userIdentity"]
    held = [held for held in event.get("resources") or () if held.get("ARN")]
    forwarded = event["sourceIPAddress"] == "AWS Internal"
    return pending_action(
        {
            "subject": {"type": "aws", "id": who.get("arn") or who["invokedBy"]},
            "action": {"name": f"{event['eventSource'].split('.')[0]}:{event['eventName']}"},
            "resource": {"type": held[0].get("type", "aws"), "id": held[0]["ARN"]}
            if held
            else {"type": "aws", "id": f"{event['eventSource']}:{event['awsRegion']}"},
            "context": {
                "source": "" if forwarded else event["sourceIPAddress"],
                "client": "" if forwarded else event.get("userAgent", "")[:256],
            },
        }
    )


def _kind(identity: str, at_ms: int) -> str:
    if "jmerckle" in identity:
        return "jmerckle"
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return "burst" if "FalsimentisRoot" in identity and (at.day, at.hour) == (30, 16) else "benign"


@pytest.fixture(scope="module")
def scored() -> list[Seen]:
    prior, states, seen = load_prior(), dict[str, Baseline](), list[Seen]()
    for event in sorted(_events(), key=lambda event: event["eventTime"]):
        action, at_ms = _action(event), int(datetime.fromisoformat(event["eventTime"]).timestamp() * 1000)
        identity = action.identity
        b = states.get(identity, EMPTY)
        f = features(b, action, at_ms, prior)
        s = score(f)
        states[identity] = observe(b, lesson(f, s, event["eventID"], s.total < SLOW))
        seen.append(Seen(identity, at_ms, action.action.name, s.total, _kind(identity, at_ms)))
    return seen


def _hours(scored: list[Seen], band: int) -> set[tuple[str, int]]:
    return {(s.identity, s.at_ms // HOUR_MS) for s in scored if s.kind == "benign" and s.total > band}


def test_at_most_nine_of_199_benign_identity_hours_reach_the_slow_band(scored: list[Seen]) -> None:
    assert len(_hours(scored, -1)) == 199
    assert len(_hours(scored, SLOW)) <= 9
    assert len(_hours(scored, BLOCK)) <= 2


def test_the_exfiltration_burst_is_slowed_within_five_seconds_and_stays_so(scored: list[Seen]) -> None:
    burst = [s for s in scored if s.kind == "burst"]
    first = next(number for number, s in enumerate(burst) if s.total > SLOW)
    assert burst[first].at_ms - burst[0].at_ms <= 5_000
    assert all(s.total > SLOW for s in burst[first:])


def test_the_intruder_is_slowed_when_he_gives_himself_rights_and_guided_when_he_makes_a_key(scored: list[Seen]) -> None:
    intruder = [s for s in scored if s.kind == "jmerckle"]
    assert next(s.name for s in intruder if s.total > SLOW) == "iam:PutUserPolicy"
    assert next(s.name for s in intruder if s.total > GUIDE) == "iam:CreateAccessKey"
