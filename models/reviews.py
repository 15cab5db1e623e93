"""What a person's word on one decision changes: learned after all, or taken back and watched; never at once.

What the scorer saw of an old decision is not in its state, so a review carries it as the audit holds it: codes and
numbers, no text (`lesson_of`). Who may write controls may set a whole baseline, so a lesson that he makes up gives him
no more than he has; it is checked for what the state could not hold.

Fine: an action that was not learned waits from now on like any other, and matures ten minutes after the word at the
earliest. Bad: what it taught is taken back where it still waits, its epoch of habits is not learned, the slow way back
in is closed for another hour, and what follows is judged as after an intruder. A word counts once; bad after fine takes
back what fine taught, and nothing makes bad fine again.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import Any

from models import bar, epoch, rate
from models.baseline import MAX_TIME_MS, Baseline, landing, ripened, taking_back, waited, was_taken_back
from models.event import SESSION_TAU_MS
from models.facts import ControlRefused, pruned, reviewed_as, with_review
from models.lessons import Taught, take_back
from schemas.documents import Facts, LessonFact, Review, Reviewed


def lesson_of(record: Mapping[str, Any]) -> LessonFact | None:
    """The lesson of an audit record of kind ``decision``; None where it taught and showed nothing.

    Raises:
        KeyError, TypeError, ValueError: where it is not such a record.
    """
    note = next((effect["lesson"] for effect in record["effects"] if effect["do"] == "observe"), None)
    if note is None:
        return None
    habit = record["features"].get("habit", (0, 0))
    learned, code, _, weight, _, _, h, *_ = note.get("habit", (0, note["keys"][0], 0, 0, 0, 0, 0))
    return LessonFact(
        at_ms=note["at"],
        keys=tuple(note["keys"]),
        counters=tuple(note["counters"]),
        epoch=note["epoch"],
        habit=habit[0],
        habitual=learned > 0,
        code=code,
        h=h if weight else None,
        total=record["scores"]["total"],
    )


def changes(b: Baseline, facts: Facts, review: Review, at_ms: int) -> bool:
    """Whether this word is news; the same one again is not.

    Raises:
        ControlRefused: where it makes no sense as things stand; the field is named.
    """
    lesson, fine = review.lesson, review.said == "fine"
    known = reviewed_as(facts, review.decision_id)
    if known is not None:
        if fine and not known.fine:
            raise ControlRefused("called-bad", "said: expected bad, as it was called before; that stands", "said")
        return known.fine != fine
    channels = [key >> 16 for key in lesson.keys]
    if channels != sorted(set(channels)) or channels[0]:
        raise ControlRefused("invalid-lesson", "lesson.keys: expected one for each channel, in order", "lesson.keys")
    if not b.events or not b.first_seen_ms <= lesson.at_ms <= b.last_ms:
        told = "lesson.at_ms: expected the time of a decision since this baseline began"
        raise ControlRefused("decision-unknown", told, "lesson.at_ms")
    if lesson.at_ms <= facts.reviewed_ms:
        told = "decision_id: expected a later decision than those that were reviewed and forgotten"
        raise ControlRefused("decision-too-old", told, "decision_id")
    if fine and not lesson.epoch and not landing(ripened(b, _at(b, at_ms)), lesson.keys):
        raise ControlRefused(
            "no-room", "lesson: what waits is full; expected to hear it again in ten minutes", "lesson"
        )
    return True


def reviewed(b: Baseline, facts: Facts, review: Review, at_ms: int) -> tuple[Baseline, Facts]:
    """Baseline and facts after a word that `changes` them."""
    known = reviewed_as(facts, review.decision_id)
    if review.said == "fine":
        b, number = _fine(b, review.lesson, at_ms)
    else:
        b, number = _bad(b, review, known, at_ms), 0
        facts = facts.model_copy(update={"called_bad_ms": at_ms})
    said = Reviewed(review.lesson.at_ms, review.decision_id[-16:], review.said == "fine", number)
    return b, with_review(pruned(facts, at_ms), said)


def _fine(b: Baseline, lesson: LessonFact, at_ms: int) -> tuple[Baseline, int]:
    """The baseline, and the number of the epoch where the action waits now, 0 where it was learned before."""
    at = _at(b, at_ms)
    b = _ripe(b, at)
    suspected = lesson.h is not None and lesson.h >= epoch.LEARN_BELOW
    habits = epoch.vouched(b.habits, lesson.habit, lesson.code, habitual=lesson.habitual, suspected=suspected)
    b = b._replace(habits=habits)
    if lesson.epoch:
        return b, 0
    b = _later(b, at)
    opened, waiting, room = waited(b, lesson.keys, at, lesson.counters)
    if not room or opened is None:
        return b, 0
    extra = b.extra
    if lesson.total >= bar.bar_of(extra).at:
        extra = bar.counted(extra, opened.number, fine=True)
    number = max(b.next_epoch, opened.number + 1)
    return b._replace(open=opened, waiting=waiting, next_epoch=number, extra=extra), opened.number


def _bad(b: Baseline, review: Review, known: Reviewed | None, at_ms: int) -> Baseline:
    lesson = review.lesson
    b = _ripe(b, _at(b, at_ms))
    number, fine = (lesson.epoch, False) if known is None else (known.epoch or lesson.epoch, known.epoch > 0)
    if not was_taken_back(b, review.decision_id):
        before = b
        b = take_back(b, Taught(number, lesson.keys, lesson.counters))
        if b is not before and lesson.total >= bar.bar_of(b.extra).at:
            b = b._replace(extra=bar.uncounted(b.extra, number, fine=fine))
        # An outcome that comes later takes nothing back a second time.
        b = taking_back(b, review.decision_id)
    return b._replace(habits=epoch.disowned(b.habits, lesson.habit), accepted_ms=b.last_ms)


def _at(b: Baseline, at_ms: int) -> int:
    return min(MAX_TIME_MS, max(at_ms, b.last_ms))


def _ripe(b: Baseline, at: int) -> Baseline:
    """What is due is beyond a review's reach."""
    b = ripened(b, at)
    habits = epoch.ripened(b.habits, at)
    return b if habits is b.habits else b._replace(habits=habits)


def _later(b: Baseline, at: int) -> Baseline:
    """The baseline at a later time without an event: what waits must not begin to wait before the state's clock."""
    gap = at - b.last_ms
    one, two, three = (max(0, counter - rate.UNIT) for counter in rate.stepped(b.counters, gap))
    return b._replace(last_ms=at, session=int(b.session * exp(-gap / SESSION_TAU_MS) + 0.5), counters=(one, two, three))
