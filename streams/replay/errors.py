"""The way in which a replay ends early; each text is one line that says what to do."""

from streams.local.errors import Failed


class ReplayFailed(Failed):
    """The replay cannot be finished: Kafka, the scorer or an answer failed."""
