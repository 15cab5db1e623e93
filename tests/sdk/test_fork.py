"""A Guard belongs to the process that made it."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, pathlib
from stayhand import Guard, GuardClosed
from stayhand.testing import KEY
X = {{"type": "token", "id": "x"}}
ACTION = {{"subject": X, "action": {{"name": "a"}}, "resource": X}}
guard = Guard(bootstrap="{bootstrap}", point="p1", key_id="k1", key=KEY, spool_dir={spool!r}, deadline_ms=50)
guard.check(ACTION)
spool = next(pathlib.Path({spool!r}).glob("stayhand/p1/*"))
before = sorted(path.name for path in spool.iterdir())
child = os.fork()
if child == 0:
    for call in (guard.check, guard.enforce):
        try:
            call(ACTION)
        except GuardClosed as error:
            print("child:", error, flush=True)
    guard.close()
    {child_end}
_, status = os.waitpid(child, 0)
print("status", os.waitstatus_to_exitcode(status))
assert sorted(path.name for path in spool.iterdir()) == before
print("parent:", guard.check(ACTION).origin, guard.spooled)
guard.close()
print("left:", len(list(spool.parent.glob("*/journal.jsonl"))))
"""


@pytest.mark.parametrize("child_end", ["sys.exit(0)", "os._exit(0)", "raise SystemExit(0)"])
def test_a_forked_child_is_refused_and_neither_it_nor_the_parent_is_disturbed(tmp_path: Path, child_end: str) -> None:
    program = textwrap.dedent(PROGRAM).format(
        bootstrap="127.0.0.1:9", spool=str(tmp_path / "spool"), child_end=child_end
    )
    environment = os.environ | {"PYTHONPATH": "sdk"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "child: this guard belongs to the parent process: make one after the fork",
        "child: this guard belongs to the parent process: make one after the fork",
        "status 0",
        "parent: fallback 2",
        "left: 1",
    ]


def test_a_process_that_ends_without_closing_its_guard_ends_and_keeps_its_spool(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        from stayhand import Guard
        from stayhand.testing import KEY
        guard = Guard(bootstrap="127.0.0.1:9", point="p1", key_id="k1", key=KEY, spool_dir={str(tmp_path / "s")!r})
        guard.check({{"subject": {{"type": "token", "id": "x"}}, "action": {{"name": "a"}},
                      "resource": {{"type": "r", "id": "x"}}}}, deadline_ms=50)
    """)
    environment = os.environ | {"PYTHONPATH": "sdk"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "s").glob("stayhand/p1/*/journal.jsonl"))) == 1
