"""A whole replay through Kafka and a scorer process: a verdict for every event, twice the same; baselines move."""

import base64
import json
import time

import pytest
from typer.testing import CliRunner

from models.baseline import decode
from schemas.documents import CONTROL
from streams import topics
from streams.commands import _kafka
from streams.commands._session import Mistaken, Session
from streams.local import ground
from streams.local.errors import Failed
from streams.local.scorer import ScorerProcess
from streams.record import parse_key, unpack
from streams.replay.command import app
from streams.replay.runner import Plan, replay
from streams.shipped import DEFAULT_PACK
from tests.replay.samples import ACCOUNT, GITHUB, K8S, TRAIL, but

RUN = CliRunner()
LIVE_TIMEOUT_S = 60.0


class Silent:
    """Looks on and remembers the last count."""

    def reading(self, intake):
        """A file more is read."""

    def scoring(self, done, total):
        """So many events are answered."""


@pytest.fixture
def logs(tmp_path):
    """A log of 124 lines: two identities' work in disorder, a duplicate, a later stage, a broken line, a theft."""
    trail = [
        but(TRAIL, eventID=f"e{n}", eventTime=f"2024-03-01T{9 + n // 30:02d}:{2 * (n % 30):02d}:00Z")
        for n in range(110)
    ]
    stolen = {"sourceIPAddress": "198.51.100.66", "userAgent": "curl/8", "eventTime": "2024-03-01T13:00:00Z"}
    names = ("AttachUserPolicy", "CreateAccessKey", "CreateUser", "CreateLoginProfile", "PutUserPolicy")
    theft = [
        but(TRAIL, eventID=f"t{n}", eventSource="iam.amazonaws.com", eventName=name, **stolen)
        for n, name in enumerate(names)
    ]
    others = [
        GITHUB,
        K8S,
        but(K8S, stage="ResponseComplete"),
        but(GITHUB, _document_id="d2"),
        but(GITHUB, _document_id="d3"),
    ]
    lines = [json.dumps(record) for record in (*reversed(trail), *theft, *others, TRAIL, trail[7])]
    path = tmp_path / "audit.log"
    path.write_text("\n".join([*lines[:50], "{broken", *lines[50:]]) + "\n")
    return path


def session(bootstrap, prefix):
    """Where a test works."""
    return Session({"bootstrap.servers": bootstrap}, prefix, "test")


def test_a_replay_accounts_for_every_event_and_gives_the_same_verdicts_again(bootstrap, unique_prefix, logs):
    one = replay(Plan((logs,), session(bootstrap, f"{unique_prefix}-a"), partitions=1), Silent())
    two = replay(Plan((logs,), session(bootstrap, f"{unique_prefix}-b"), partitions=3), Silent())
    assert one.accounted
    assert (one.intake.events, one.scored, one.intake.duplicates, one.intake.unreadable, one.intake.skipped) == (
        123,
        120,
        1,
        1,
        1,
    )
    assert one.refused == {}
    assert one.digest == two.digest
    assert one.verdicts == two.verdicts
    assert one.verdicts["block"] > 0
    assert one.top[0][0].identity == f"iam-role:arn:aws:iam::{ACCOUNT}:role/ci/deployer"
    assert one.top[0][0].verdict == "block"
    assert one.top[0][0].reasons
    assert one.top == two.top


def test_the_replays_topics_are_gone_afterwards_unless_they_are_kept(bootstrap, unique_prefix, logs, admin):
    gone, kept = session(bootstrap, f"{unique_prefix}-gone"), session(bootstrap, f"{unique_prefix}-kept")
    replay(Plan((logs,), gone, partitions=1), Silent())
    replay(Plan((logs,), kept, partitions=1, keep=True), Silent())
    names = set(admin.list_topics(timeout=10).topics)
    assert gone.topic("audit") not in names
    assert kept.topic("audit") in names
    with pytest.raises(Mistaken, match="not empty"):
        replay(Plan((logs,), kept, partitions=1), Silent())
    ground.remove(kept)


def test_backfilled_baselines_are_those_of_the_replay_and_a_live_scorer_takes_them_over(
    bootstrap, unique_prefix, logs, tmp_path
):
    past, live = session(bootstrap, f"{unique_prefix}-past"), session(bootstrap, f"{unique_prefix}-live")
    laid = ground.lay(live, ground.replay_point(live, "p"), DEFAULT_PACK, tmp_path, 2)
    report = replay(Plan((logs,), past, live=live, keep=True, partitions=3), Silent())
    learned = baselines(past)
    assert report.backfilled == len(learned) == 3
    sent = {
        record.key.decode(): CONTROL.validate_json(record.value)
        for record in _kafka.scan(live, "controls", {0: 0, 1: 0})
    }
    assert {identity: base64.b64decode(control.baseline) for identity, control in sent.items()} == learned
    assert {decode(body).events for body in learned.values()} == {1, 3, 116}
    with ScorerProcess(laid.settings | {"STAYHAND_STATE_DIR": str(tmp_path / "state")}, tmp_path / "log") as scorer:
        assert eventually(lambda: baselines(live), learned)
        scorer.stop()
    ground.remove(past)
    ground.remove(live)


def baselines(where):
    """The baselines in a prefix's state topic, by identity."""
    found = {}
    for record in _kafka.scan(where, "state", dict.fromkeys(range(_kafka.partitions_of(where, "state")), 0)):
        kind, identity = parse_key(record.key)
        if kind == "baseline":
            found[identity] = unpack(record.value)[2]
    return found


def eventually(look, expected):
    """Whether it looks as expected within a minute."""
    give_up = time.monotonic() + LIVE_TIMEOUT_S
    while (seen := look()) != expected:
        if time.monotonic() > give_up:
            return seen == expected
    return True


def test_a_scorer_that_cannot_start_says_why(tmp_path):
    scorer = ScorerProcess({"STAYHAND_CLOCK": "nonsense"}, tmp_path / "log")
    with pytest.raises(Failed, match=r"status 2: .*clock"):
        wait_for_end(scorer)


def wait_for_end(scorer):
    """Ask until it says that it ended."""
    give_up = time.monotonic() + LIVE_TIMEOUT_S
    while time.monotonic() < give_up:
        scorer.check()


def test_a_scorer_that_ends_ends_the_replay(bootstrap, unique_prefix, logs, monkeypatch):
    monkeypatch.setattr(ground.Ground, "settings", {"STAYHAND_CLOCK": "nonsense"})
    with pytest.raises(Failed, match="scorer ended"):
        replay(Plan((logs,), session(bootstrap, unique_prefix), partitions=1), Silent())


def test_the_command_ends_with_one_line_of_json(bootstrap, logs):
    result = RUN.invoke(app, [str(logs), "--bootstrap", bootstrap, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["events"] == 123
    assert told["events"] == sum(told[name] for name in ("scored", "duplicates", "unreadable", "skipped", "refused"))
    assert sum(told["verdicts"].values()) == told["scored"] == 120
    assert "line 51" in told["unreadable_names"][0]
    assert len(told["digest"]) == 64


def test_usage_errors_start_nothing(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("{}")
    assert RUN.invoke(app, [str(tmp_path / "missing")]).exit_code == 2
    result = RUN.invoke(app, [str(log), "--backfill"], env={"STAYHAND_BOOTSTRAP": ""})
    assert (result.exit_code, "--bootstrap" in result.stderr) == (2, True)


def test_a_policy_that_does_not_compile_is_named_with_its_line(bootstrap, unique_prefix, logs, tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text("name: [")
    with pytest.raises(Mistaken, match=r"p\.yaml:\d+"):
        replay(Plan((logs,), session(bootstrap, unique_prefix), policy=policy), Silent())
    assert all(difference.what == "missing" for difference in topics.ensure(bootstrap, unique_prefix, apply=False))
