"""Runs of AgentDojo as published: sessions of a task, its calls and outputs, with their labels."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call with its output as structured as it can be had; ``tags`` are the protocol's, empty for benign."""

    tool: str
    arguments: dict[str, Any]
    output: Any
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Session:
    """One run: the file (model or defence) it is from, suite, task, whether something was injected, and its calls."""

    run: str
    suite: str
    task: str
    injected: bool
    text: str
    calls: tuple[Call, ...]


def read_sessions(folder: Path) -> Iterator[Session]:
    """All runs in the order of their files.

    Raises:
        OSError: where a file is not there.
    """
    protocol = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
    for name, labels in sorted(protocol["labels"].items()):
        tags = {(line, call): frozenset(told.split("+")) for line, call, told in labels}
        with (folder / name).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                run = json.loads(line)
                if run.get("messages"):
                    yield _session(name, number, run, tags)


def confirm_tasks(folder: Path) -> frozenset[tuple[str, str]]:
    """Suite and task of half B, which nothing was tuned on."""
    protocol = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
    return frozenset((suite, task) for suite, parts in protocol["halves"].items() for task in parts["B"])


def own_calls(folder: Path) -> dict[tuple[str, str], list[str]]:
    """By suite and user task the tools that the task itself needs: what its owner would declare."""
    known = json.loads((folder / "ground_truth.json").read_text(encoding="utf-8"))
    return {
        (entry["suite"], entry["task"]): [call["function"] for call in entry["calls"]]
        for entry in known
        if entry["kind"] == "user"
    }


def _session(name: str, number: int, run: dict[str, Any], tags: dict[tuple[int, int], frozenset[str]]) -> Session:
    about = run["metadata"]
    text = next((_text(message) for message in run["messages"] if message["role"] == "user"), "")
    made = [call for message in run["messages"] for call in message.get("tool_calls") or ()]
    answers = [message for message in run["messages"] if message["role"] == "tool"]
    by_id = {message["tool_call_id"]: message for message in answers}
    # Some runs give every call the same id; there the answers stand in the calls' order.
    unique = len({call["id"] for call in made}) == len(made)
    calls: list[Call] = []
    for place, call in enumerate(made):
        answer = by_id.get(call["id"]) if unique else answers[place] if place < len(answers) else None
        output = structured(_text(answer)) if answer is not None and not answer.get("error") else None
        function = call["function"]
        calls.append(Call(function["name"], function["arguments"], output, tags.get((number, place), frozenset())))
    injected = bool(about["injection_task_id"])
    return Session(name, about["suite_name"], about["user_task_id"], injected, text, tuple(calls))


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(part.get("text", "") for part in content)


class _Plain(yaml.CSafeLoader):
    """Reads dates and numbers as they are written."""


_Plain.yaml_implicit_resolvers = {}


def structured(content: str) -> Any:
    """The value that was printed as YAML or as a Python literal; a text where it is neither."""
    shown = content.strip().removeprefix("<<").removesuffix(">>").strip()
    try:
        found = ast.literal_eval(shown) if shown.startswith(("{'", "['", '{"')) else yaml.load(shown, _Plain)
    except (ValueError, SyntaxError, yaml.YAMLError, RecursionError):
        return content
    return found if isinstance(found, (dict, list)) and not _prose(found) else content


def _prose(found: dict[Any, Any] | list[Any]) -> bool:
    """Whether a text only looks like a mapping, as ``IBAN: ...`` in a letter does."""
    return isinstance(found, dict) and not all(isinstance(key, str) and " " not in key.strip() for key in found)
