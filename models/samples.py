"""Two asks to try a condition on when a pack is loaded: one with everything filled in, one with nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from models.agent import agent_points
from models.event import Scores
from models.scene import Scene
from stayhand.wire import Action, Context, PendingAction, Resource, SecretMatch, Subject

_SIGNALS: dict[str, Any] = {"agent": {"effect": 3, "argument_class": "T"}}
_FULL = PendingAction(
    subject=Subject(type="token", id="ci", properties={"team": "web"}),
    action=Action(name="deploy.token.use", properties={"force": True}),
    resource=Resource(type="environment", id="production", properties={"region": "eu"}),
    context=Context(
        source="192.0.2.1",
        client="ci",
        session="s",
        task="t",
        environment="production",
        idempotency_key="k",
        argument_digest="0" * 64,
        credential_id="c",
        credential_issued_at_ms=1,
        bytes_out=1,
        secrets=(SecretMatch(rule="github-token", fingerprint="0" * 16),),
        **_SIGNALS,
    ),
)
_EMPTY = PendingAction(
    subject=Subject(type="token", id="ci"),
    action=Action(name="deploy"),
    resource=Resource(type="environment", id="test"),
)


def samples() -> tuple[Scene, Scene]:
    """The two asks as a rule would see them; the lists of a pack are all empty there."""
    used = {
        "at_ms": 2_000,
        "registered": True,
        "owner": "o",
        "group": "g",
        "first_seen_ms": 1,
        "grants": 1,
        "holds": 1,
        "called_bad_ms": 1,
    }
    ready = Scores(
        1_024, 1_024, 1_024, 2_048, (("action", 1_024),), mature=True, epoch=1_024, drift=1_024, q=1_024, p=1_024
    )
    bare = Scores(None, 0, 0, 0, (), mature=False)
    lists: dict[str, list[str]] = defaultdict(list)
    told = agent_points(_FULL.context)
    full = Scene("token:ci", "deploy.token.use", _FULL, used, ready, 2, "point", late=False, lists=lists, agent=told)
    empty = Scene("token:ci", "deploy", _EMPTY, {"at_ms": 2_000}, bare, 0, "point", late=False, lists=lists)
    return full, empty
