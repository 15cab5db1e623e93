"""The ways in which a replay ends early; each text is one line that says what to do."""


class ReplayFailed(Exception):
    """The replay cannot be finished: Kafka, the scorer or an answer failed."""


class ReplayMistaken(Exception):
    """What was asked for cannot be right; nothing was started."""
