"""Creating and checking topics: what is missing or different is told, and only what is safe is changed."""

import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from schemas.topics import ROLES, TOPICS, Acl, acls, topic
from streams.topics import TopicsFailed, _binding, acl_lines, admin_client, apply_acls, ensure

NAMES = {spec.kind for spec in TOPICS}


def set_config(bootstrap, name, key, value):
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    client = admin_client(bootstrap)
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
    asked = ConfigResource(ConfigResource.Type.TOPIC, name)
    give_up = time.monotonic() + 10
    while client.describe_configs([asked])[asked].result()[key].value != value:
        assert time.monotonic() < give_up, "the broker never told what it accepted"


@pytest.mark.kafka
def test_without_apply_everything_is_told_and_nothing_is_made(bootstrap, unique_prefix):
    for _ in range(2):
        found = ensure(bootstrap, unique_prefix, partitions=2, apply=False)
        assert {each.topic for each in found} == {f"{unique_prefix}.{kind}" for kind in NAMES}
        assert {(each.what, each.mended) for each in found} == {("missing", False)}


@pytest.mark.kafka
def test_apply_makes_every_topic_once_as_the_table_says(bootstrap, unique_prefix):
    made = ensure(bootstrap, unique_prefix, partitions=3, domains=["payments"])
    assert {each.topic for each in made} >= {f"{unique_prefix}.decisions.payments", f"{unique_prefix}.actions"}
    assert all(each.mended for each in made)
    assert ensure(bootstrap, unique_prefix, partitions=3, domains=["payments"], apply=False) == []
    topics = admin_client(bootstrap).list_topics(timeout=10).topics
    for spec in TOPICS:
        assert len(topics[topic(unique_prefix, spec.kind)].partitions) == spec.partition_count(3)


@pytest.mark.kafka
def test_a_setting_that_differs_is_told_and_mended_only_with_apply(bootstrap, unique_prefix):
    ensure(bootstrap, unique_prefix, partitions=1)
    name = topic(unique_prefix, "state")
    set_config(bootstrap, name, "cleanup.policy", "delete")
    [told] = ensure(bootstrap, unique_prefix, partitions=1, apply=False)
    assert (told.topic, told.what, told.name, told.expected, told.actual, told.mended) == (
        name,
        "setting",
        "cleanup.policy",
        "compact",
        "delete",
        False,
    )
    [mended] = ensure(bootstrap, unique_prefix, partitions=1)
    assert mended.mended
    assert ensure(bootstrap, unique_prefix, partitions=1, apply=False) == []


@pytest.mark.kafka
def test_a_number_of_partitions_is_told_but_never_changed(bootstrap, unique_prefix):
    ensure(bootstrap, unique_prefix, partitions=2)
    found = ensure(bootstrap, unique_prefix, partitions=4, apply=True)
    assert {each.what for each in found} == {"partitions"}
    assert not any(each.mended for each in found)
    assert all("More partitions" in str(each) for each in found)
    topics = admin_client(bootstrap).list_topics(timeout=10).topics
    assert len(topics[topic(unique_prefix, "actions")].partitions) == 2


@pytest.mark.kafka
def test_topics_of_other_prefixes_are_left_alone(bootstrap, unique_prefix):
    other = f"{unique_prefix}-other.actions"
    client = admin_client(bootstrap)
    for future in client.create_topics([NewTopic(other, 1, 1)]).values():
        future.result()
    made = ensure(bootstrap, unique_prefix, partitions=1)
    assert other not in {each.topic for each in made}


@pytest.mark.kafka
def test_the_broker_stamps_an_action_whatever_time_its_writer_claims(bootstrap, unique_prefix):
    ensure(bootstrap, unique_prefix, partitions=1)
    stamps = []
    producer = Producer({"bootstrap.servers": bootstrap})
    name = topic(unique_prefix, "actions")
    producer.produce(
        name, b"{}", timestamp=1_000, on_delivery=lambda _error, message: stamps.append(message.timestamp())
    )
    assert producer.flush(10) == 0
    [(_kind, stamped_ms)] = stamps
    assert stamped_ms > 1_600_000_000_000


def test_no_broker_is_one_line():
    with pytest.raises(TopicsFailed) as caught:
        ensure({"bootstrap.servers": "127.0.0.1:1", "socket.connection.setup.timeout.ms": 1_000}, "x", timeout_s=0.5)
    assert "\n" not in str(caught.value)
    assert "--bootstrap" in str(caught.value)


def test_a_setting_that_librdkafka_does_not_know_is_one_line():
    with pytest.raises(TopicsFailed, match=r"no\.such\.setting"):
        ensure({"bootstrap.servers": "127.0.0.1:1", "no.such.setting": "1"}, "x")


@pytest.mark.parametrize(("partitions", "replication"), [(0, 1), (1, 0), (-1, 1)])
def test_counts_below_one_are_refused_before_kafka_is_asked(partitions, replication):
    with pytest.raises(ValueError, match="expected 1 or more"):
        ensure("127.0.0.1:1", "x", partitions=partitions, replication=replication)


def test_acl_lines_name_each_rule_of_the_given_roles_only():
    lines = acl_lines(acls("stayhand"), {"point": "User:ci"}, "localhost:9092")
    assert len(lines) == 4
    assert all("--allow-principal User:ci" in line for line in lines)
    assert any(
        line.endswith("--operation Write --topic stayhand.actions --resource-pattern-type literal") for line in lines
    )


@pytest.mark.parametrize("rule", acls("stayhand"), ids=str)
def test_each_rule_is_one_that_the_admin_client_accepts(rule: Acl):
    binding = _binding(rule, f"User:{rule.role}")
    assert (binding.name, binding.restype.name, binding.operation.name) == (
        rule.name,
        "BROKER" if rule.resource == "CLUSTER" else rule.resource,
        rule.operation,
    )


@pytest.mark.kafka
def test_a_broker_without_an_authorizer_refuses_acls_in_one_line(bootstrap):
    with pytest.raises(TopicsFailed, match="Authorizer"):
        apply_acls(bootstrap, acls("stayhand"), {role: f"User:{role}" for role in ROLES})
