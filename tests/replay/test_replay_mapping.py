"""Mapping: each log's record becomes one pending action, from nothing that is known only afterwards."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stayhand.wire import MAX_ACTION_BYTES, pending_action
from streams.replay import cloudtrail, kubernetes
from streams.replay.event import NotAnAction, Unmappable, client_family, fit
from streams.replay.mapping import map_record
from tests.replay.samples import ACCOUNT, AUTHZEN, GITHUB, K8S, TRAIL, but


def trail_of(who):
    """A CloudTrail record by somebody else."""
    return but(TRAIL, userIdentity=who)


def test_a_cloudtrail_record_becomes_its_pending_action():
    event = map_record(TRAIL)
    assert event.kind == "cloudtrail"
    assert event.event_id == TRAIL["eventID"]
    assert event.at_ms == 1_709_285_415_000
    assert event.identity == f"iam-role:arn:aws:iam::{ACCOUNT}:role/ci/deployer"
    assert event.action["action"] == {"name": "s3:PutObject"}
    assert event.action["resource"] == {"type": "s3-object", "id": "releases/app/1.2.3.zip"}
    context = event.action["context"]
    assert context.pop("argument_digest") == cloudtrail.digest(TRAIL["requestParameters"])
    assert context == {
        "source": "203.0.113.9",
        "client": "aws-cli",
        "session": "build-77",
        "credential_id": "ASIAQQQQQQQQQQQQQQQQ",
        "credential_issued_at_ms": 1_709_283_600_000,
        "region": "eu-west-1",
        "account": ACCOUNT,
    }


@pytest.mark.parametrize(
    ("who", "identity"),
    [
        ({"type": "IAMUser", "arn": f"arn:aws:iam::{ACCOUNT}:user/eve"}, f"iam-user:arn:aws:iam::{ACCOUNT}:user/eve"),
        ({"type": "IAMUser", "accountId": ACCOUNT, "userName": "eve"}, f"iam-user:{ACCOUNT}/eve"),
        ({"type": "Root", "accountId": ACCOUNT, "arn": f"arn:aws:iam::{ACCOUNT}:root"}, f"aws-root:{ACCOUNT}"),
        ({"type": "AWSService", "invokedBy": "Logs.amazonaws.com"}, "aws-service:logs.amazonaws.com"),
        ({"type": "AWSAccount", "accountId": "999"}, "aws-account:999"),
        (
            {"type": "AssumedRole", "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/one/two"},
            f"iam-role:arn:aws:iam::{ACCOUNT}:role/deployer",
        ),
        (
            {"type": "FederatedUser", "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/x"},
            f"federated-user:arn:aws:sts::{ACCOUNT}:federated-user/x",
        ),
        ({"type": "WebIdentityUser", "identityProvider": "idp", "userName": "u"}, "web-identity:idp/u"),
        ({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "u-1"}}, "identity-center:u-1"),
        ({"type": "Novel", "principalId": "P1"}, "aws-principal:P1"),
        ({"type": "Novel"}, f"aws-principal:{ACCOUNT}/Novel"),
        (None, "aws-service:s3.amazonaws.com"),
    ],
)
def test_every_kind_of_aws_principal_has_its_identity(who, identity):
    assert map_record(trail_of(who)).identity == identity


def test_two_sessions_of_a_role_are_one_identity_with_two_sessions():
    other = copy.deepcopy(TRAIL)
    other["userIdentity"]["arn"] = f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/build-78"
    one, two = map_record(TRAIL), map_record(other)
    assert one.identity == two.identity
    assert (one.action["context"]["session"], two.action["context"]["session"]) == ("build-77", "build-78")


@pytest.mark.parametrize(
    "afterwards",
    [
        {"errorCode": "AccessDenied", "errorMessage": "no"},
        {"responseElements": {"accessKey": {"accessKeyId": "x"}}},
        {"additionalEventData": {"bytesTransferredOut": 1}},
        {"resources": [{"ARN": "arn:aws:s3:::other"}]},
    ],
)
def test_what_cloudtrail_knows_only_afterwards_changes_nothing(afterwards):
    assert map_record(but(TRAIL, **afterwards)) == map_record(TRAIL)


@pytest.mark.parametrize(
    "afterwards",
    [{"responseStatus": {"code": 403}}, {"responseObject": {"a": 1}}, {"annotations": {"decision": "forbid"}}],
)
def test_what_kubernetes_knows_only_afterwards_changes_nothing(afterwards):
    assert map_record(but(K8S, **afterwards)) == map_record(K8S)


@pytest.mark.parametrize("source", ["AWS Internal", "cloudtrail.amazonaws.com"])
def test_a_forwarded_call_has_neither_source_nor_client(source):
    context = map_record(but(TRAIL, sourceIPAddress=source)).action["context"]
    assert "source" not in context
    assert "client" not in context


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"bucketName": "b"}, ("s3-bucket", "b")),
        ({"userName": "eve", "policyName": "p"}, ("iam-user", "eve")),
        ({"instancesSet": {"items": [{"instanceId": "i-1"}]}}, ("ec2-instance", "i-1")),
        ({"resourceArn": "arn:x"}, ("arn", "arn:x")),
        ({"filterSet": {}}, ("service", "s3")),
        (None, ("service", "s3")),
        ("HIDDEN_DUE_TO_SECURITY_REASONS", ("service", "s3")),
    ],
)
def test_the_resource_is_what_the_parameters_name_else_the_service(parameters, expected):
    resource = map_record(but(TRAIL, requestParameters=parameters)).action["resource"]
    assert (resource["type"], resource["id"]) == expected


def test_a_kubernetes_event_becomes_its_pending_action():
    event = map_record(K8S)
    assert (event.kind, event.event_id, event.stage) == ("kubernetes", K8S["auditID"], "RequestReceived")
    assert event.at_ms == 1_709_285_415_123
    assert event.identity == "k8s-serviceaccount:pay/runner"
    assert event.action["action"] == {"name": "k8s:create.pods/exec"}
    assert event.action["resource"] == {"type": "k8s-pods", "id": "pay/api-0"}
    assert event.action["context"] == {"source": "10.1.2.3", "client": "kubectl", "session": "runner-0"}


def test_a_kubernetes_request_without_a_resource_is_named_by_its_path():
    event = map_record(but(K8S, objectRef=None, verb="get", requestURI="/metrics?x=1"))
    assert event.action["action"] == {"name": "k8s:get.nonresource"}
    assert event.action["resource"] == {"type": "k8s-path", "id": "/metrics"}


@pytest.mark.parametrize(
    ("username", "expected"),
    [
        ("system:node:n1", ("k8s-node", "n1")),
        ("eve@example.com", ("k8s-user", "eve@example.com")),
        ("system:anonymous", ("k8s-user", "system:anonymous")),
    ],
)
def test_every_kind_of_kubernetes_user_has_its_identity(username, expected):
    assert kubernetes.subject(username) == expected


def test_a_secret_in_a_kubernetes_body_is_told_by_its_rule_except_where_secrets_belong():
    body = {"data": {"url": "postgres://app:hunter22@db/app"}}
    leaked = map_record(but(K8S, requestObject=body))
    assert [match["rule"] for match in leaked.action["context"]["secrets"]] == ["password-in-url"]
    stored = map_record(but(K8S, requestObject=body, objectRef={"resource": "secrets", "namespace": "pay"}))
    assert "secrets" not in stored.action["context"]
    assert stored.action["context"]["argument_digest"] == leaked.action["context"]["argument_digest"]


def test_a_github_entry_becomes_its_pending_action():
    event = map_record(GITHUB)
    assert (event.kind, event.event_id, event.at_ms) == ("github", "abc123", 1_709_285_415_123)
    assert event.identity == "github-user:octo"
    assert event.action["action"] == {"name": "github:org.add_member"}
    assert event.action["resource"] == {"type": "github-org", "id": "acme"}
    assert event.action["context"] == {"source": "203.0.113.7", "client": "mozilla"}
    assert map_record(but(GITHUB, actor="dependabot[bot]")).identity == "github-app:dependabot"
    assert map_record(but(GITHUB, repo="acme/app")).action["resource"] == {"type": "github-repo", "id": "acme/app"}


def test_a_written_down_request_is_taken_as_it_stands():
    event = map_record(AUTHZEN)
    assert (event.kind, event.event_id, event.identity) == ("authzen", "a-1", "agent:support")
    assert event.action == {part: AUTHZEN[part] for part in ("subject", "action", "resource", "context")}


@pytest.mark.parametrize(
    "value",
    [
        7,
        [],
        {},
        {"hello": "world"},
        but(TRAIL, eventTime="yesterday"),
        but(TRAIL, eventTime=None),
        but(TRAIL, eventTime="2024-03-01T09:30:15"),
        but(TRAIL, eventName={"a": 1}),
        but(K8S, user={}),
        but(K8S, requestReceivedTimestamp=None, stageTimestamp=None),
        but(GITHUB, **{"@timestamp": -5}),
        but(GITHUB, **{"@timestamp": 1e300}),
        but(AUTHZEN, subject={"type": "no:colon", "id": "x"}),
        but(AUTHZEN, context={"note": "x" * 9_000}),
        but(AUTHZEN, context={"note": "ghp_" + "a1B2" * 9}),
    ],
)
def test_what_is_no_event_is_refused_with_its_field(value):
    with pytest.raises(Unmappable):
        map_record(value)


def test_digests_and_insights_are_nobodys_action():
    for record in ({"digestS3Object": "x", "digestStartTime": "t"}, but(TRAIL, eventCategory="Insight")):
        with pytest.raises(NotAnAction):
            map_record(record)


def test_a_secret_in_a_name_is_replaced_by_its_rule_and_an_identifier_stands_where_it_belongs():
    key = "AKIA" + "Q" * 16
    action = map_record(but(TRAIL, requestParameters={"userName": key})).action
    assert action["resource"]["id"] == "[aws-access-key-id]"
    assert key not in json.dumps(action["resource"])


@settings(deadline=None)
@given(st.text(max_size=600), st.integers(40, 300), st.integers(60, 400))
def test_fitted_text_is_clean_within_its_limits_and_unchanged_where_it_was(raw, limit, limit_bytes):
    fitted = fit(raw, limit, limit_bytes)
    assert len(fitted) <= limit
    assert len(fitted.encode()) <= limit_bytes
    assert fitted == fitted.strip()
    assert bool(fitted) == bool(raw)
    assert fit(fitted, limit, limit_bytes) == fitted


def test_two_long_names_that_begin_alike_stay_two():
    one, two = fit("x" * 400 + "1"), fit("x" * 400 + "2")
    assert one != two
    assert len(one) == len(two) == 256


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        ("aws-cli/2.2.16 Python/3.8", "aws-cli"),
        ("[S3Console/0.4, aws-internal/3]", "s3console"),
        ("console.ec2.amazonaws.com", "console.ec2.amazonaws.com"),
        ("Mozilla/5.0 (Macintosh)", "mozilla"),
        ("", ""),
        ("///", ""),
    ],
)
def test_a_client_is_its_first_product(agent, family):
    assert client_family(agent) == family


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from([TRAIL, K8S, GITHUB, AUTHZEN]), st.data())
def test_a_record_with_any_field_replaced_maps_to_an_action_that_the_wire_takes_or_is_refused(record, data):
    changed = copy.deepcopy(record)
    for name in data.draw(st.lists(st.sampled_from(sorted(changed)), max_size=3)):
        changed[name] = data.draw(JUNK)
    try:
        event = map_record(changed)
    except (Unmappable, NotAnAction):
        return
    assert pending_action(event.action).identity == event.identity
    assert len(json.dumps(event.action)) <= MAX_ACTION_BYTES
