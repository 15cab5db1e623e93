"""Operator commands: what they write, when they call it applied, and how they fail in one line."""

import json
import stat

import pytest
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from models import baseline
from models.transition import encode_facts
from schemas.documents import CONTROL, ActivePolicy, EnforcementPoint, Facts, Frozen, KillSwitch
from schemas.topics import TYPE_CONTROL, TYPE_GLOBAL, topic
from stayhand.partition import partition_for
from stayhand.signing import point_key
from streams import record
from streams.__main__ import COMMANDS, main
from streams.registry import key_of
from streams.topics import ensure
from tests.streams.scorer_double import PARTITIONS, WORKER, audit_body, scoring

IDENTITY = "token:ci-deployer"
PACK = "name: {name}\nversion: '1'\nbands:\n  block: {{at: 9, reason: {{code: unusual, message: Unusual.}}}}\n"


class Cli:
    """Runs commands against one prefix."""

    def __init__(self, bootstrap, prefix):
        self.bootstrap, self.prefix, self.runner = bootstrap, prefix, CliRunner()

    def run(self, *arguments, code=0):
        common = ["--bootstrap", self.bootstrap, "--prefix", self.prefix, "--by", "ada"]
        result = self.runner.invoke(main, [*arguments, *common])
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        return result

    def json(self, *arguments, code=0):
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def records(self, kind):
        conf = {"bootstrap.servers": self.bootstrap, "group.id": "look", "enable.partition.eof": True}
        consumer = Consumer(conf)
        name, found = topic(self.prefix, kind), []
        count = len(consumer.list_topics(name, timeout=10).topics[name].partitions)
        consumer.assign([TopicPartition(name, each, 0) for each in range(count)])
        ended = 0
        while ended < count:
            message = consumer.poll(10)
            if message.error() is None:
                found.append(message)
            else:
                ended += 1
        consumer.close()
        return found


@pytest.fixture
def cli(bootstrap, unique_prefix):
    ensure(bootstrap, unique_prefix, partitions=PARTITIONS)
    return Cli(bootstrap, unique_prefix)


@pytest.fixture
def secret(tmp_path, cli):
    file = tmp_path / "master"
    cli.run("secret", "new", str(file))
    return file


def test_the_list_of_commands_imports_none_of_them():
    shown = CliRunner().invoke(main, ["--help"]).stdout
    assert all(name in shown for name in COMMANDS)


def test_a_wrong_name_is_answered_with_the_right_one():
    result = CliRunner().invoke(main, ["freze"])
    assert result.exit_code == 2
    assert "'freeze'" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["point", "list"], ["policy", "list"], ["identity", "show", IDENTITY], ["topics"]]
)
def test_without_a_broker_each_command_ends_with_one_line(arguments, monkeypatch):
    for module in ("streams.topics", "streams.commands._kafka"):
        monkeypatch.setattr(f"{module}.TIMEOUT_S", 0.5)
    quick = ["--kafka", "socket.connection.setup.timeout.ms=1000"]
    result = CliRunner().invoke(main, [*arguments, "--bootstrap", "127.0.0.1:1", *quick])
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "--bootstrap" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["freeze"],
        ["freeze", IDENTITY, "--everything"],
        ["freeze", "no-colon"],
        ["freeze", IDENTITY, "--wait-for", "soon"],
        ["observe", "on"],
        ["observe", "on", "--gate", "--family", "x"],
        ["policy", "shadow"],
        ["policy", "check", "/does/not/exist"],
        ["explain", "not-hex"],
        ["review", "not-hex", "--fine"],
        ["review", "ab" * 16],
        ["review", "ab" * 16, "--fine", "--bad"],
        ["point", "list", "--kafka", "nonsense"],
        ["point", "list", "--prefix", "a b"],
        ["topics", "--acls", "--principal", "king=User:x"],
    ],
)
def test_what_cannot_be_right_is_said_in_one_line_before_kafka_is_asked(arguments):
    result = CliRunner().invoke(main, [*arguments, "--bootstrap", "127.0.0.1:1"])
    assert result.exit_code == 2, (result.stderr, result.exception)
    assert result.stderr.count("\n") == 1
    assert "expected" in result.stderr or "cannot read" in result.stderr


@pytest.mark.kafka
def test_topics_ends_with_1_where_they_differ_and_0_where_they_are_right(cli):
    assert cli.json("topics", "--partitions", str(PARTITIONS)) == []
    told = cli.json("topics", "--partitions", "7", code=1)
    assert {each["what"] for each in told} == {"partitions"}


@pytest.mark.kafka
def test_topics_that_are_missing_are_the_commands_own_advice(bootstrap, unique_prefix):
    result = Cli(bootstrap, unique_prefix).run("point", "list", code=1)
    assert "streams topics --apply" in result.stderr


@pytest.mark.kafka
def test_a_freeze_is_a_signed_off_control_under_the_identitys_key_and_partition(cli):
    with scoring(cli.bootstrap, cli.prefix):
        told = cli.json("freeze", IDENTITY, "--why", "stolen")
    [message] = cli.records("controls")
    control = CONTROL.validate_json(message.value())
    assert (control.kind, control.by, control.why) == ("freeze", "ada", "stolen")
    assert message.key().decode() == IDENTITY
    assert message.partition() == partition_for(IDENTITY.encode(), PARTITIONS)
    assert dict(message.headers())["ce_type"].decode() == TYPE_CONTROL
    assert [each["worker"] for each in told["applied"]] == [WORKER]
    assert told["control_id"] == control.control_id


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["unfreeze", IDENTITY], "unfreeze"),
        (["register", IDENTITY, "--owner", "team-a"], "register"),
        (["offboard", IDENTITY], "offboard"),
        (["grant", IDENTITY, "--action", "deploy.*", "--resource", "env:prod"], "grant"),
        (["revoke-grant", IDENTITY, "ab" * 16], "revoke"),
        (["approve", "ab" * 16, IDENTITY], "approve"),
        (["deny", "ab" * 16, IDENTITY], "deny"),
        (["identity", "reset", IDENTITY], "reset"),
    ],
)
def test_each_control_is_one_that_scorers_read(cli, arguments, kind):
    cli.run(*arguments, "--no-wait")
    [message] = cli.records("controls")
    assert CONTROL.validate_json(message.value()).kind == kind


@pytest.mark.kafka
def test_a_control_is_not_called_applied_on_the_word_of_a_worker_that_lost_its_partition(cli):
    partition = partition_for(IDENTITY.encode(), PARTITIONS)
    other = 1 - partition
    with scoring(cli.bootstrap, cli.prefix, owned=(partition, other)) as double:
        # A successor of term 2 took over; the double goes on writing under term 1.
        double.write(partition, audit_body("mark", term=2, worker="successor"))
        result = cli.run("freeze", IDENTITY, "--wait-for", "2s", code=1)
    assert f"partition {partition}" in result.stderr
    assert WORKER not in result.stdout


@pytest.mark.kafka
def test_a_control_that_the_scorer_refuses_is_an_error_with_its_reason(cli):
    with scoring(cli.bootstrap, cli.prefix, refuse=lambda _value: True):
        result = cli.run("freeze", IDENTITY, code=1)
    assert "not like this" in result.stderr


@pytest.mark.kafka
def test_a_global_change_is_applied_only_when_every_partition_with_a_worker_says_so(cli):
    with scoring(cli.bootstrap, cli.prefix, owned=(0,)) as double:
        double.write(1, audit_body("mark", worker="silent"))
        told = cli.run("freeze", "--everything", "--wait-for", "2s", code=1)
        assert "partition 1" in told.stderr
    with scoring(cli.bootstrap, cli.prefix):
        told = cli.json("freeze", "--family", "deploy")
        assert {each["partition"] for each in told["applied"]} == {0, 1}


@pytest.mark.kafka
def test_before_any_scorer_ran_a_global_change_is_written_and_said_to_wait(cli):
    assert "no scorer has run yet" in cli.run("freeze", "--everything").stdout


@pytest.mark.kafka
def test_kill_switches_stand_under_the_registrys_keys_and_end_by_tombstone(cli):
    for scope in (["--family", "deploy"], ["--point", "ci"], ["--everything"]):
        cli.run("freeze", *scope, "--no-wait")
    thrown = cli.records("global")
    for message in thrown:
        assert key_of(KillSwitch.model_validate_json(message.value())) == message.key().decode()
        assert dict(message.headers())["ce_type"].decode() == TYPE_GLOBAL
    cli.run("unfreeze", "--point", "ci", "--no-wait")
    last = cli.records("global")[-1]
    assert (last.key(), last.value()) == (b"switch/point/ci", None)
    assert "not frozen" in cli.run("unfreeze", "--point", "ci", "--no-wait", code=1).stderr


@pytest.mark.kafka
def test_observe_is_switched_on_and_off_by_scope(cli):
    cli.run("observe", "on", "--family", "deploy", "--why", "trial", "--no-wait")
    assert [each["name"] for each in cli.json("observe", "list")] == ["deploy"]
    assert "not observed" in cli.run("observe", "off", "--gate", "--no-wait", code=1).stderr
    cli.run("observe", "off", "--family", "deploy", "--no-wait")
    assert cli.json("observe", "list") == []


RIGHTS = ["--identity", "token:*", "--action", "deploy.*"]


@pytest.mark.kafka
def test_a_registered_points_key_is_the_derived_one_and_never_in_a_topic(cli, secret):
    told = cli.json("point", "register", "ci", *RIGHTS, "--master-secret-file", str(secret))
    assert told["key"] == point_key(secret.read_bytes().strip(), "ci", "k1").hex()
    [message] = cli.records("global")
    assert told["key"].encode() not in message.value()
    entry = EnforcementPoint.model_validate_json(message.value())
    assert entry.reply_topics == (topic(cli.prefix, "decisions"),)
    again = cli.run("point", "register", "ci", *RIGHTS, "--master-secret-file", str(secret), code=1)
    assert "rotate" in again.stderr


@pytest.mark.kafka
def test_a_key_file_is_private_and_its_text_is_not_printed(cli, secret, tmp_path):
    file = tmp_path / "ci.key"
    arguments = ["point", "register", "ci", *RIGHTS, "--master-secret-file", str(secret), "--key-file", str(file)]
    shown = cli.run(*arguments).stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in shown


@pytest.mark.kafka
def test_rotation_ends_older_keys_and_revocation_is_for_one_or_all(cli, secret):
    with_secret = ["--master-secret-file", str(secret)]
    cli.run("point", "register", "ci", *RIGHTS, *with_secret)
    cli.run("point", "rotate", "ci", *with_secret)
    keys = cli.json("point", "show", "ci")["keys"]
    assert [each["key_id"] for each in keys] == ["k1", "k2"]
    assert keys[0]["not_after_ms"] is not None
    assert keys[1]["not_after_ms"] is None
    cli.run("point", "revoke", "ci", "--key-id", "k1")
    assert [each["revoked"] for each in cli.json("point", "show", "ci")["keys"]] == [True, False]
    cli.run("point", "revoke", "ci")
    assert [each["revoked"] for each in cli.json("point", "show", "ci")["keys"]] == [True, True]
    assert "no key k9" in cli.run("point", "revoke", "ci", "--key-id", "k9", code=1).stderr
    assert [each["point"] for each in cli.json("point", "list")] == ["ci"]


@pytest.mark.kafka
def test_a_right_that_is_none_is_refused_and_named(cli, secret):
    arguments = ["point", "register", "ci", *RIGHTS, "--master-secret-file", str(secret), "--fallback", "never"]
    result = cli.run(*arguments, code=2)
    assert "fallbacks" in result.stderr
    assert cli.records("global") == []


@pytest.mark.kafka
def test_the_master_secrets_file_comes_from_the_environment_too_and_is_asked_for_in_one_line(cli, secret, monkeypatch):
    missing = cli.run("point", "register", "ci", *RIGHTS, code=2)
    assert "STAYHAND_MASTER_SECRET_FILE" in missing.stderr
    monkeypatch.setenv("STAYHAND_MASTER_SECRET_FILE", str(secret))
    assert len(cli.json("point", "register", "ci", *RIGHTS)["key"]) == 64
    secret.chmod(0o644)
    assert "chmod 600" in cli.run("point", "rotate", "ci", code=2).stderr


@pytest.mark.kafka
def test_settings_come_from_the_file_that_scorers_read(cli, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(f"bootstrap: {cli.bootstrap}\nprefix: {cli.prefix}\nkafka: {{client.id: ada}}\n")
    result = CliRunner().invoke(main, ["freeze", "--everything", "--config", str(file)])
    assert result.exit_code == 0, result.stderr
    assert len(cli.records("global")) == 1
    file.write_text("no_such_setting: 1\n")
    result = CliRunner().invoke(main, ["freeze", "--everything", "--config", str(file)])
    assert result.exit_code == 2
    assert "no_such_setting" in result.stderr


def pack(tmp_path, name):
    file = tmp_path / f"{name}.yaml"
    file.write_text(PACK.format(name=name))
    return str(file)


def test_a_broken_pack_is_named_by_file_and_line(tmp_path):
    file = tmp_path / "pack.yaml"
    file.write_text("name: x\nversion: '1'\nrules:\n  - nonsense: 1\n")
    result = CliRunner().invoke(main, ["policy", "check", str(file)])
    assert result.exit_code == 1
    assert f"{file}:4:" in result.stderr


@pytest.mark.kafka
def test_packs_are_published_activated_shadowed_and_rolled_back(cli, tmp_path):
    first = cli.json("policy", "check", pack(tmp_path, "first"))["hash"]
    second = cli.json("policy", "check", pack(tmp_path, "second"))["hash"]
    cli.run("policy", "publish", pack(tmp_path, "first"), "--activate", "--no-wait")
    cli.run("policy", "publish", pack(tmp_path, "second"), "--shadow", "--no-wait")
    assert roles(cli) == {first: "active", second: "shadow"}
    cli.run("policy", "activate", second[:8], "--no-wait")
    assert roles(cli) == {first: "previous", second: "active"}
    cli.run("policy", "rollback", "--no-wait")
    assert roles(cli) == {first: "active", second: "previous"}
    cli.run("policy", "shadow", second, "--no-wait")
    cli.run("policy", "shadow", "--none", "--no-wait")
    last = ActivePolicy.model_validate_json(cli.records("global")[-1].value())
    assert (last.active, last.shadow, last.by) == (first, None, "ada")


@pytest.mark.kafka
def test_a_pack_that_returned_to_shadow_is_shown_and_is_no_pack_to_go_back_to(cli, tmp_path):
    names = {name: cli.json("policy", "check", pack(tmp_path, name))["hash"] for name in ("first", "second", "third")}
    with scoring(cli.bootstrap, cli.prefix) as double:
        cli.run("policy", "publish", pack(tmp_path, "first"), "--activate")
        cli.run("policy", "publish", pack(tmp_path, "second"), "--activate", "--cap-percent", "7", "--window", "90")
        policy = ActivePolicy.model_validate_json(cli.records("global")[-1].value())
        assert (policy.cap_percent, policy.window, policy.previous) == (7, 90, names["first"])
        counts = {"decided": 9, "blocks": 8, "blocks_before": 1}
        for partition, state in enumerate(("returned", "trial")):
            guard = {"activation": policy.activation, "state": state, **counts}
            double.write(partition, audit_body("decision", guard=guard))
            double.write(partition, audit_body("decision", guard=guard | {"activation": "ab", "state": "kept"}))
        page = cli.run("policy", "list").stdout
        assert "in partition 0: there the pack before decides" in page
        assert "on trial in partition 1: 9 decided, 8 blocked, 1 by the pack before" in page
        cli.run("policy", "publish", pack(tmp_path, "third"), "--activate")
        after = ActivePolicy.model_validate_json(cli.records("global")[-1].value())
        assert (after.active, after.previous) == (names["third"], names["first"])
        assert after.activation != policy.activation
        assert (after.cap_percent, after.window) == (5, 500)
        cli.run("policy", "rollback")
        back = ActivePolicy.model_validate_json(cli.records("global")[-1].value())
        assert (back.active, back.previous, back.cap_percent) == (names["first"], names["third"], 100)


def roles(cli):
    return {each["hash"]: each["role"] for each in cli.json("policy", "list")}


@pytest.mark.kafka
def test_without_an_active_pack_there_is_nothing_to_shadow_or_roll_back(cli, tmp_path):
    assert "activate" in cli.run("policy", "publish", pack(tmp_path, "a"), "--shadow", code=1).stderr
    assert "roll back" in cli.run("policy", "rollback", code=1).stderr


def decided(decision_id, *, verdict="block", term=1):
    policy = {"name": "default", "version": "1", "hash": "ab" * 32}
    reasons = [{"code": "unusual", "message": "Unusual.", "references": ["NHI5:2025"]}]
    return audit_body(
        "decision",
        term=term,
        identity=IDENTITY,
        ask={"point": "ci", "key_id": "k1", "late": False},
        action={"action": {"name": "deploy.run"}, "resource": {"type": "env", "id": "prod"}},
        features={"gap_ms": 3},
        scores={"terms": [["action", 5_120]], "event": 5_120, "total": 6_144, "epoch": None},
        facts={"registered": True},
        decision={"decision_id": decision_id, "verdict": verdict, "policy": policy, "reasons": reasons},
    )


@pytest.mark.kafka
def test_a_decision_is_explained_by_its_effective_record_alone(cli):
    wanted = "ab" * 16
    with scoring(cli.bootstrap, cli.prefix) as double:
        double.write(1, decided(wanted, term=3))
        double.write(1, decided(wanted, term=2, verdict="permit"))
        double.write(0, decided("cd" * 16))
        double.write(1, audit_body("outcome", term=3, outcome={"decision_id": wanted, "result": "cancelled"}))
        told = cli.json("explain", wanted)
        page = cli.run("explain", wanted, "--since", "1h").stdout
    assert (told["decision"]["verdict"], told["partition"], told["outcomes"][0]["result"]) == ("block", 1, "cancelled")
    for shown in ("deploy.run", "env:prod", "+5.00", "NHI5:2025", "not ready", "cancelled", "term 3"):
        assert shown in page
    assert "not in the audit" in cli.run("explain", "ef" * 16, code=1).stderr


@pytest.mark.kafka
def test_an_identity_is_shown_from_its_last_state_and_its_history(cli):
    partition = partition_for(IDENTITY.encode(), PARTITIONS)
    source = record.Source(b"a" * 16, b"c" * 16, partition, 7, 8, 1_700_000_000_000, 1)
    with scoring(cli.bootstrap, cli.prefix) as double:
        for facts in (Facts(), Facts(frozen=Frozen(by="ada", at_ms=5))):
            value = record.pack("facts", source, encode_facts(facts))
            key = record.state_key("facts", IDENTITY)
            double.producer.produce(topic(cli.prefix, "state"), value, key, partition=partition)
        value = record.pack("baseline", source, baseline.encode(baseline.EMPTY))
        key = record.state_key("baseline", IDENTITY)
        double.producer.produce(topic(cli.prefix, "state"), value, key, partition=partition)
        for number in range(3):
            double.write(partition, decided(f"{number:032x}"))
    told = cli.json("identity", "show", IDENTITY, "--decisions", "2")
    assert told["facts"]["frozen"]["by"] == "ada"
    assert told["baseline"]["events"] == 0
    assert told["source"]["actions_offset"] == 7
    assert [each["decision_id"] for each in told["decisions"]] == [f"{number:032x}" for number in (1, 2)]
    assert "not known" in cli.run("identity", "show", "token:nobody", code=1).stderr
    assert "frozen" in cli.run("identity", "show", IDENTITY).stdout


@pytest.mark.kafka
def test_a_master_secret_is_private_long_enough_and_never_overwritten(cli, secret):
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_bytes()
    assert len(before.strip()) >= 32
    assert "exists" in cli.run("secret", "new", str(secret), code=1).stderr
    assert secret.read_bytes() == before
