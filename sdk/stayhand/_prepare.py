"""From what the caller gives to what may be published: validated, bounded, digested, free of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from stayhand import canonical
from stayhand.errors import InvalidAction
from stayhand.secrets import MATCHES_MAX, Scanner, refuse_secrets, suspicious
from stayhand.wire import MAX_ACTION_BYTES, PendingAction, shaped_action

ActionLike = PendingAction | Mapping[str, Any]
Arguments = Mapping[str, Any] | str | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """An action that may be published, with its key and its bytes."""

    action: PendingAction
    identity: str
    value: bytes

    @property
    def digest(self) -> str:
        """SHA-256 over the action's canonical JSON."""
        return canonical.digest(canonical.loads(self.value))


def prepare(given: ActionLike, arguments: Arguments, scanner: Scanner) -> Prepared:
    """Validate an action and add what the arguments tell: their digest, and the secrets in them without their text.

    Raises:
        InvalidAction: naming the field.
    """
    value = _plain(given)
    if arguments is not None:
        value["context"] = _with_arguments(value.get("context", {}), arguments, scanner)
    action = shaped_action(value)
    identity = action.identity
    text = action.model_dump_json(exclude_defaults=True)
    if suspicious(text):
        refuse_secrets(action.model_dump(mode="json", exclude_defaults=True))
    raw = text.encode()
    if len(raw) > MAX_ACTION_BYTES:
        raise InvalidAction("action", f"expected at most {MAX_ACTION_BYTES} bytes as JSON, got {len(raw)}")
    return Prepared(action, identity, raw)


def _plain(given: ActionLike) -> dict[str, Any]:
    """Plain data, also where wire types were mixed in: the limits are those of the JSON."""
    if isinstance(given, PendingAction):
        return given.model_dump(exclude_defaults=True)
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
        raise InvalidAction("action", "expected a PendingAction or a mapping")
    return {
        name: part.model_dump(exclude_defaults=True) if isinstance(part, BaseModel) else part
        for name, part in given.items()
    }


def _with_arguments(context: Any, arguments: Mapping[str, Any] | str, scanner: Scanner) -> Any:
    if not isinstance(context, Mapping):
        return context
    merged = dict(cast("Mapping[str, Any]", context))
    found = scanner.scan(arguments)
    if found:
        merged["secrets"] = [*(match.model_dump() for match in found), *merged.get("secrets", ())][:MATCHES_MAX]
    if not merged.get("argument_digest"):
        merged["argument_digest"] = _digest(arguments)
    return merged


def _digest(arguments: Mapping[str, Any] | str) -> str:
    try:
        return canonical.digest(arguments if isinstance(arguments, str) else dict(arguments))
    except canonical.InvalidJson as error:
        raise InvalidAction("arguments", f"expected plain JSON: {error}") from error
