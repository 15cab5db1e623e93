"""The list of what was seen in abuse: cited, well-formed, and heard only where the action is new."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from models import abused as module
from models.abused import InvalidAbused, load_abused, parse_abused
from models.event import Evidence, Features, score
from models.prior import load_prior, parse_prior
from streams.replay.mapping import map_record

SOURCE = Path(module.__file__).with_name("abused.yaml").read_text(encoding="utf-8")
LIST = yaml.safe_load(SOURCE)
PRIOR = load_prior()
PRIOR_SOURCE = Path(module.__file__).with_name("prior.yaml").read_text(encoding="utf-8")


def test_every_source_that_stands_in_the_list_is_cited() -> None:
    assert {key for entry in LIST["actions"] for key in entry["references"]} == set(LIST["sources"])


def test_a_source_that_nobody_read_may_stand_in_the_list_and_says_so() -> None:
    unread = parse_abused(SOURCE.replace('read: part, day: "2026-12-01"', "read: never", 1))
    assert unread.source["sources"]["attack"]["read"] == "never"
    assert unread.source["sources"]["attack"]["day"] is None


def test_no_entry_has_a_technique_number_that_attack_19_replaced() -> None:
    replaced = {"T1562", "T1070.001", "T1070.002", "T1656", "T1672"}
    told = {technique for entry in LIST["actions"] for technique in entry["techniques"]}
    assert not {technique for technique in told if technique in replaced or technique.startswith("T1562.")}


def test_every_name_is_reached_by_the_entry_that_spells_it_out() -> None:
    found = load_abused()
    for entry in LIST["actions"]:
        for name in entry["names"]:
            told = found.find(name.replace("*", "x"))
            assert told is not None
            assert told.techniques == tuple(entry["techniques"]), name


@pytest.mark.parametrize("family", ["iam:", "k8s:", "github:", "secret."])
def test_every_kind_of_log_has_its_entries(family: str) -> None:
    assert sum(name.startswith(family) for entry in LIST["actions"] for name in entry["names"]) >= 4


@pytest.mark.parametrize(
    "record",
    [
        {
            "eventSource": "iam.amazonaws.com",
            "eventName": "CreateAccessKey",
            "eventID": "1",
            "eventTime": "2026-01-01T00:00:00Z",
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/a"},
        },
        {
            "auditID": "1",
            "verb": "create",
            "user": {"username": "a"},
            "objectRef": {"resource": "pods", "subresource": "exec", "namespace": "n", "name": "p"},
            "requestReceivedTimestamp": "2026-01-01T00:00:00Z",
        },
        {"action": "repo.access", "actor": "a", "repo": "o/r", "@timestamp": 1_767_225_600_000, "_document_id": "1"},
    ],
    ids=["cloudtrail", "kubernetes", "github"],
)
def test_names_are_spelled_as_the_replay_spells_them(record: dict[str, object]) -> None:
    name = map_record(record).action["action"]["name"]
    assert load_abused().find(name) is not None
    assert PRIOR.action(name).abused > PRIOR.action(name).q


@pytest.mark.parametrize("name", ["s3:GetObject", "k8s:list.pods", "github:git.push", "web.get", "tool.call.read_file"])
def test_the_everyday_is_not_in_the_list(name: str) -> None:
    assert load_abused().find(name) is None
    assert PRIOR.action(name).abused == 0


def test_the_list_is_part_of_the_priors_hash() -> None:
    other = parse_abused(SOURCE.replace("often: 60000", "often: 60001"))
    assert parse_prior(PRIOR_SOURCE, other).hash != PRIOR.hash


def event(name: str, k: int, r: int = 1, session: int = 5_000) -> Features:
    """An action by an identity of which something unusual was seen just before, unless ``session`` says otherwise."""
    known = PRIOR.action(name)
    did = Evidence(k, 2_000, 20, r, known.g, known.q)
    return Features(
        *(1, 1, (), (did, None, None, None), 3, 0, 0, 1, known.impact, (1, 1, 1), (0, 0, 0), session, 2_000, 10**9, 1),
        abused=known.abused,
    )


LISTED = [name for entry in LIST["actions"] for name in entry["names"] if "*" not in name]


@pytest.mark.parametrize("name", LISTED)
def test_an_action_that_has_matured_is_not_charged_for_standing_in_the_list(name: str) -> None:
    new, known = (dict(score(event(name, k)).terms) for k in (0, 1))
    assert new.get("abused", 0) > 0 or PRIOR.action(name).abused == 0
    assert "abused" not in known
    assert score(event(name, 400, session=0)).total == 0


@pytest.mark.parametrize("name", LISTED)
def test_standing_in_the_list_counts_no_more_than_what_was_unusual_just_before(name: str) -> None:
    for session in (0, 300, 5_000):
        told = dict(score(event(name, 0, session=session)).terms)
        assert told.get("abused", 0) <= session


@pytest.mark.parametrize("name", LISTED)
def test_standing_in_the_list_never_lowers_a_score_and_adds_at_most_three_nats(name: str) -> None:
    listed = event(name, 0)
    bare = score(listed._replace(abused=0)).event
    found = score(listed).event
    assert bare is not None
    assert found is not None
    assert 0 <= found - bare <= 3 * 1024
    assert dict(score(event(name, 0, 9)).terms).get("abused", 0) <= dict(score(listed).terms).get("abused", 0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("actions: [", "YAML"),
        (SOURCE.replace("T1552.007", "1552"), "techniques"),
        (SOURCE.replace("share: often", "share: always", 1), "share"),
        (SOURCE.replace("references: [cisa-scattered-spider]", "references: [hearsay]", 1), "hearsay"),
        (SOURCE.replace("https://attack.mitre.org/matrices/enterprise/cloud/", "by mail"), "sources.attack.url"),
        (SOURCE.replace("read: part", "read: mostly", 1), "sources.attack.read"),
        (SOURCE.replace('day: "2026-12-01"', 'day: "yesterday"', 1), "sources.attack.day"),
        (SOURCE.replace(', day: "2026-12-01"', "", 1), "a day exactly where"),
        (SOURCE.replace("read: part", "read: never", 1), "a day exactly where"),
        (SOURCE.replace("read: part", "by: us, read: part", 1), "sources.attack.by"),
        (SOURCE.replace("often: 60000, ", ""), "often"),
    ],
)
def test_a_wrong_list_is_refused_by_the_field_that_is_wrong(wrong: str, told: str) -> None:
    with pytest.raises(InvalidAbused, match=told):
        parse_abused(wrong)
