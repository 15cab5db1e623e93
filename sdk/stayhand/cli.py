"""The command ``stayhand``: ask from a shell, follow decisions, normalise an identity."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ValidationError

from stayhand._config import GuardConfig
from stayhand._guard import Guard
from stayhand._tail import Tailed, tail
from stayhand._transport import Transport
from stayhand.canonical import InvalidJson, loads
from stayhand.errors import InvalidAction, Rejected, StayhandError, Unavailable
from stayhand.identity import parse_identity
from stayhand.wire import Decision, FallbackMode, PolicyRef, invalid

PERMITTED, USAGE, SLOW, GUIDE, BLOCK, REJECTED, FALLBACK_CLOSED, UNAVAILABLE, INTERRUPTED = 0, 2, 3, 4, 5, 6, 7, 8, 130
_VERDICTS = {"permit": PERMITTED, "slow": SLOW, "guide": GUIDE, "block": BLOCK}
_EXIT_CODES = """exit status:
  0    permitted (also by a fallback that the gate allowed)
  2    wrong use or configuration, or an action that breaks the contract
  3    slow: wait, or wait for an approval, as the obligations say
  4    guide: show the message or have the scope confirmed
  5    block
  6    the gate refused the ask
  7    no answer, and the fallback is closed
  8    Kafka cannot be reached (tail; outcome, which then stays in the spool)
  130  interrupted

settings come from STAYHAND_BOOTSTRAP, STAYHAND_POINT, STAYHAND_KEY_ID, STAYHAND_KEY_FILE and so on.
"""


def main(argv: Sequence[str] | None = None, transport: Transport | None = None) -> int:
    """Run the command; the exit status is the verdict (see ``stayhand --help``).

    Args:
        argv: the arguments without the program's name.
        transport: another way to the gate, for tests.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "check":
            return _check(arguments, transport)
        if arguments.command == "outcome":
            return _outcome(arguments, transport)
        if arguments.command == "tail":
            return _tail(arguments)
        print(parse_identity(arguments.identity))
    except (StayhandError, OSError) as error:
        return _fail(arguments, error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return PERMITTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stayhand",
        description="Ask, before a risky action, whether it may happen.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_check(commands.add_parser("check", help="ask about one action; the exit status is the verdict"))
    _add_tail(commands.add_parser("tail", help="follow decisions as they are made; reads only"))
    _add_outcome(commands.add_parser("outcome", help="tell what became of an action that was checked"))
    identity = commands.add_parser("identity", help="print an identity as it is used as a key")
    identity.add_argument("identity", metavar="TYPE:ID")
    identity.set_defaults(json=False)
    return parser


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXIT_CODES
    parser.add_argument("--action", required=True, metavar="NAME", help="such as deploy.push")
    parser.add_argument("--subject", required=True, metavar="TYPE:ID", help="who acts, such as token:ci-deployer")
    parser.add_argument("--resource", required=True, metavar="TYPE:ID", help="what it is done to")
    parser.add_argument(
        "--context", action="append", default=[], metavar="KEY=VALUE", help="a circumstance; VALUE may be JSON"
    )
    parser.add_argument(
        "--arguments", metavar="FILE", help="what the action would be called with (- for stdin); never published"
    )
    parser.add_argument("--deadline-ms", type=int, metavar="N", help="how long to wait for the answer")
    parser.add_argument("--fallback", choices=get_args(FallbackMode), help="what happens without an answer")
    parser.add_argument("--wait", action="store_true", help="wait for the final decision of a hold")
    parser.add_argument("--traceparent", default="", help="W3C trace context to pass on")
    parser.add_argument("--json", action="store_true", help="print the decision as one line of JSON")


def _add_outcome(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subject", required=True, metavar="TYPE:ID", help="as it was checked")
    parser.add_argument("--decision-id", required=True, metavar="HEX", help="of the decision (check --json)")
    parser.add_argument("--receipt", required=True, metavar="TEXT", help="of the decision (check --json)")
    parser.add_argument("--result", required=True, choices=("done", "failed", "cancelled"))
    parser.add_argument("--wait-ms", type=int, default=5_000, metavar="N", help="how long to try to tell it now")
    parser.add_argument("--json", action="store_true", help="print an error as one line of JSON")


def _add_tail(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from-beginning", action="store_true", help="start with the oldest that is still there")
    parser.add_argument("--count", type=int, metavar="N", help="end after N decisions")
    parser.add_argument("--json", action="store_true", help="print each decision as one line of JSON")


def _check(arguments: argparse.Namespace, transport: Transport | None) -> int:
    action = {
        "subject": _typed("subject", arguments.subject),
        "action": {"name": arguments.action},
        "resource": _typed("resource", arguments.resource),
        "context": dict(_pair(text) for text in arguments.context),
    }
    given = _read_arguments(arguments.arguments)
    settings: dict[str, Any] = {}
    if arguments.deadline_ms is not None:
        settings = {"deadline_ms": arguments.deadline_ms, "deadline_ms_max": arguments.deadline_ms}
    with Guard(GuardConfig(**settings), transport=transport) as guard:
        decision = guard.check(action, arguments=given, fallback=arguments.fallback, traceparent=arguments.traceparent)
        if arguments.wait and not decision.final:
            decision = guard.wait_final(decision)
    _show(decision, as_json=arguments.json)
    closed = decision.origin == "fallback" and decision.verdict == "block"
    return FALLBACK_CLOSED if closed else _VERDICTS[decision.verdict]


def _outcome(arguments: argparse.Namespace, transport: Transport | None) -> int:
    """Tell it now, or leave it in the spool for the next process and say so by the exit status."""
    try:
        decision = Decision(
            decision_id=arguments.decision_id,
            verdict="permit",
            policy=PolicyRef(name="", version="", hash=""),
            receipt=arguments.receipt,
        )
    except ValidationError as error:
        raise invalid(error) from None
    with Guard(transport=transport) as guard:
        guard.report(arguments.subject, decision, arguments.result)
        guard.connect(arguments.wait_ms)
    if guard.spooled:
        raise Unavailable("the outcome is kept here and told by the next process")
    return PERMITTED


def _tail(arguments: argparse.Namespace) -> int:
    keyless = not {"STAYHAND_KEY", "STAYHAND_KEY_FILE"} & os.environ.keys()
    config = GuardConfig(unsigned=True) if keyless else GuardConfig()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for position, seen in enumerate(tail(config, from_beginning=arguments.from_beginning), start=1):
        print(json.dumps(_tailed(seen)) if arguments.json else _printable(_line(seen)), flush=True)
        if position == arguments.count:
            break
    return PERMITTED


def _typed(field: str, text: str) -> dict[str, str]:
    kind, colon, name = text.partition(":")
    if not (kind and colon and name):
        raise InvalidAction(field, "expected TYPE:ID, such as token:ci-deployer")
    return {"type": kind, "id": name}


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise InvalidAction("context", "expected KEY=VALUE")
    try:
        return key, loads(value.encode())
    except InvalidJson:
        return key, value


def _read_arguments(name: str | None) -> Any:
    """The text of a file, or the value where it is a JSON object."""
    if name is None:
        return None
    raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        value = loads(raw)
    except InvalidJson:
        return raw.decode("utf-8", "replace")
    return cast("dict[str, Any]", value) if isinstance(value, dict) else raw.decode("utf-8", "replace")


def _as_data(decision: Decision) -> dict[str, Any]:
    return decision.model_dump(mode="json") | {"origin": decision.origin, "receipt": decision.receipt}


def _tailed(seen: Tailed) -> dict[str, Any]:
    data: dict[str, Any] = {"partition": seen.partition, "offset": seen.offset, "at_ms": seen.at_ms}
    return data | {"type": seen.ce_type, "verified": seen.verified, "value": seen.value}


def _show(decision: Decision, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_data(decision)))
        return
    for line in _sentences(decision):
        print(_printable(line))


def _sentences(decision: Decision) -> Iterator[str]:
    origin = "" if decision.origin == "gate" else " (by fallback, not by the gate)"
    yield f"{decision.verdict}{origin}"
    if decision.would_be is not None:
        yield f"  observed only: would have been {decision.would_be}"
    for reason in decision.reasons:
        references = f" [{', '.join(reason.references)}]" if reason.references else ""
        yield f"  {reason.code}: {reason.message}{references}"
    for obligation in decision.obligations:
        told = obligation.model_dump()
        yield "  to do: " + told.pop("type") + "".join(f" {name}={value}" for name, value in told.items())


def _line(seen: Tailed) -> str:
    value = seen.value
    reasons: list[dict[str, Any]] = value.get("reasons") or []
    told = "; ".join(str(reason.get("message", "")) for reason in reasons)
    verdict = str(value.get("verdict") or value.get("code") or "unreadable")
    final = "" if value.get("final", True) else " (held)"
    return f"{seen.at} {verdict:<7}{final} {value.get('decision_id', '')} {told or value.get('message', '')}".rstrip()


def _printable(text: str) -> str:
    """What others wrote must not steer the terminal: control and direction characters are shown escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _fail(arguments: argparse.Namespace, error: Exception) -> int:
    if arguments.json:
        names = {"field": getattr(error, "field", None), "code": getattr(error, "code", None)}
        told = {name: value for name, value in names.items() if value}
        print(json.dumps({"error": type(error).__name__, "message": str(error)} | told))
    else:
        hint = " (is Kafka running, and STAYHAND_BOOTSTRAP right?)" if isinstance(error, Unavailable) else ""
        print(f"stayhand: {_printable(str(error))}{hint}", file=sys.stderr)
    if isinstance(error, Rejected):
        return REJECTED
    return UNAVAILABLE if isinstance(error, Unavailable) else USAGE
