"""What can go wrong with a broker that we start ourselves, one exception for each outcome."""


class BrokerError(RuntimeError):
    """Base of everything that this package raises; its text is one line that says how to mend it."""


class BrokerMissingError(BrokerError):
    """The broker cannot be had on this machine: a program or its files are missing."""


class BrokerFailedError(BrokerError):
    """The broker was started, or was said to be there, but does not serve."""


class BrokerNotOursError(BrokerError):
    """The broker was started by somebody else, so it is not ours to kill, pause or restart."""
