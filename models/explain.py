"""Explanations for those on call: what raised a score, as sentences with the numbers behind them.

A reason is counterfactual: its weight is how much lower the scores would be without it, so what is told did matter. A
policy looks at three quantities: the total, the log-odds that somebody else acted lately (from `QUIET` up, which is as
good as nothing), and the drift (from 0 up); all are in nats, and a reason lowers one of them. Sentences with numbers
are made from the audit record, for operators alone; each has a plain one without numbers, which an asker may be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp
from typing import Any, NamedTuple

from models import conduct, epoch
from models.abused import load_abused
from models.baseline import ACTION, CLIENT, RESOURCE, SOURCE
from models.codes import container, family, network
from models.event import Evidence, Features, Scores, score
from models.eventform import features_from_json
from models.prior import READ_POINTS, SENSITIVE_POINTS
from models.rate import UNIT
from models.reasons import term_reason

SCALE = 1_024
# Odds of 1 to 148 that somebody else acted lately: a little below what an identity scores that is left in peace.
QUIET = -5 * SCALE
_WINDOWS = ("10 seconds", "10 minutes", "6 hours")
_HARM = ("no", "some", "much", "very much")


class Told(NamedTuple):
    """One reason: the term, by how much its quantity would be lower without it (1/1024), and the sentence.

    ``plain`` says it without numbers, for the asker; it may be empty.
    """

    term: str
    weight: int
    text: str
    plain: str


class _Named(NamedTuple):
    """What the numbers are about; an empty text is not known."""

    who: str
    action: str
    resource: str
    source: str
    client: str


def without(f: Features, term: str) -> Features:
    """The features of the same event if this term had nothing to say; unknown terms change nothing."""
    if term in _CHANNELS:
        one, two, three, four = (None if at == _CHANNELS[term] else found for at, found in enumerate(f.channels))
        return f._replace(channels=(one, two, three, four))
    if term in _SILENT_SIGNS:
        return f if f.signs is None else f._replace(signs=f.signs._replace(**_SILENT_SIGNS[term]))
    if term in _SILENT:
        return f._replace(**_SILENT[term])
    return f if f.conduct is None else f._replace(conduct=conduct.without(f.conduct, term))


def suspicion(scores: Scores) -> int:
    """All that a policy may look at, added up, in 1/1024: total, log-odds above `QUIET`, and drift above 0."""
    lately = max(QUIET, *(QUIET if each is None else each for each in (scores.epoch, scores.q)))
    return scores.total + lately - QUIET + max(0, scores.drift or 0)


def weights(f: Features) -> list[tuple[str, int]]:
    """The terms that raised a score and by how much it would be lower without each, the heaviest first.

    Without its action an event has no impact and no abuse either: they only count for what the identity never did.
    """
    scores = score(f)
    raised = [name for name, value in scores.terms if value > 0]
    raised += [] if f.signs is None else list(_SILENT_SIGNS)
    found = [(name, suspicion(scores) - suspicion(score(without(f, name)))) for name in raised]
    return sorted((each for each in found if each[1] > 0), key=_weight, reverse=True)


def explained(record: Mapping[str, Any], most: int = 3) -> list[Told]:
    """The heaviest reasons for the score in an audit record (kind decision or final); none where nothing raised it.

    Raises:
        KeyError, TypeError, ValueError: where the record has no features that this release can read.
    """
    f = features_from_json(record["features"])
    named = _names(record)
    return [Told(term, weight, _sentence(f, term, named), _plain(term)) for term, weight in weights(f)[:most]]


def in_words(told: list[Told]) -> str:
    """The reasons as one line: each sentence and what it adds to the score, in nats."""
    return "; ".join(f"{each.text} (+{each.weight / SCALE:.1f})" for each in told)


def _weight(found: tuple[str, int]) -> int:
    return found[1]


def _names(record: Mapping[str, Any]) -> _Named:
    who = record["identity"].partition(":")[2] or "this identity"
    if record["kind"] == "final":
        answer = record["facts"]["answer"]
        kind, _, name = answer["resource"].partition(":")
        return _Named(who, answer["action"], _held_in(kind, name), "", "")
    given = record["action"]
    if not isinstance(given, Mapping):
        given = given.model_dump(mode="json")
    context, resource = given.get("context") or {}, given.get("resource") or {}
    held = _held_in(str(resource.get("type", "")), str(resource.get("id", "")))
    source, client = str(context.get("source") or ""), str(context.get("client") or "")
    return _Named(who, given["action"]["name"], held, network(source) if source else "", family(client))


def _held_in(kind: str, name: str) -> str:
    """The container that is counted, with its kind before it: no object's own name."""
    kind, _, held = container(kind, name).partition("|")
    return f"{kind} {held}".strip()


def _sentence(f: Features, term: str, named: _Named) -> str:
    told = _SENTENCES.get(term)
    return f"{term.replace('_', ' ')} is unusual" if told is None else told(f, named)


def _plain(term: str) -> str:
    told = term_reason(term)
    return "" if told is None else str(told["message"])


def _action(f: Features, named: _Named) -> str:
    did = _used(f.channels[ACTION], f"{named.who} has used {named.action or 'this'}", "actions")
    return f"{did}{_peers(f)}"


def _peers(f: Features) -> str:
    did, of = (0, 0) if f.signs is None else f.signs.peers
    return f"; {did:,} of {of:,} peers ever did" if of else ""


def _resource(f: Features, named: _Named) -> str:
    return _used(f.channels[RESOURCE], f"{named.who} has touched {named.resource or 'this resource'}", "actions")


def _source(f: Features, named: _Named) -> str:
    came = f"{named.who} has come from {named.source or 'this place'}"
    return _used(f.channels[SOURCE], came, "actions with a known source")


def _client(f: Features, named: _Named) -> str:
    acted = f"{named.who} has acted through {named.client or 'this program'}"
    return _used(f.channels[CLIENT], acted, "actions with a known program")


def _used(found: Evidence | None, did: str, of: str) -> str:
    assert found is not None, "a term of the score has its evidence"
    now = f", and {found.r:,} times in these ten minutes" if found.r > 1 else ""
    return f"{did} {_times(found.k)} in {found.n:,} {of}{now}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _hour(f: Features, named: _Named) -> str:
    return f"{f.hour_count / 4:,.0f} of {f.hour_total:,} actions of {named.who} came around {f.hour:02d}:00 UTC"


def _impact(f: Features, named: _Named) -> str:
    harm = f"{_HARM[f.impact]} harm (impact {f.impact} of 3)"
    return f"{named.action or 'this action'} can do {harm} and is new to {named.who}"


def _rate(f: Features, named: _Named) -> str:
    at = max(range(len(f.z)), key=f.z.__getitem__)
    usual = f"{f.z[at] / SCALE:.1f} deviations above what is usual"
    return f"{named.who} acted about {f.counters[at] / UNIT:,.0f} times in {_WINDOWS[at]}, {usual}"


def _session(f: Features, named: _Named) -> str:
    return f"what {named.who} did just before left {f.session / SCALE:.1f}, which fades within half an hour"


def _lately(f: Features, named: _Named) -> str:
    assert f.signs is not None, "a term of the epoch score has its signs"
    found, events = epoch.judge(f.signs, f.habit_code)[0], f.signs.windows[0][3] + 1
    met = "" if found.p is None else f", and {100 * found.p / SCALE:.1f} % of all such stretches score as high"
    highest = max(found.h, found.q) / SCALE
    return f"odds of {_odds(highest)} that somebody else did the last {events} actions of {named.who}{met}"


def _odds(log_odds: float) -> str:
    """The odds as people say them: ``20 to 1``, ``1 to 50``."""
    size = round(exp(min(abs(log_odds), 9.0)))
    return f"{size:,} to 1" if log_odds >= 0 else f"1 to {size:,}"


def _drift(f: Features, named: _Named) -> str:
    assert f.signs is not None, "a term of the drift has its signs"
    first = f"its first {epoch.ANCHOR_EPOCHS} epochs"
    return f"what {named.who} learned lately is {f.signs.drift / SCALE:.2f} nats away from {first}, usually less than 0"


def _abused(f: Features, named: _Named) -> str:
    found, did = load_abused().find(named.action), f.channels[ACTION]
    assert did is not None, "a term of the score has its evidence"
    known = f" ({', '.join(found.techniques)})" if found is not None else ""
    shares = f"{f.abused / 10_000:.2f}% of what somebody else does, not {did.q / 10_000:.2f}%"
    return f"{named.action or 'this action'} is known from abuse{known}: {shares}; it is new to {named.who}"


def _seen(f: Features) -> conduct.Seen:
    assert f.conduct is not None, "a term of the score has its evidence"
    return f.conduct


def _above(found: conduct.Amount) -> str:
    known = f"{found.windows:,} such windows" if found.windows else "nobody in particular"
    return f"{found.z / SCALE:.1f} deviations above the usual of {known}"


def _volume(f: Features, named: _Named) -> str:
    found = _seen(f).volume
    assert found is not None, "a term of the score has its evidence"
    return f"{named.who} has sent about {found.amount:,} KiB in these ten minutes, {_above(found)}"


def _spread(f: Features, named: _Named) -> str:
    found = _seen(f).spread
    assert found is not None, "a term of the score has its evidence"
    things = f"about {conduct.things(found.amount):,.0f} different things"
    return f"{named.who} has touched {things} in these ten minutes, {_above(found)}"


def _dormancy(f: Features, named: _Named) -> str:
    found = _seen(f).pause
    assert found is not None, "a term of the score has its evidence"
    silent = f"{found.hours / 24:,.0f} days" if found.hours >= 48 else f"{found.hours} hours"
    return f"{named.who} had been silent for {silent}; {found.longer:,} of its {found.pauses:,} pauses were as long"


def _sequence(f: Features, named: _Named) -> str:
    found = _seen(f).flow
    assert found is not None, "a term of the score has its evidence"
    often = f"{found.after:,} of the {found.sends:,} windows in which it sent anything"
    read = f"reading worth {found.points:,} points lately (a secret {SENSITIVE_POINTS}, other data {READ_POINTS})"
    return f"{named.who} sends after {read}, as in {often}"


def _credential(f: Features, named: _Named) -> str:
    found = _seen(f).change
    assert found is not None, "a term of the score has its evidence"
    age = "just issued" if found.fresh else "not just issued"
    often = f"that happened {_times(found.changes)} in {found.shown:,} windows with one"
    return f"{named.who} comes with a credential that is new, {age}; {often}"


_CHANNELS = {"action": ACTION, "resource": RESOURCE, "source": SOURCE, "client": CLIENT}
_SILENT: dict[str, dict[str, Any]] = {
    "hour": {"hour_total": 0},
    "impact": {"impact": 0},
    "rate": {"z": (0, 0, 0)},
    "session": {"session": 0},
    "abused": {"abused": 0},
}
# Nothing was compared, so that the score of what was done lately is not ready; a drift of one who just began.
_SILENT_SIGNS: dict[str, dict[str, Any]] = {
    "epoch": {"windows": ((0, 0, 0, 0),) * 3},
    "drift": {"drift": epoch.DRIFT_START},
}
_SENTENCES: dict[str, Callable[[Features, _Named], str]] = {
    "action": _action,
    "resource": _resource,
    "source": _source,
    "client": _client,
    "hour": _hour,
    "impact": _impact,
    "rate": _rate,
    "session": _session,
    "epoch": _lately,
    "drift": _drift,
    "abused": _abused,
    "volume": _volume,
    "spread": _spread,
    "dormancy": _dormancy,
    "sequence": _sequence,
    "credential": _credential,
}
