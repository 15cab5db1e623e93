"""The guide's examples run as they stand, and its table names every setting."""

import re
from pathlib import Path

from stayhand import GuardConfig
from stayhand.testing import FakeGuard

GUIDE = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()


def test_every_python_example_of_the_guide_runs() -> None:
    examples = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(examples) >= 4
    with FakeGuard() as guard:
        guard.gate.permit()
        names: dict[str, object] = {"guard": guard}
        for example in examples:
            exec(compile(example, "docs/sdk.md", "exec"), names)
        assert [outcome.result for outcome in guard.gate.outcomes] == ["done", "done"]


def test_every_setting_stands_in_the_guide() -> None:
    for name in GuardConfig.model_fields:
        assert f"STAYHAND_{name.upper()}" in GUIDE, name
