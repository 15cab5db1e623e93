"""GitHub audit log entries as pending actions (audit log of an organisation or enterprise, as streamed or exported)."""

from __future__ import annotations

from typing import Any

from streams.replay.event import Event, Unmappable, client_family, digest, event, fit, fit_id, secrets_in, text, time_ms

KIND = "github"
_BOT = "[bot]"


def matches(record: dict[str, Any]) -> bool:
    """Whether this is an entry of GitHub's audit log."""
    return isinstance(record.get("action"), str) and ("@timestamp" in record or "created_at" in record)


def read(record: dict[str, Any]) -> Event:
    """The action that the entry tells of.

    Raises:
        Unmappable: naming the field that is missing or wrong.
    """
    name = text(record, "action")
    if not name:
        raise Unmappable("action: expected text")
    kind, subject_id = _subject(record)
    action = {
        "subject": {"type": kind, "id": fit_id(kind, subject_id)},
        "action": {"name": fit(f"github:{name}", 128)},
        "resource": _resource(record),
        "context": _context(record),
    }
    at = record.get("@timestamp", record.get("created_at"))
    return event(KIND, time_ms(at, "@timestamp"), text(record, "_document_id"), action)


def _subject(record: dict[str, Any]) -> tuple[str, str]:
    actor = text(record, "actor")
    if actor.endswith(_BOT) and actor != _BOT:
        return "github-app", actor.removesuffix(_BOT)
    if actor:
        return "github-user", actor
    key = text(record, "deploy_key_fingerprint") or text(record, "hashed_token")
    return ("github-key", key) if key else ("github-user", "unknown")


def _resource(record: dict[str, Any]) -> dict[str, str]:
    for name in ("repo", "repository", "org", "business"):
        if value := text(record, name):
            kind = "repo" if name == "repository" else name
            return {"type": f"github-{kind}", "id": fit(value, 1_024)}
    return {"type": "service", "id": "github"}


def _context(record: dict[str, Any]) -> dict[str, Any]:
    arguments = record.get("data") or record.get("config")
    return {
        "source": fit(text(record, "actor_ip")),
        "client": client_family(text(record, "user_agent")),
        "credential_id": fit(text(record, "token_id") or text(record, "hashed_token"), identifier=True),
        "argument_digest": digest(arguments) if arguments else "",
        "secrets": secrets_in(arguments),
    }
