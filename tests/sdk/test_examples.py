"""The programs in examples/ run, against the double that ships."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from stayhand.testing import FakeAsyncGuard, FakeGuard

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_deployment_that_is_permitted_happens(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeGuard() as guard:
        guard.gate.permit("deploy.*")
        assert example("guarded_deploy").deploy(guard, "staging", "v1")
    assert "deploying v1 to staging" in capsys.readouterr().out


def test_a_deployment_that_is_blocked_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeGuard() as guard:
        guard.gate.block("deploy.*", reason="Not on a Friday.")
        assert not example("guarded_deploy").deploy(guard, "production", "v1")
    assert "Not on a Friday." in capsys.readouterr().err


async def test_an_agent_is_told_why_a_tool_was_refused() -> None:
    async with FakeAsyncGuard() as guard:
        guard.gate.permit("tool.call.search_*")
        guard.gate.block("tool.call.send_money", reason="This tool moves money.")
        results = await example("agent_tools").main(guard)
    assert results == ["3 mails about invoices", "refused: This tool moves money."]
