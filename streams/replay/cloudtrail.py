"""AWS CloudTrail records as pending actions (CloudTrail record contents, event version 1.11).

``errorCode``, ``errorMessage``, ``responseElements``, ``additionalEventData`` and ``resources`` are known only
afterwards and are never read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams.replay.event import (
    Event,
    NotAnAction,
    Unmappable,
    client_family,
    digest,
    event,
    fit,
    fit_id,
    is_service,
    secrets_in,
    text,
    time_ms,
)

KIND = "cloudtrail"
_Subject = tuple[str, str]

# The parameter that names what a call is about, most specific first, and the type of resource that it names.
_RESOURCES: tuple[tuple[str, str], ...] = (
    ("bucketName", "s3-bucket"),
    ("roleName", "iam-role"),
    ("userName", "iam-user"),
    ("groupName", "group"),
    ("instanceProfileName", "iam-instance-profile"),
    ("policyArn", "iam-policy"),
    ("policyName", "policy"),
    ("roleArn", "iam-role"),
    ("instanceId", "ec2-instance"),
    ("functionName", "lambda-function"),
    ("secretId", "secret"),
    ("keyId", "kms-key"),
    ("dBInstanceIdentifier", "rds-instance"),
    ("dBSnapshotIdentifier", "rds-snapshot"),
    ("tableName", "table"),
    ("queueUrl", "sqs-queue"),
    ("queueName", "sqs-queue"),
    ("topicArn", "sns-topic"),
    ("clusterName", "cluster"),
    ("cluster", "cluster"),
    ("repositoryName", "repository"),
    ("trailName", "trail"),
    ("stackName", "stack"),
    ("logGroupName", "log-group"),
    ("streamName", "stream"),
    ("stateMachineArn", "state-machine"),
    ("detectorId", "detector"),
    ("hostedZoneId", "hosted-zone"),
    ("snapshotId", "snapshot"),
    ("volumeId", "volume"),
    ("imageId", "image"),
    ("groupId", "security-group"),
    ("vpcId", "vpc"),
    ("subnetId", "subnet"),
    ("resourceArn", "arn"),
    ("arn", "arn"),
    ("name", "name"),
)
_SETS = (("instancesSet", "instanceId", "ec2-instance"), ("volumeSet", "volumeId", "volume"))


def matches(record: dict[str, Any]) -> bool:
    """Whether this is a CloudTrail record, or one of its digests."""
    return ("eventSource" in record and "eventName" in record) or _no_action(record)


def read(record: dict[str, Any]) -> Event:
    """The action that the record tells of.

    Raises:
        NotAnAction: an insight or a digest.
        Unmappable: naming the field that is missing or wrong.
    """
    if _no_action(record):
        raise NotAnAction("a digest or an insight, no action")
    service = text(record, "eventSource").split(".", 1)[0]
    name = text(record, "eventName")
    if not service or not name:
        raise Unmappable("eventSource, eventName: expected text")
    kind, subject_id = subject(record)
    parameters = record.get("requestParameters")
    action = {
        "subject": {"type": kind, "id": fit_id(kind, subject_id)},
        "action": {"name": fit(f"{service}:{name}", 128)},
        "resource": resource(service, parameters),
        "context": _context(record, parameters),
    }
    return event(KIND, time_ms(record.get("eventTime"), "eventTime"), text(record, "eventID"), action)


def subject(record: dict[str, Any]) -> _Subject:
    """Who acted: its type and id; an assumed role is the role, whatever its session is called."""
    who = record.get("userIdentity")
    if not isinstance(who, dict):
        return "aws-service", text(record, "eventSource") or "unknown"
    kind = text(who, "type")
    known = _SUBJECTS.get(kind)
    found = known(who) if known else None
    if found and found[1]:
        return found
    fallback = next((value for key in ("arn", "principalId", "userName", "invokedBy") if (value := text(who, key))), "")
    return "aws-principal", fallback or f"{text(record, 'recipientAccountId')}/{kind or 'unknown'}"


def resource(service: str, parameters: Any) -> dict[str, str]:
    """What the call is about, from the obvious names among its parameters; else the service."""
    if isinstance(parameters, dict):
        for name, kind in _RESOURCES:
            if value := text(parameters, name):
                key = text(parameters, "key") if name == "bucketName" else ""
                return _named("s3-object", f"{value}/{key}") if key else _named(kind, value)
        for name, inner, kind in _SETS:
            if value := _first_item(parameters.get(name), inner):
                return _named(kind, value)
    return _named("service", service)


def _no_action(record: dict[str, Any]) -> bool:
    return "digestS3Object" in record or text(record, "eventCategory") == "Insight"


def _named(kind: str, value: str) -> dict[str, str]:
    return {"type": kind, "id": fit(value, 1_024)}


def _first_item(holder: Any, name: str) -> str:
    items = holder.get("items") if isinstance(holder, dict) else None
    return text(items[0], name) if isinstance(items, list) and items else ""


def _context(record: dict[str, Any], parameters: Any) -> dict[str, Any]:
    who = record.get("userIdentity")
    source = text(record, "sourceIPAddress")
    forwarded = is_service(source)
    created = text(who, "sessionContext", "attributes", "creationDate")
    return {
        "source": "" if forwarded else fit(source),
        "client": "" if forwarded else client_family(text(record, "userAgent")),
        "session": fit(_session(who)),
        "credential_id": fit(text(who, "accessKeyId"), identifier=True),
        "credential_issued_at_ms": time_ms(created, "creationDate") if created else None,
        "argument_digest": digest(parameters) if parameters else "",
        "secrets": secrets_in(parameters),
        "region": fit(text(record, "awsRegion")),
        "account": fit(text(record, "recipientAccountId")),
    }


def _session(who: Any) -> str:
    if text(who, "type") != "AssumedRole":
        return ""
    _, slash, session = text(who, "arn").rpartition("/")
    return session if slash else text(who, "principalId").partition(":")[2]


def _user(who: dict[str, Any]) -> _Subject:
    return "iam-user", text(who, "arn") or "/".join(filter(None, (text(who, "accountId"), text(who, "userName"))))


def _role(who: dict[str, Any]) -> _Subject:
    return "iam-role", text(who, "sessionContext", "sessionIssuer", "arn") or _role_of_session(text(who, "arn"))


def _role_of_session(arn: str) -> str:
    """``arn:aws:sts::1:assumed-role/NAME/SESSION`` as its role; a role's path is not in a session's ARN."""
    parts = arn.split(":", 5)
    names = parts[-1].split("/")
    if len(parts) != 6 or len(names) < 3 or names[0] != "assumed-role":
        return arn
    return f"{parts[0]}:{parts[1]}:iam::{parts[4]}:role/{names[1]}"


def _web_identity(who: dict[str, Any]) -> _Subject:
    provider = text(who, "identityProvider")
    name = text(who, "userName") or text(who, "principalId")
    return "web-identity", f"{provider}/{name}" if provider and name else name


_SUBJECTS: dict[str, Callable[[dict[str, Any]], _Subject]] = {
    "IAMUser": _user,
    "AssumedRole": _role,
    "Role": lambda who: ("iam-role", text(who, "arn")),
    "Root": lambda who: ("aws-root", text(who, "accountId") or text(who, "arn")),
    "AWSService": lambda who: ("aws-service", text(who, "invokedBy").lower()),
    "AWSAccount": lambda who: ("aws-account", text(who, "accountId")),
    "FederatedUser": lambda who: ("federated-user", text(who, "arn")),
    "SAMLUser": _web_identity,
    "WebIdentityUser": _web_identity,
    "IdentityCenterUser": lambda who: ("identity-center", text(who, "onBehalfOf", "userId")),
}
