"""A deterministic scheduler: tasks are threads of which exactly one runs, chosen by a seeded generator at each step."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Crashed(BaseException):
    """The process of the running task was killed; nothing of it runs any more."""


@dataclass(eq=False)
class Process:
    """One life of a worker: its tasks die together, and can be paused together."""

    name: str
    dead: bool = False
    paused: bool = False


@dataclass(eq=False)
class Task:
    """A thread that runs only while the scheduler lends it the turn."""

    process: Process
    body: Callable[[], Any]
    ready: Callable[[], bool] = lambda: True
    done: bool = False
    result: Any = None
    error: BaseException | None = None
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _back: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Create the thread; it waits for its first turn."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def turn(self) -> None:
        """Run until the task yields, ends or dies."""
        self._go.release()
        self._back.acquire()

    def give_back(self, ready: Callable[[], bool]) -> None:
        """Called by the task's own thread: let others run until ``ready``."""
        self.ready = ready
        self._back.release()
        self._go.acquire()
        if self.process.dead:
            raise Crashed

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.process.dead:
                self.result = self.body()
        except BaseException as error:  # noqa: BLE001 - a task's end is data here, a crash included
            self.error = error
        self.done = True
        self._back.release()


class Scheduler:
    """Lends the turn to one task after another; the seed is the schedule."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.tasks: list[Task] = []
        self.now_s = 1_000.0
        self.steps = 0
        self._local = threading.local()

    def spawn(self, process: Process, body: Callable[[], Any]) -> Task:
        """Add a task; it runs when its turn comes."""

        def bound() -> Any:
            self._local.task = task
            return body()

        task = Task(process, bound)
        self.tasks.append(task)
        task.start()
        return task

    def pause_point(self, ready: Callable[[], bool] = lambda: True) -> None:
        """Where the running task may be interrupted; outside any task (set-up, checks) it does nothing."""
        task: Task | None = getattr(self._local, "task", None)
        if task is not None:
            task.give_back(ready)

    def runnable(self) -> list[Task]:
        """The tasks that could take a turn now."""
        return [t for t in self.tasks if not t.done and not t.process.paused and not t.process.dead and t.ready()]

    def step(self) -> bool:
        """Give one task a turn; False where none can take one."""
        choices = self.runnable()
        if not choices:
            return False
        self.steps += 1
        self.now_s += 0.001
        self.rng.choice(choices).turn()
        self.tasks = [task for task in self.tasks if not task.done]
        return True

    def kill(self, process: Process) -> None:
        """Let every task of the process end with Crashed at the place where it stands."""
        process.dead = True
        for task in self.tasks:
            if task.process is process and not task.done:
                task.turn()
        self.tasks = [task for task in self.tasks if not task.done]
