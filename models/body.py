"""A decision's body: plain JSON without floats, the same bytes for the same ruling, minimal."""

from __future__ import annotations

import hashlib
from typing import Any

from models import reasons
from models.judge import Judged
from models.policy import CompiledPack
from models.scene import Used
from stayhand.wire import Verdict

VERDICTS: tuple[Verdict, ...] = ("permit", "slow", "guide", "block")


def decision_body(decision_id: str, judged: Judged, used: Used, pack: CompiledPack) -> dict[str, Any]:
    """The body as `stayhand.wire.Decision` reads it; an empty field is left out, ``final`` never is."""
    verdict = VERDICTS[judged.severity]
    body: dict[str, Any] = {"decision_id": decision_id, "verdict": verdict, "final": True, "policy": pack.ref_body}
    body["fallback"] = _lease(judged, used)
    if judged.reasons:
        body["reasons"] = list(judged.reasons)
    if "observe" in used and not judged.operator:
        body["verdict"] = "permit"
        body["would_be"] = verdict
        return body
    duties = _obligations(decision_id, judged, used)
    if duties:
        body["obligations"] = duties
    if judged.approval_ms:
        body["final"] = False
    return body


def _lease(judged: Judged, used: Used) -> dict[str, Any]:
    """What the point may do without an answer.

    An operator's stop must not be slept through, so it leases nothing; a permit that spent an approval must not be
    repeated from memory, so it does not lease that.
    """
    point = used.get("point")
    if point is None or judged.operator:
        return {"modes": ["closed"], "expires_at_ms": used["at_ms"]}
    modes = point["fallbacks"]
    if "answer" in used or reasons.GRANTED in judged.reasons:
        modes = [mode for mode in modes if mode != "last-known"] or ["closed"]
    return {"modes": modes, "expires_at_ms": used["at_ms"] + point["fallback_lease_ms"]}


def _obligations(decision_id: str, judged: Judged, used: Used) -> list[dict[str, Any]]:
    duties: list[dict[str, Any]] = []
    if judged.wait_ms:
        duties.append({"type": "wait", "wait_ms": judged.wait_ms})
    duties.extend({"type": "message", "text": text} for text in judged.messages)
    duties.extend({"type": "reconfirm", "text": text} for text in judged.reconfirms)
    if judged.approval_ms:
        held = used.get("held")
        duties.append(
            {
                "type": "approval",
                "hold_id": held["hold_id"] if held else hold_id_of(decision_id),
                "expires_at_ms": held["expires_at_ms"] if held else used["at_ms"] + judged.approval_ms,
            }
        )
    return duties


def hold_id_of(decision_id: str) -> str:
    """The id of the hold that a decision opens."""
    return hashlib.sha256(b"hold|" + decision_id.encode()).hexdigest()[:16]
