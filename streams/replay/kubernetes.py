"""Kubernetes audit events as pending actions (audit.k8s.io/v1 Event).

``responseStatus``, ``responseObject`` and the later stages of a request are known only afterwards and are never read.
"""

from __future__ import annotations

from typing import Any

from streams.replay.event import Event, Unmappable, client_family, digest, event, fit, fit_id, secrets_in, text, time_ms

KIND = "kubernetes"
_ACCOUNT = "system:serviceaccount:"
_NODE = "system:node:"


def matches(record: dict[str, Any]) -> bool:
    """Whether this is an audit event of a Kubernetes API server."""
    return "auditID" in record and "verb" in record


def read(record: dict[str, Any]) -> Event:
    """The request that the record tells of.

    Raises:
        Unmappable: naming the field that is missing or wrong.
    """
    verb = text(record, "verb")
    if not verb:
        raise Unmappable("verb: expected text")
    kind, subject_id = subject(text(record, "user", "username"))
    target = record.get("objectRef")
    action = {
        "subject": {"type": kind, "id": fit_id(kind, subject_id)},
        "action": {"name": fit(f"k8s:{verb}.{_what(target)}", 128)},
        "resource": _resource(record, target),
        "context": _context(record, target),
    }
    at = next((record[name] for name in ("requestReceivedTimestamp", "stageTimestamp") if record.get(name)), None)
    at_ms = time_ms(at, "requestReceivedTimestamp")
    return event(KIND, at_ms, text(record, "auditID"), action, stage=text(record, "stage"))


def subject(username: str) -> tuple[str, str]:
    """Who asked: a service account as ``namespace/name``, a node, or a user."""
    if not username:
        raise Unmappable("user.username: expected text")
    if username.startswith(_ACCOUNT):
        return "k8s-serviceaccount", username.removeprefix(_ACCOUNT).replace(":", "/", 1) or username
    if username.startswith(_NODE):
        return "k8s-node", username.removeprefix(_NODE) or username
    return "k8s-user", username


def _what(target: Any) -> str:
    resource, part = text(target, "resource") or "nonresource", text(target, "subresource")
    return f"{resource}/{part}" if part else resource


def _resource(record: dict[str, Any], target: Any) -> dict[str, str]:
    if not text(target, "resource"):
        path = text(record, "requestURI").partition("?")[0]
        return {"type": "k8s-path", "id": fit(path or "/", 1_024)}
    place = "/".join(filter(None, (text(target, "namespace"), text(target, "name")))) or "cluster"
    return {"type": fit(f"k8s-{text(target, 'resource')}", 128), "id": fit(place, 1_024)}


def _context(record: dict[str, Any], target: Any) -> dict[str, Any]:
    sources = record.get("sourceIPs")
    body = record.get("requestObject")
    # A Secret is where secrets belong; anywhere else they are a leak.
    scanned = None if text(target, "resource") == "secrets" else body
    return {
        "source": fit(sources[0]) if isinstance(sources, list) and sources and isinstance(sources[0], str) else "",
        "client": client_family(text(record, "userAgent")),
        "session": fit(_extra(record, "authentication.kubernetes.io/pod-name")),
        "credential_id": fit(_extra(record, "authentication.kubernetes.io/credential-id"), identifier=True),
        "argument_digest": digest(body) if body else "",
        "secrets": secrets_in(scanned),
        "impersonates": fit(text(record, "impersonatedUser", "username")),
    }


def _extra(record: dict[str, Any], name: str) -> str:
    user = record.get("user")
    extra = user.get("extra") if isinstance(user, dict) else None
    values = extra.get(name) if isinstance(extra, dict) else None
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else ""
