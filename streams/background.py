"""Runs a call beside the loop, in a thread that cannot keep the process from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """An executor for one call at a time.

    A client library can hang for good in a call that has a time-out (librdkafka #5511: the coordinator's old address
    stays cached after a broker restart). A pool of threads would then be waited for at exit; this one's are not.
    """

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the call; its result or exception is in the future."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
                future.set_exception(error)

        threading.Thread(target=run, name="checkpoint", daemon=True).start()
        return future
