"""Why a gate of one's own came to an end; the text is one line that says what to do."""


class Failed(Exception):
    """It cannot be finished: Kafka, a process or an answer failed."""
