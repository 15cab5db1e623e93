"""The gateway's part of judging agents: from a session's task, outputs and calls to classes and flags, without text."""

from stayhand.agents.memory import ArgumentClass
from stayhand.agents.session import AgentSession
from stayhand.agents.signals import Signals
from stayhand.agents.table import Lexicon, Tool, ToolTable, parse_table, shipped_table

__all__ = [
    "AgentSession",
    "ArgumentClass",
    "Lexicon",
    "Signals",
    "Tool",
    "ToolTable",
    "parse_table",
    "shipped_table",
]
