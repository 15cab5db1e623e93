"""Secrets are found locally, and no text of one is published."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stayhand import ConfigurationError, InvalidAction
from stayhand._prepare import prepare
from stayhand.secrets import KingfisherScanner, Scanner, matches, scanner_for, suspicious
from stayhand.testing import KEY, FakeGuard
from tests.sdk.conftest import ACTION, action

# Made up, and put together here so that no scanner of repositories takes them for real ones.
SAMPLES = {
    "aws-access-key-id": "AKIA" + "Q2EXAMPLE7MPLE2S",
    "github-token": "ghp_" + "a1B2" * 9,
    "slack-token": "xoxb-" + "123456789012-abcdefABCDEF",
    "google-api-key": "AIza" + "SyA-1234567890_abcdefghijklmnopqrst",
    "stripe-key": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "private-key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq\n-----END RSA " + "PRIVATE KEY-----",
    "json-web-token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "password-in-url": "postgres://app:" + "s3cretpw@db.internal/orders",
}
SECRET_TEXT = SAMPLES | {"password-in-url": "s3cretpw"}
SCANNER = Scanner(KEY)


@pytest.mark.parametrize("rule", SAMPLES)
def test_each_rule_finds_its_own_secret_in_the_middle_of_a_text(rule: str) -> None:
    text = f"the value is {SAMPLES[rule]}, keep it"
    assert rule in {found.name for found, _ in matches(text)}
    assert suspicious(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "an ordinary sentence about keys, tokens and passwords",
        "https://example.com/path?user=a:b@c",
        "https://user:${PASSWORD}@example.com/",
        "https://user:****@example.com/",
        "AKIA",
        "AKIA" + "X" * 16,
        "ghp_" + "x" * 36,
        "xoxb-xxxxxxxxxx-xxxxxxxxxx",
        "ghp_short",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "arn:aws:iam::123456789012:role/deployer",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert list(matches(text)) == []


@settings(deadline=None)
@given(st.text(max_size=200))
def test_a_text_that_is_not_suspicious_matches_no_rule(text: str) -> None:
    if not suspicious(text):
        assert list(matches(text)) == []


@pytest.mark.parametrize("rule", SAMPLES)
@pytest.mark.parametrize("shape", ["text", "value", "deep", "key"])
def test_a_secret_in_the_arguments_leaves_as_a_rule_and_a_fingerprint_alone(rule: str, shape: str) -> None:
    secret = SAMPLES[rule]
    arguments: Any = {
        "text": secret,
        "value": {"body": secret},
        "deep": {"a": [{"b": ["x", secret]}]},
        "key": {"a": {secret: 1}},
    }[shape]
    prepared = prepare(ACTION, arguments, SCANNER)
    found = {match.rule: match for match in prepared.action.context.secrets}
    assert rule in found
    assert found[rule].fingerprint == SCANNER.fingerprint(next(s for r, s in matches(secret) if r.name == rule))
    published = prepared.value.decode()
    assert SECRET_TEXT[rule] not in json.dumps(json.loads(published), ensure_ascii=False)
    assert SECRET_TEXT[rule].split("\n")[0] not in published


def test_where_a_secret_was_found_is_told_by_its_path() -> None:
    [match] = SCANNER.scan({"headers": [{"auth": SAMPLES["github-token"]}]})
    assert match.where == "arguments.headers.0.auth"


def test_a_fingerprint_depends_on_the_key_and_tells_equal_secrets() -> None:
    one, same, other = Scanner(KEY), Scanner(KEY), Scanner(bytes(32))
    assert one.fingerprint("a") == same.fingerprint("a")
    assert len({one.fingerprint("a"), one.fingerprint("b"), other.fingerprint("a")}) == 3


def test_two_private_keys_have_two_fingerprints() -> None:
    another = SAMPLES["private-key"].replace("MIIE", "MIIF")
    assert len({match.fingerprint for match in SCANNER.scan([SAMPLES["private-key"], another])}) == 2


@pytest.mark.parametrize("rule", SAMPLES)
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("resource.id", lambda secret: {"resource": {"type": "url", "id": secret}}),
        ("context.note", lambda secret: {"context": {"note": secret}}),
        ("context.nested.0.deep", lambda secret: {"context": {"nested": [{"deep": secret}]}}),
        ("action.properties.query", lambda secret: {"action": {"name": "a", "properties": {"query": secret}}}),
        ("context", lambda secret: {"context": {secret: "as a key"}}),
    ],
)
def test_an_action_that_holds_a_secret_is_refused_by_field_and_nothing_is_published(
    rule: str, field: str, change: Any, guard: FakeGuard
) -> None:
    secret = SAMPLES[rule].replace("\n", "") if field == "resource.id" else SAMPLES[rule]
    with pytest.raises(InvalidAction) as raised:
        guard.check(ACTION | change(secret))
    assert (raised.value.field, rule in str(raised.value)) == (field, True)
    assert SECRET_TEXT[rule] not in str(raised.value)
    assert guard.gate.asks == []


def test_an_access_key_id_may_stand_where_credentials_are_named() -> None:
    named = action(credential_id=SAMPLES["aws-access-key-id"])
    assert prepare(named, None, SCANNER).action.context.credential_id == SAMPLES["aws-access-key-id"]
    with pytest.raises(InvalidAction, match=r"context\.credential_id"):
        prepare(action(credential_id=SAMPLES["stripe-key"]), None, SCANNER)


class Finding:
    """What the library gives, as far as it is used."""

    def __init__(self, rule_id: str, secret: str, *, visible: bool) -> None:
        self.rule_id, self.secret, self.visible = rule_id, secret, visible


def test_the_rules_of_the_library_come_on_top_and_its_helpers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Library:
        def __init__(self, rules: Any, **settings: Any) -> None:
            given.update(settings)

        def scan(self, data: bytes) -> list[Finding]:
            given["data"] = data
            return [Finding("kf.some-token", "s3cr3t", visible=True), Finding("kf.helper", "part", visible=False)]

    library = SimpleNamespace(Scanner=Library, Rules=lambda cache_dir: given.update(cache_dir=cache_dir))
    monkeypatch.setitem(sys.modules, "kingfisher_sdk", library)
    scanner = KingfisherScanner(KEY, cache_dir="/nowhere")
    found = {match.rule: match.fingerprint for match in scanner.scan({"a": f"\ud800 {SAMPLES['stripe-key']}"})}
    assert set(found) == {"stripe-key", "some-token"}
    assert found["some-token"] == SCANNER.fingerprint("s3cr3t")
    assert (given["base64"], given["cache_dir"]) == (False, "/nowhere")


def test_a_library_that_is_not_installed_is_told_with_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kingfisher_sdk", None)
    with pytest.raises(ConfigurationError, match=r"stayhand\[secrets\]"):
        scanner_for("kingfisher", KEY)
    assert type(scanner_for("built-in", KEY)) is Scanner


def test_the_library_finds_what_the_built_in_rules_do_not(tmp_path: Path) -> None:
    pytest.importorskip("kingfisher_sdk", reason="the extra `secrets` is not installed")
    scanner = KingfisherScanner(KEY, cache_dir=str(tmp_path))
    token = "glpat-" + "fZ3qWx7RkT9vLm2NpB8s"
    assert [match.rule for match in scanner.scan({"note": f"use {token} for now"})]
    assert not SCANNER.scan({"note": f"use {token} for now"})
    assert not scanner.scan({"note": "an ordinary sentence about keys, tokens and passwords"})
