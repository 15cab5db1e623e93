"""How a scorer ends: each outcome has its own exit code, and what is missing is said before Kafka is asked."""

from pathlib import Path

import pytest

from stayhand.errors import ConfigurationError
from streams.ports import AuditFailed, Fenced, InputGone, KafkaFailed, Stale
from streams.service import BROKEN, CONFIGURATION, FENCED, INPUT_GONE, KAFKA_FAILED, STOPPED, exit_code, run
from streams.service import unsigned_point as point_for
from streams.settings import load


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), CONFIGURATION),
        (Fenced("x"), FENCED),
        (Stale("x"), FENCED),
        (KafkaFailed("x"), KAFKA_FAILED),
        (AuditFailed("x"), KAFKA_FAILED),
        (InputGone("actions", 0, 9, 0, 5), INPUT_GONE),
        (AssertionError("x"), BROKEN),
        (ValueError("x"), BROKEN),
    ],
)
def test_each_outcome_has_its_exit_code(error: Exception, code: int) -> None:
    def ends() -> None:
        raise error

    assert exit_code(ends) == code


def test_a_scorer_that_was_stopped_ends_well() -> None:
    assert exit_code(lambda: None) == STOPPED


def test_without_a_secret_nothing_starts_unless_unsigned_asks_are_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="secret new FILE"):
        run(load(state_dir=tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_a_secret_and_unsigned_asks_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="exclude each other"):
        run(load(state_dir=tmp_path / "s", master_secret_file=tmp_path / "secret", allow_unsigned=True))


def test_the_unsigned_point_answers_to_its_own_prefix_alone() -> None:
    assert point_for("team.a").reply_topics == ("team.a.decisions",)
