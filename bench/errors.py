"""The one way in which a measurement fails."""


class BenchFailed(Exception):
    """Nothing was measured, or what was measured does not count; the message is one line."""
