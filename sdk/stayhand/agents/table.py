"""The table of tools: what family and effect each has, whose words its output holds, and which words imply a family.

It is data that a deployment edits (JSON); the one that ships knows common names. A tool that is not in it is unknown,
and unknown is never taken for harmless.
"""

from __future__ import annotations

import fnmatch
from functools import cached_property
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stayhand.errors import ConfigurationError

UNKNOWN = "unknown"
Trust = Literal["external", "internal", "own"]
Role = Literal["effect", "selector", "content", "ignore"]
FieldTrust = Literal["party", "own", "text"]
Family = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}(\.[a-z][a-z0-9_]{0,31})?$")]
Phrases = Annotated[tuple[str, ...], Field(strict=False)]
_CACHED_NAMES = 1_024


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Tool(_Data):
    """One tool.

    Attributes:
        family: what it belongs to, ``domain.kind``.
        effect: 0 reads, 1 changes what is the identity's own, 2 changes what others see, 3 sends or grants,
            4 deletes or changes standing orders and credentials, 5 moves money or runs code.
        sensitivity: of what it reads, 0 to 3 (a personal record, a credential).
        irreversible: what it did cannot be taken back.
        arguments: each argument's role; ``effect`` decides whom or what it acts on, ``selector`` what is read,
            ``content`` is a title or body. One that is not named here is taken for an effect argument.
        output: who can write its output: ``external`` anybody (web page, mail, invitation, bank memo, file, review),
            ``internal`` the organisation (chat, drive), ``own`` the identity's own records and directory.
        fields: fields of its records that differ: ``party`` is who wrote or received it, ``own`` the system's word,
            ``text`` free text. In external and internal output a field not named is free text, in own output own.
        names_source: a selector that the task names counts as naming this source.
    """

    family: Family
    effect: Annotated[int, Field(ge=0, le=5)]
    sensitivity: Annotated[int, Field(ge=0, le=3)] = 0
    irreversible: bool = False
    arguments: dict[str, Role] = {}
    output: Trust = "external"
    fields: dict[str, FieldTrust] = {}
    names_source: bool = True


# Its family is in no declaration, its effect is the gravest, its output is anybody's.
UNKNOWN_TOOL = Tool(family=UNKNOWN, effect=5, sensitivity=3, irreversible=True, names_source=False)


class Lexicon(_Data):
    """Which words of a task imply a family, and which hand the decision over to somebody else's text.

    A phrase is words joined by ``+``: each must begin a word of the task. ``always`` needs no words, ``url_implies`` a
    URL in the task. ``common`` are words that link no value to the task.
    """

    version: str
    implies: dict[Family, Phrases]
    always: Annotated[tuple[Family, ...], Field(strict=False)] = ()
    url_implies: Annotated[tuple[Family, ...], Field(strict=False)] = ()
    delegates: Phrases = ()
    common: Phrases = ()


class ToolTable(_Data):
    """Tools by name or pattern (``*``), the exact name first, then the patterns in their order; and the lexicon."""

    version: str
    tools: dict[str, Tool]
    lexicon: Lexicon

    @cached_property
    def _known(self) -> dict[str, Tool]:
        return dict(self.tools)

    def tool(self, name: str) -> Tool:
        """The entry of this tool, `UNKNOWN_TOOL` where there is none."""
        found = self._known.get(name)
        if found is None:
            found = next((tool for key, tool in self.tools.items() if fnmatch.fnmatchcase(name, key)), UNKNOWN_TOOL)
            if len(self._known) < len(self.tools) + _CACHED_NAMES:
                self._known[name] = found
        return found

    def with_tools(self, version: str, tools: dict[str, Tool]) -> ToolTable:
        """The same lexicon with these tools instead."""
        return ToolTable(version=version, tools=tools, lexicon=self.lexicon)


def parse_table(text: str | bytes) -> ToolTable:
    """Read a table from JSON.

    Raises:
        ConfigurationError: naming the field and what was expected.
    """
    try:
        return ToolTable.model_validate_json(text)
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "table"
        raise ConfigurationError(f"{field}: {first['msg']}") from error


def shipped_table() -> ToolTable:
    """The table that ships with this release."""
    return parse_table(resources.files("stayhand.agents").joinpath("tools.json").read_bytes())
