"""An agent's tools behind the gate: each call is asked for first, and a person confirms the scope if need be.

`asyncio.run(main(AsyncGuard()))` runs it against a gate; the test beside it runs it against `stayhand.testing`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from stayhand import AsyncGuard, Blocked, Decision, Reconfirm

Tool = Callable[..., Awaitable[str]]
Confirm = Callable[[str], Awaitable[bool]]


class GuardedTools:
    """Calls tools by name, for one agent in one session."""

    def __init__(self, guard: AsyncGuard, agent: str, session: str, tools: dict[str, Tool], confirm: Confirm) -> None:
        """``confirm`` asks a person, outside the agent's own conversation."""
        self._guard, self._agent, self._session = guard, agent, session
        self._tools, self._confirm = tools, confirm

    async def call(self, name: str, **arguments: Any) -> str:
        """The tool's result, or the sentence that tells the agent why there is none."""
        try:
            async with self._guard.enforce(self._pending(name), arguments=arguments, on_reconfirm=self._reconfirm):
                return await self._tools[name](**arguments)
        except Blocked as blocked:
            return f"refused: {blocked}"

    def _pending(self, name: str) -> dict[str, Any]:
        return {
            "subject": {"type": "agent", "id": self._agent},
            "action": {"name": f"tool.call.{name}"},
            "resource": {"type": "tool", "id": name},
            "context": {"session": self._session, "client": "agent-gateway/1"},
        }

    async def _reconfirm(self, wanted: Reconfirm, _decision: Decision) -> bool:
        return await self._confirm(wanted.text)


async def main(guard: AsyncGuard) -> list[str]:
    """Two calls of a mail agent: reading is routine, sending money is not."""

    async def search_mail(query: str) -> str:
        return f"3 mails about {query}"

    async def send_money(to: str, amount: int) -> str:
        return f"sent {amount} to {to}"

    async def nobody_there(_question: str) -> bool:
        return False

    tools = GuardedTools(
        guard, "mail-agent", "s-1", {"search_mail": search_mail, "send_money": send_money}, nobody_there
    )
    return [await tools.call("search_mail", query="invoices"), await tools.call("send_money", to="alice", amount=5)]
