"""Interrupts: a signal stops a command at once, or at the end of what must not be disturbed."""

import signal

import pytest

from streams.local.interrupt import stoppable, undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_an_interrupt_and_the_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stoppable():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_an_interrupt_waits_for_the_end_of_what_must_not_be_disturbed():
    reached = []

    def work():
        with undisturbed():
            with undisturbed():
                signal.raise_signal(signal.SIGTERM)
                reached.append("inner")
            reached.append("outer")
        reached.append("never")

    with pytest.raises(KeyboardInterrupt), stoppable():
        work()
    assert reached == ["inner", "outer"]


def test_what_came_is_told_once():
    with stoppable():
        with pytest.raises(KeyboardInterrupt), undisturbed():
            signal.raise_signal(signal.SIGINT)
        with undisturbed():
            pass


def test_another_error_inside_is_not_hidden():
    with stoppable(), pytest.raises(ValueError, match="mine"), undisturbed():
        raise ValueError("mine")
