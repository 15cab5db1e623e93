"""One session of an agent: the task and what its tools gave go in, the signals of a call come out."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from stayhand.agents.memory import ArgumentClass, Memory, Origin, worse
from stayhand.agents.signals import Signals
from stayhand.agents.table import UNKNOWN, Role, Tool, ToolTable, shipped_table
from stayhand.agents.task import Task
from stayhand.agents.values import ADDRESSES, ValueType, addresses, own_host, typed, user, words

# A longer list is classified by its first values; the rest counts as foreign once something foreign was read.
MAX_ARGUMENT_VALUES = 24
MAX_SELECTOR_NAMES = 4
MAX_CONTENT = 8_192
MAX_OUTPUT = 262_144
MAX_NESTING = 32
_MAX_FIELD = 80
_MAX_LINES = 64
_MAX_LABELS = 6
_FOREIGN = (ArgumentClass.F, ArgumentClass.f)


class _Found(NamedTuple):
    """One classified argument: its type and spelling, where it was seen."""

    type: ValueType
    value: str
    origin: Origin


_TASK = Origin(ArgumentClass.T, 0, "own", named=True)
_LINKED = Origin(ArgumentClass.L, 0, "own", named=True)
_NOWHERE = Origin(ArgumentClass.N, 0, UNKNOWN, named=False)
_LEFT_OUT = _Found("url", "", Origin(ArgumentClass.F, 0, UNKNOWN, named=False))


class AgentSession:
    """Follows one task of one agent, in the gateway's memory alone.

    Call `classify` before a tool runs and `saw` with what it gave. Neither keeps or gives out a text. Not for use from
    several threads at once.
    """

    def __init__(
        self,
        task_text: str,
        tools: ToolTable | None = None,
        declared: Collection[str] | None = None,
        key: bytes | None = None,
    ) -> None:
        """Begin a session.

        Args:
            task_text: what the agent was asked to do, by whom it works for; empty where it is not known.
            tools: the deployment's table; the one that ships by default.
            declared: families that the task's owner declared, None where nothing was.
            key: of the fingerprints, 32 bytes; random by default, so that sessions cannot be linked.
        """
        self._table = shipped_table() if tools is None else tools
        self._memory = Memory(secrets.token_bytes(32) if key is None else key)
        self._task = Task(task_text, self._table.lexicon, self._memory)
        self._common = frozenset(self._table.lexicon.common)
        self._declared = None if declared is None else frozenset(declared)
        self._domains = frozenset(family.partition(".")[0] for family in self._task.families)
        self._untrusted = False

    def classify(self, tool: str, arguments: Mapping[str, Any]) -> Signals:
        """The signals of a call that is about to be made."""
        entry = self._table.tool(tool)
        effects, selectors, foreign_content = self._sorted_out(entry, arguments)
        worst, chosen = _worst(effects), _worst(selectors)
        if worst is not None and worst.origin.kind in _FOREIGN:
            self._memory.freeze(worst.value)
        return Signals(
            tool_family=entry.family,
            effect=entry.effect,
            sensitivity=entry.sensitivity,
            irreversible=entry.irreversible,
            argument_class=worst.origin.kind.name if worst is not None else UNKNOWN if _expects(entry) else "",
            argument_type="" if worst is None else worst.type,
            source_trust="" if worst is None else worst.origin.trust,
            source_named=worst is not None and worst.origin.named,
            hops=0 if worst is None else worst.origin.hops,
            task_names_own=worst is not None and worst.type in self._task.literals,
            content_foreign_address=foreign_content,
            selector_class="" if chosen is None else chosen.origin.kind.name,
            selector_type="" if chosen is None else chosen.type,
            selector_trust="" if chosen is None else chosen.origin.trust,
            family_in_task=self._family_in_task(entry.family),
            family_declared=self._family_declared(entry.family),
            delegated=self._task.delegated,
            read_untrusted=self._untrusted,
            table=self._table.version,
        )

    def saw(self, tool: str, output: Any, arguments: Mapping[str, Any] | None = None) -> None:
        """Remember what a tool gave: a text is free text, mappings and lists are records.

        Takes some 0.2 ms for each KiB, so it belongs off the path of a decision. Of more than 262,144 characters the
        rest is not looked through, and any value may then have stood there. Without the ``arguments`` of the call its
        source counts as not named and the read as steered.
        """
        entry = self._table.tool(tool)
        _, selectors, _ = self._sorted_out(entry, arguments or {})
        chosen = _worst(selectors)
        steered = arguments is None or (chosen is not None and chosen.origin.kind in _FOREIGN)
        named = entry.names_source and chosen is not None and chosen.origin.kind is ArgumentClass.T
        hops = chosen.origin.hops + 1 if chosen is not None and steered else int(steered)
        if entry.output == "external":
            self._untrusted = True
        origin = Origin(ArgumentClass.F, hops, entry.output, named)
        improves = not steered and entry.effect == 0
        room = MAX_OUTPUT
        for field, text in _strings(output, ""):
            if len(text) > room:
                self._memory.overflow(origin)
                return
            room -= len(text)
            self._index(entry, field, text, origin, improves=improves)

    def context(self) -> dict[str, Any]:
        """What is true of the whole session, for ``PendingAction.context``: ``{"agent_session": {...}}``."""
        told: dict[str, Any] = {
            "families_implied": sorted(self._task.families),
            "literal_types": sorted(self._task.literals),
            "read_untrusted": self._untrusted,
            "table": self._table.version,
            "lexicon": self._table.lexicon.version,
        }
        if self._declared is not None:
            told["families_declared"] = sorted(self._declared)
        return {"agent_session": told}

    def _sorted_out(self, entry: Tool, arguments: Mapping[str, Any]) -> tuple[list[_Found], list[_Found], bool]:
        """Effect arguments and selectors, classified, and whether content carries a foreign address."""
        effects: list[_Found] = []
        selectors: list[_Found] = []
        foreign = False
        unnamed: Role = "effect" if entry.effect else "ignore"
        for name, value in arguments.items():
            role = entry.arguments.get(name, unnamed)
            if role == "content":
                foreign = foreign or any(map(self._foreign_content, _argument_strings(value)))
            elif role != "ignore":
                self._collect(value, *((selectors, MAX_SELECTOR_NAMES) if role == "selector" else (effects, None)))
        return effects, selectors, foreign

    def _collect(self, value: Any, found: list[_Found], most_names: int | None) -> None:
        """Classify each value; of names that only select what is read the first few tell enough."""
        for text in _argument_strings(value):
            if len(found) >= MAX_ARGUMENT_VALUES:
                found.append(_LEFT_OUT if self._untrusted else _Found("name", "", _NOWHERE))
                return
            kind, said = typed(text)
            if kind in ADDRESSES:
                found.append(_Found(kind, said, self._address(kind, said)))
            elif most_names is None or len(found) < most_names:
                found.append(_Found(kind, said, self._name(said)))

    def _address(self, kind: ValueType, value: str) -> Origin:
        memory, task = self._memory, self._task
        mark = memory.fingerprint(value)
        if task.has_value(mark):
            return _TASK
        where = own_host(kind, value, self._common)
        same_host = bool(where) and task.has_host(memory.fingerprint(where))
        if kind == "url" and same_host:
            return _LINKED
        seen = memory.find(mark, address=True)
        if seen is None and where:
            seen = self._host_seen(where)
        linked = same_host or (kind == "mail" and task.names_any(map(memory.fingerprint, words(user(value)))))
        return _linked(seen, linked)

    def _host_seen(self, where: str) -> Origin | None:
        """Where a host, or one above it, was seen in free text.

        Another page, mailbox or sub-domain of it is no better: what is put there may be what is to be stolen.
        """
        labels = where.split(".")
        for parts in {len(labels), *range(2, min(len(labels), _MAX_LABELS))}:
            seen = self._memory.find_words([self._memory.fingerprint(".".join(labels[-parts:]))])
            if seen is not None:
                return seen
        return None

    def _name(self, value: str) -> Origin:
        memory, task = self._memory, self._task
        marks = [memory.fingerprint(part) for part in words(value)]
        if marks and task.has_words(marks):
            return _TASK
        seen = memory.find(memory.fingerprint(value), address=False) or memory.find_words(marks)
        return _linked(seen, task.names_any(marks))

    def _foreign_content(self, text: str) -> bool:
        """Whether a title or body carries a foreign address; one too long to look through may."""
        for kind, value in addresses(text[:MAX_CONTENT]):
            if self._address(kind, value).kind in _FOREIGN:
                return True
        return len(text) > MAX_CONTENT and self._untrusted

    def _family_in_task(self, family: str) -> str:
        if not self._task.known or family == UNKNOWN:
            return UNKNOWN
        if family in self._task.families:
            return "yes"
        return "near" if family.partition(".")[0] in self._domains else "no"

    def _family_declared(self, family: str) -> str:
        if self._declared is None:
            return ""
        return "inside" if family in self._declared else "outside"

    def _index(self, entry: Tool, field: str, text: str, origin: Origin, *, improves: bool) -> None:
        """Remember one string of an output by what its field is."""
        kind = entry.fields.get(field, "own" if entry.output == "own" else "text")
        if kind == "text":
            self._index_text(text, origin, improves=improves)
            return
        whole = origin._replace(kind=ArgumentClass.D if kind == "own" else ArgumentClass.C)
        lines = text.splitlines()
        for line in lines[:_MAX_LINES]:
            if len(line) <= _MAX_FIELD:
                self._memory.add(typed(line.rpartition(": ")[2])[1], whole, improves=improves)
        # A record's field is short. What is longer is prose, and prose in a record can be anybody's.
        if len(lines) > 1 or len(text) > _MAX_FIELD:
            self._index_text(text, origin._replace(trust="external"), improves=False)

    def _index_text(self, text: str, origin: Origin, *, improves: bool) -> None:
        said = set(words(text))
        for kind, value in addresses(text):
            self._memory.add(value, origin, improves=improves)
            said.add(own_host(kind, value, self._common))
        self._memory.add_words(said - {""}, origin.trust, named=origin.named)


def _linked(seen: Origin | None, linked: bool) -> Origin:
    """The class of a value that is not in the task, by where it was seen and whether it spells a name of the task."""
    if seen is None:
        return _LINKED if linked else _NOWHERE
    if not linked:
        return seen
    foreign = seen.kind is ArgumentClass.F and not seen.named
    return seen._replace(kind=ArgumentClass.f if foreign else ArgumentClass.L)


def _worst(found: Sequence[_Found]) -> _Found | None:
    worst: _Found | None = None
    for one in found:
        if worst is None or worse(one.origin, worst.origin):
            worst = one
    return worst


def _expects(entry: Tool) -> bool:
    """Whether a call of this tool without an effect argument leaves open whom or what it acts on."""
    return entry.effect > 0 and (entry.family == UNKNOWN or "effect" in entry.arguments.values())


def _argument_strings(value: Any, depth: int = 0) -> Iterator[str]:
    """The strings of an argument; numbers and flags name nobody."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif depth < MAX_NESTING and (_is_mapping(value) or _is_array(value)):
        for inner in value.values() if _is_mapping(value) else value:
            yield from _argument_strings(inner, depth + 1)


def _strings(value: Any, field: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every string of an output with the name of the field that it stands in; a key is a string of the field around."""
    if isinstance(value, str):
        yield field, value
    elif depth < MAX_NESTING and _is_mapping(value):
        for key, inner in value.items():
            if field:
                yield field, str(key)
            yield from _strings(inner, str(key), depth + 1)
    elif depth < MAX_NESTING and _is_array(value):
        for inner in value:
            yield from _strings(inner, field, depth + 1)


def _is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_array(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple))
