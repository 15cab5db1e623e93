"""A CI job that asks before it uses its deployment token: `python examples/guarded_deploy.py production v1.2.3`.

Settings come from the environment: STAYHAND_BOOTSTRAP, STAYHAND_POINT, STAYHAND_KEY_ID, STAYHAND_KEY_FILE.
Exit status: 0 deployed, 1 not deployed, with the reasons on stderr.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from stayhand import Blocked, Decision, Guard, Message


def deployment(environment: str, version: str) -> dict[str, Any]:
    """The pending action: who deploys what to where."""
    return {
        "subject": {"type": "token", "id": os.environ.get("CI_TOKEN_NAME", "ci-deployer")},
        "action": {"name": "deploy.token.use", "properties": {"version": version}},
        "resource": {"type": "environment", "id": environment},
        "context": {"environment": environment, "client": "ci/1", "session": os.environ.get("CI_JOB_ID", "")},
    }


def show(message: Message, _decision: Decision) -> bool:
    """Tell whoever reads the job's log what the gate has to say; a job cannot answer, so it does not go on."""
    sys.stderr.write(f"stayhand: {message.text}\n")
    return False


def deploy(guard: Guard, environment: str, version: str) -> bool:
    """Deploy if the gate lets it happen; pauses and approvals are waited for in here."""
    try:
        with guard.enforce(deployment(environment, version), on_message=show):
            sys.stdout.write(f"deploying {version} to {environment}\n")
            return True
    except Blocked as blocked:
        sys.stderr.write(f"not deployed: {blocked}\n")
        return False


if __name__ == "__main__":
    with Guard() as shared:
        sys.exit(0 if deploy(shared, *sys.argv[1:3]) else 1)
