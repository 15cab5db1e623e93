"""`python -m streams` that dies by its own hand inside a checkpoint's transaction: offsets sent, nothing committed."""

import os
import signal

from confluent_kafka import Producer

from streams.__main__ import main
from streams.kafka import writers

DIES_AT = int(os.environ.get("CRASH_AT_TRANSACTION", "4"))


class DyingProducer(Producer):
    """Kills the process instead of committing its n-th transaction."""

    commits = 0

    def commit_transaction(self, *args: object) -> None:
        self.commits += 1
        if self.commits == DIES_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        super().commit_transaction(*args)


if __name__ == "__main__":
    writers.Producer = DyingProducer  # type: ignore[misc]
    main()
