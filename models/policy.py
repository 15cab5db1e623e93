"""A policy pack: versioned YAML rules and score bands, validated with the line that is wrong, compiled and indexed."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from itertools import pairwise

from models.conditions import Condition, InvalidCondition, compile_condition
from models.reasons import ReasonBody, reason
from models.samples import samples
from models.strictyaml import InvalidPack, Node, read_yaml
from stayhand import canonical
from stayhand.wire import MAX_MESSAGE, PolicyRef, Severity

__all__ = ["Band", "CompiledPack", "Duties", "InvalidPack", "Rule", "compile_pack"]

# Where a pack has no band for slow (1/1024): what scores higher is not learned unasked.
LEARN_BELOW = 12 * 1_024
MAX_RULES = 256
MAX_LISTS = 16
MAX_LIST_ITEMS = 256
MAX_CACHED_NAMES = 4_096
_SAMPLES = tuple(sample.value for sample in samples())
_ID = r"[a-z0-9][a-z0-9._-]{0,63}"
_VERDICTS = ("permit", "slow", "guide", "block")
_FACTS = [
    "registered",
    "owner",
    "group",
    "frozen",
    "offboarded",
    "credential_age_s",
    "first_seen_age_s",
    "called_bad_age_s",
    "grant",
    "grants",
    "holds",
]
_FIELDS: dict[str, frozenset[str] | None] = {
    "subject": frozenset({"type", "id", "properties"}),
    "action": frozenset({"name", "family", "impact", "properties"}),
    "resource": frozenset({"type", "id", "id_lower", "properties"}),
    "context": None,
    "facts": frozenset(_FACTS),
    "score": frozenset({"event", "session", "rate", "total", "mature", "epoch", "drift", "q", "p", "bar", "agent"}),
    "ready": frozenset({"epoch", "p", "drift", "agent"}),
    "point": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Duties:
    """What must be done with a verdict: the obligations before they become a decision's.

    ``approval_ms`` is how long a hold lives; ``reconfirm`` says what must be confirmed again.
    """

    wait_ms: int = 0
    message: str = ""
    approval_ms: int = 0
    reconfirm: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule; ``reason`` is shared by all decisions that it takes part in.

    ``when_reads_grant``: its condition can see whether there is a grant. ``when_reads_agent``: it can see the points of
    an agent's call, so that their largest terms are told as well. ``answerable``: it can be evaluated again when a hold
    is answered, because it needs nothing of the action but its name, and no grant.
    """

    id: str
    patterns: tuple[str, ...]
    when: Condition | None
    severity: int
    duties: Duties
    reason: ReasonBody
    unless_grant: bool
    when_reads_grant: bool
    when_reads_agent: bool
    answerable: bool


@dataclass(frozen=True, slots=True)
class Band:
    """From this total score on (in 1/1024) the verdict is at least ``severity``; harmful actions have their own."""

    at: int
    harmful_at: int
    severity: int
    duties: Duties
    reason: ReasonBody


@dataclass(frozen=True, slots=True)
class CompiledPack:
    """A pack that can decide. ``bands`` stand highest first; ``hash`` is SHA-256 over the canonical JSON.

    Scores are in 1/1024: ``lowest`` is where the first band begins (0: no bands), below ``learn_below`` an event that
    was permitted or slowed may become normal.
    """

    name: str
    version: str
    hash: str
    ref: PolicyRef
    ref_body: dict[str, str]
    bands: tuple[Band, ...]
    rules: tuple[Rule, ...]
    lists: dict[str, list[str]]
    lowest: int
    learn_below: int
    _by_name: dict[str, tuple[Rule, ...]] = field(default_factory=dict, compare=False, repr=False)

    def rules_for(self, action: str) -> tuple[Rule, ...]:
        """The rules whose patterns match this action's name, in the pack's order."""
        found = self._by_name.get(action)
        if found is None:
            found = tuple(rule for rule in self.rules if _matches(action, rule.patterns))
            if len(self._by_name) >= MAX_CACHED_NAMES:
                self._by_name.clear()
            self._by_name[action] = found
        return found


def compile_pack(source: str) -> CompiledPack:
    """Read a pack from its YAML text.

    Raises:
        InvalidPack: with the line, the field and what was expected there.
    """
    top = read_yaml(source).fields("name version", "description bands lists rules")
    lists = _lists(top["lists"]) if "lists" in top else {}
    known = _FIELDS | {"lists": frozenset(lists)}
    bands = _bands(top["bands"]) if "bands" in top else ()
    rules = _rules(top["rules"], known) if "rules" in top else ()
    name, version = top["name"].text(128, _ID), top["version"].text(128, r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
    description = top["description"].text(4_096) if "description" in top else ""
    digest = canonical.digest(_document(name, version, description, bands, lists, rules))
    ref = PolicyRef(name=name, version=version, hash=digest)
    lowest = bands[-1].harmful_at if bands else 0
    learn_below = lowest if bands and bands[-1].severity == Severity.slow else min(lowest or LEARN_BELOW, LEARN_BELOW)
    return CompiledPack(name, version, digest, ref, ref.model_dump(), bands, rules, lists, lowest, learn_below)


def _lists(node: Node) -> dict[str, list[str]]:
    found = node.mapping()
    if len(found) > MAX_LISTS:
        raise node.wrong(f"expected at most {MAX_LISTS} lists")
    for name, item in found.items():
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,63}", name):
            raise item.wrong("expected a name of a-z, 0-9 and _")
    return {name: list(item.each(MAX_LIST_ITEMS, lambda entry: entry.text(256))) for name, item in found.items()}


def _bands(node: Node) -> tuple[Band, ...]:
    bands: list[Band] = []
    for name, item in node.fields("", "slow guide block").items():
        parts = item.fields("at reason", "harmful_at obligations references")
        at, duties = parts["at"].score(), _duties(parts.get("obligations"), name, item)
        harmful_at = parts["harmful_at"].score() if "harmful_at" in parts else at
        if harmful_at > at:
            raise parts["harmful_at"].wrong("expected at most what stands under at")
        bands.append(Band(at, harmful_at, int(Severity[name]), duties, _reason(parts)))
    ordered = sorted(bands, key=lambda band: -band.severity)
    for higher, lower in pairwise(ordered):
        if higher.at <= lower.at or higher.harmful_at <= lower.harmful_at:
            raise node.wrong("expected slow below guide below block")
    return tuple(ordered)


def _rules(node: Node, known: dict[str, frozenset[str] | None]) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    seen: set[str] = set()
    for item in node.items(MAX_RULES, least=0):
        parts = item.fields("id actions verdict reason", "title when obligations references unless_grant")
        rules.append(_rule(item, parts, known))
        if rules[-1].id in seen:
            raise parts["id"].wrong("expected each id once")
        seen.add(rules[-1].id)
    return tuple(rules)


def _rule(item: Node, parts: dict[str, Node], known: dict[str, frozenset[str] | None]) -> Rule:
    verdict = parts["verdict"].choice(_VERDICTS)
    when = _condition(parts["when"], known) if "when" in parts else None
    if "title" in parts:
        parts["title"].text(256)
    unless_grant = parts["unless_grant"].flag() if "unless_grant" in parts else False
    kept = when is None or all(_kept(name, fields) for name, fields in when.reads)
    return Rule(
        id=parts["id"].text(64, _ID),
        patterns=parts["actions"].each(32, lambda entry: entry.text(128)),
        when=when,
        severity=int(Severity[verdict]),
        duties=_duties(parts.get("obligations"), verdict, item),
        reason=_reason(parts),
        unless_grant=unless_grant,
        when_reads_grant=when is not None and when.reads_field("facts", "grant"),
        when_reads_agent=when is not None and when.reads_field("score", "agent"),
        answerable=kept and not unless_grant,
    )


def _kept(variable: str, fields: frozenset[str] | None) -> bool:
    """Whether a hold keeps what this variable is made of."""
    if variable in {"action", "subject"}:
        return fields is not None and "properties" not in fields
    if variable in {"score", "ready"}:
        return fields is not None and "agent" not in fields
    return variable in {"point", "lists"} or (variable == "facts" and _facts_kept(fields))


def _facts_kept(fields: frozenset[str] | None) -> bool:
    return fields is not None and not fields & {"credential_age_s", "grant"}


def _condition(node: Node, known: dict[str, frozenset[str] | None]) -> Condition:
    try:
        return compile_condition(node.text(8_192), known, _SAMPLES)
    except InvalidCondition as error:
        raise node.wrong(str(error)) from None


def _duties(node: Node | None, verdict: str, owner: Node) -> Duties:
    """Read the obligations; a verdict without what makes it one is refused (slow: a wait; guide: a word)."""
    parts = node.fields("", "wait_ms message approval reconfirm") if node is not None else {}
    duties = Duties(
        wait_ms=parts["wait_ms"].integer(1, 600_000) if "wait_ms" in parts else 0,
        message=parts["message"].text(MAX_MESSAGE) if "message" in parts else "",
        approval_ms=_approval(parts["approval"]) if "approval" in parts else 0,
        reconfirm=parts["reconfirm"].text(MAX_MESSAGE) if "reconfirm" in parts else "",
    )
    if duties.wait_ms and verdict not in {"slow", "guide"}:
        raise parts["wait_ms"].wrong("expected with the verdict slow or guide only")
    for name in ("approval", "reconfirm"):
        if name in parts and verdict != "guide":
            raise parts[name].wrong("expected with the verdict guide only")
    if verdict == "slow" and not duties.wait_ms:
        raise owner.wrong("expected obligations.wait_ms with the verdict slow")
    if verdict == "guide" and not (duties.message or duties.approval_ms or duties.reconfirm):
        raise owner.wrong("expected a message, an approval or a reconfirm with the verdict guide")
    return duties


def _approval(node: Node) -> int:
    return node.fields("timeout_s")["timeout_s"].integer(1, 7 * 86_400) * 1_000


def _reason(parts: dict[str, Node]) -> ReasonBody:
    said = parts["reason"].fields("code message")
    references = (
        parts["references"].each(8, lambda entry: entry.text(64, r"[A-Za-z0-9][A-Za-z0-9.:_-]*"))
        if "references" in parts
        else ()
    )
    return reason(said["code"].text(64, _ID), said["message"].text(MAX_MESSAGE), *references)


def _document(
    name: str,
    version: str,
    description: str,
    bands: tuple[Band, ...],
    lists: dict[str, list[str]],
    rules: tuple[Rule, ...],
) -> dict[str, object]:
    """The parsed pack as JSON: two texts that differ in layout or comments only have the same hash."""
    return {
        "name": name,
        "version": version,
        "description": description,
        "lists": lists,
        "bands": [[band.at, band.harmful_at, band.severity, _duties_json(band.duties), band.reason] for band in bands],
        "rules": [
            {
                "id": rule.id,
                "actions": list(rule.patterns),
                "when": rule.when.source if rule.when else "",
                "severity": rule.severity,
                "obligations": _duties_json(rule.duties),
                "reason": rule.reason,
                "unless_grant": rule.unless_grant,
            }
            for rule in rules
        ],
    }


def _duties_json(duties: Duties) -> list[object]:
    return [duties.wait_ms, duties.message, duties.approval_ms, duties.reconfirm]


def _matches(action: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(action, pattern) for pattern in patterns)
