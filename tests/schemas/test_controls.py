"""Controls: what one may say can be written into the audit."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from schemas.documents import CONTROL

GRANT = {"grant_id": "ab" * 8, "action": "*", "resource": "*", "expires_at_ms": 1}


@pytest.mark.parametrize("number", [-1, (1 << 53) + 1, 1 << 70])
@pytest.mark.parametrize(
    "said",
    [
        lambda n: {"kind": "register", "credential_issued_at_ms": n},
        lambda n: {"kind": "grant", "grant": GRANT | {"expires_at_ms": n}},
        lambda n: {"kind": "grant", "grant": GRANT | {"not_before_ms": n}},
        lambda n: {"kind": "grant", "grant": GRANT | {"uses_left": n}},
    ],
)
def test_a_number_that_the_audit_could_not_hold_is_refused(said: Any, number: int) -> None:
    """The control would end every worker that reads it."""
    body = {"control_id": "ab" * 8, "by": "ann"}
    CONTROL.validate_json(orjson.dumps(body | said(1)))
    with pytest.raises(ValidationError):
        CONTROL.validate_json(str(body | said(number)).replace("'", '"'))
