"""The topic table: names, counts and settings that the rest relies on, and rights without excess."""

import pytest

from schemas.topics import BY_KIND, TOPICS, acls, topic

SHARED = ("actions", "controls", "state", "audit")


def test_topics_that_are_partitioned_by_identity_always_have_equally_many():
    for partitions in (1, 3, 8):
        assert {BY_KIND[kind].partition_count(partitions) for kind in SHARED} == {partitions}


def test_global_has_one_partition_whatever_the_others_have():
    assert BY_KIND["global"].partition_count(8) == 1


def test_the_time_that_models_see_is_never_the_askers():
    assert BY_KIND["actions"].config()["message.timestamp.type"] == "LogAppendTime"
    assert BY_KIND["controls"].config()["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize("spec", [spec for spec in TOPICS if spec.cleanup == "delete"], ids=lambda spec: spec.kind)
def test_a_segment_ends_before_its_retention(spec):
    assert 0 < spec.segment_ms < spec.retention_ms


@pytest.mark.parametrize("kind", ["state", "global"])
def test_compacted_topics_never_delete_by_age_and_keep_tombstones(kind):
    config = BY_KIND[kind].config()
    assert config["cleanup.policy"] == "compact"
    assert config["retention.ms"] == "-1"
    assert int(config["delete.retention.ms"]) > int(config["max.compaction.lag.ms"]) > 0


def test_controls_outlive_the_audit_that_refers_to_them():
    assert BY_KIND["controls"].retention_ms >= BY_KIND["audit"].retention_ms


def test_names():
    assert topic("stayhand", "actions") == "stayhand.actions"
    assert topic("a.b", "decisions", "payments") == "a.b.decisions.payments"


@pytest.mark.parametrize(
    ("prefix", "kind", "domain"),
    [
        ("", "actions", ""),
        (".x", "actions", ""),
        ("x.", "actions", ""),
        ("x" * 65, "actions", ""),
        ("a b", "actions", ""),
        ("stayhand", "nothing", ""),
        ("stayhand", "audit", "payments"),
        ("stayhand", "decisions", "a.b"),
    ],
)
def test_a_name_that_kafka_or_the_contract_does_not_know_is_refused(prefix, kind, domain):
    with pytest.raises(ValueError, match="expected"):
        topic(prefix, kind, domain)


def test_the_longest_name_fits_kafka():
    assert len(topic("p" * 64, "decisions", "d" * 64)) <= 249


def test_only_scorers_write_decisions_state_and_audit():
    for kind in ("decisions", "state", "audit"):
        assert BY_KIND[kind].writers == ("scorer",)


def test_an_enforcement_point_never_writes_controls_or_global_and_reads_only_its_own_answers():
    rights = {(acl.name, acl.operation) for acl in acls("stayhand", "payments") if acl.role == "point"}
    assert rights == {
        ("stayhand-", "DESCRIBE"),
        ("stayhand.actions", "WRITE"),
        ("stayhand.fallbacks", "WRITE"),
        ("stayhand.decisions.payments", "READ"),
    }


def test_no_rule_stands_twice():
    rules = acls("stayhand")
    assert len(rules) == len(set(rules))
