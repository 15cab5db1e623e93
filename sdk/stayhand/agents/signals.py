"""What leaves the gateway about one tool call: classes and flags, no text."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

VERSION = 1


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals of one call; an empty string means that the call has no such argument.

    Attributes:
        tool_family: ``unknown`` for a tool that the table does not have.
        effect: 0 (reads) to 5; ``sensitivity`` of what is read 0 to 3; ``irreversible``: cannot be taken back.
        argument_class: the worst class among the effect arguments: T L D C F f N, or ``unknown``.
        argument_type: mail, url, iban, phone or name; ``source_trust`` (external, internal, own) and ``source_named``
            (by the task) of where it was seen; ``hops``: how many steered reads led there.
        task_names_own: the task has a literal of this type itself.
        content_foreign_address: a title or body carries an address of class F.
        selector_class: of what a read asks for; ``selector_type`` and ``selector_trust`` likewise.
        family_in_task: ``yes``, ``near`` (another family of its domain is implied), ``no``, ``unknown`` without a task.
        family_declared: ``inside`` or ``outside`` of what the task's owner declared, empty where nothing was.
        delegated: the task hands the decision over to somebody else's text.
        read_untrusted: something external was read before in this session.
        table: version of the table.
    """

    tool_family: str
    effect: int
    sensitivity: int
    irreversible: bool
    argument_class: str
    argument_type: str
    source_trust: str
    source_named: bool
    hops: int
    task_names_own: bool
    content_foreign_address: bool
    selector_class: str
    selector_type: str
    selector_trust: str
    family_in_task: str
    family_declared: str
    delegated: bool
    read_untrusted: bool
    table: str

    def context(self) -> dict[str, Any]:
        """For ``PendingAction.context``: ``{"agent": {...}}``."""
        return {"agent": {"version": VERSION} | {name: getattr(self, name) for name in _NAMES}}


_NAMES = tuple(field.name for field in fields(Signals))
