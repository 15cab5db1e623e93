"""The scorer as a program: puts the parts together, runs the loop, and ends with a code that says why."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import structlog
import typer
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from models.prior import load_prior
from schemas.documents import EnforcementPoint
from schemas.topics import topic
from stayhand.errors import ConfigurationError
from streams import logs
from streams.answers import Answers
from streams.background import Background
from streams.health import HealthServer
from streams.kafka import KafkaLog
from streams.keyring import KeyRing, load_secret
from streams.limits import Limiter
from streams.metrics import Metrics
from streams.ports import AuditFailed, Fenced, InputGone, KafkaFailed, Stale
from streams.reading import Reader, ReaderSettings
from streams.receipts import Receipts
from streams.registry import Registry
from streams.settings import Settings, load, misspelt
from streams.shipped import shipped_pack
from streams.store import RocksStore, StateDir
from streams.worker import TRANSACTION_S, Pace, Worker

STOPPED, CONFIGURATION, FENCED, KAFKA_FAILED, INPUT_GONE, BROKEN = 0, 2, 3, 4, 5, 70
STALLED_S = 30.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_UNSIGNED_RATE = 1_000_000
_SWITCH_S = 0.0001
_GC_THRESHOLDS = (50_000, 20, 50)
_LOG = structlog.get_logger("stayhand.service")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class Pulse:
    """Whether the loop turns, and whether it was told to stop."""

    def __init__(self) -> None:
        """Begin with a beat."""
        self._beat_s = time.monotonic()
        self.stopping = False

    def beat(self) -> None:
        """The loop has turned."""
        self._beat_s = time.monotonic()

    def age_s(self) -> float:
        """Seconds since it turned."""
        return time.monotonic() - self._beat_s

    def stop(self, number: int, _frame: FrameType | None) -> None:
        """A signal's handler: end after this turn; a second signal ends at once."""
        _LOG.info("stopping", signal=signal.Signals(number).name)
        self.stopping = True
        signal.signal(number, signal.SIG_DFL)


@app.command()
def scorer(
    config: Annotated[Path | None, typer.Option(envvar="STAYHAND_CONFIG", help="A YAML file of settings.")] = None,
    bootstrap: Annotated[str | None, typer.Option(help="Kafka, HOST:PORT,...")] = None,
    prefix: Annotated[str | None, typer.Option(help="What the topics' names begin with.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="This worker's folder, its own.")] = None,
    master_secret_file: Annotated[Path | None, typer.Option(help="The file that keys are derived from.")] = None,
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="Take asks without a signature.")] = False,
    accept_gap: Annotated[bool, typer.Option("--accept-gap", help="Go on where committed input is gone.")] = False,
    health_port: Annotated[int | None, typer.Option(help="Port of metrics and health; 0: any free one.")] = None,
) -> None:
    """Run a scorer: decide what is asked.

    Settings: these options, environment variables STAYHAND_*, the settings file, defaults. Ends with 0 when stopped, 2
    for a wrong setting, 3 when another worker took over, 4 when Kafka failed, 5 when committed input is gone, 70 for a
    broken invariant.
    """
    try:
        settings = load(
            config,
            bootstrap=bootstrap,
            prefix=prefix,
            state_dir=state_dir,
            master_secret_file=master_secret_file,
            allow_unsigned=allow_unsigned or None,
            accept_gap=accept_gap or None,
            health_port=health_port,
        )
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(CONFIGURATION) from error
    logs.configure(settings.log_level, json=settings.log_json)
    for name, meant in misspelt(os.environ).items():
        _LOG.warning("not a setting, so it changes nothing", variable=name, meant=meant)
    raise typer.Exit(exit_code(lambda: run(settings)))


def exit_code(run_it: Callable[[], None]) -> int:
    """What a run ended with, as the process's exit code; the reason is logged last."""
    try:
        run_it()
    except ConfigurationError as error:
        return _ended(CONFIGURATION, error)
    except (Fenced, Stale) as error:
        return _ended(FENCED, error)
    except (KafkaFailed, AuditFailed) as error:
        return _ended(KAFKA_FAILED, error)
    except InputGone as error:
        return _ended(INPUT_GONE, error)
    except Exception as error:  # noqa: BLE001 - the process ends here, with its code
        _LOG.exception("broken invariant", code=BROKEN)
        return _ended(BROKEN, error)
    _LOG.info("stopped", code=STOPPED)
    return STOPPED


def _ended(code: int, error: Exception) -> int:
    _LOG.error(str(error) or type(error).__name__, code=code, outcome=type(error).__name__)
    return code


def run(settings: Settings) -> None:
    """Run a scorer until a signal stops it.

    Raises:
        ConfigurationError, Fenced, Stale, KafkaFailed, AuditFailed, InputGone: as each says.
    """
    with ExitStack() as held:
        master = _master(settings)
        folder = StateDir(settings.state_dir)
        held.callback(folder.close)
        log = KafkaLog(settings.bootstrap, settings.prefix, settings.consumer_group, folder.worker, settings.kafka)
        held.callback(log.close)
        store = _store(settings, folder, log)
        held.callback(store.close)
        metrics, pulse = Metrics(log, store), Pulse()
        worker = _worker(settings, folder.worker, log, store, master, metrics)
        health = _health(settings, log, metrics, pulse)
        held.callback(health.close)
        _say(settings, folder.worker, log, health)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, pulse.stop)
        _tune()
        worker.start()
        while not pulse.stopping:
            worker.run_once()
            pulse.beat()
        worker.stop()


def _tune() -> None:
    """Keep the interpreter out of the way of an answer.

    A checkpoint's encoding must not hold the interpreter for 5 ms at a time: an answer takes it up several times. And
    what start-up made is never garbage: the collector need not look at it again, nor often at all, for the loop makes
    no cycles.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _master(settings: Settings) -> bytes | None:
    if settings.master_secret_file is not None:
        if settings.allow_unsigned:
            raise ConfigurationError("a master secret and unsigned asks exclude each other: leave one of them out")
        return load_secret(settings.master_secret_file)
    if settings.allow_unsigned:
        return None
    raise ConfigurationError(
        "no master secret: make one with `python -m streams secret new FILE` and set STAYHAND_MASTER_SECRET_FILE, "
        "or take unsigned asks with --allow-unsigned"
    )


def _store(settings: Settings, folder: StateDir, log: KafkaLog) -> RocksStore:
    return RocksStore(
        folder.path / "rocksdb",
        log.topic_id("state"),
        now_ms=SystemClock().wall_ms,
        age_max_ms=settings.store_age_max_ms,
        cache_bytes=settings.store_cache_bytes,
    )


def _worker(
    settings: Settings,
    name: str,
    log: KafkaLog,
    store: RocksStore,
    master: bytes | None,
    metrics: Metrics,
) -> Worker:
    registry, limits, keys, receipts = (
        Registry(load_prior(), default=shipped_pack()),
        Limiter(),
        KeyRing(master),
        Receipts(master),
    )
    partitions = log.partitions("actions")
    reading = ReaderSettings(
        topic_id=log.topic_id("actions").hex(),
        partitions=partitions,
        prefix=settings.prefix,
        clock=settings.clock,
        freshness_ms=settings.freshness_ms,
        unsigned_point=unsigned_point(settings.prefix) if master is None else None,
    )
    return Worker(
        name,
        log,
        store,
        SystemClock(),
        Background(),
        registry=registry,
        reader=Reader(registry, keys, limits, receipts, log.reply_partitions, reading),
        limits=limits,
        answers=Answers(keys, receipts),
        partitions=partitions,
        pace=Pace(
            records_max=settings.poll_records_max,
            checkpoint_s=settings.checkpoint_ms / 1000,
            transaction_s=min(TRANSACTION_S, settings.checkpoint_ms / 1000),
            lease_s=log.session_timeout_ms / 2000,
        ),
        observer=metrics,
        accept_gap=settings.accept_gap,
    )


def unsigned_point(prefix: str) -> EnforcementPoint:
    """The point that stands for asks that name none, where unsigned asks are taken: it may do everything."""
    return EnforcementPoint(
        point="unsigned",
        keys=(),
        identities=("*",),
        actions=("*",),
        reply_topics=(topic(prefix, "decisions"),),
        rate_per_s=_UNSIGNED_RATE,
        new_identities_per_hour=_UNSIGNED_RATE,
    )


def _health(settings: Settings, log: KafkaLog, metrics: Metrics, pulse: Pulse) -> HealthServer:
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)

    def live() -> str | None:
        stalled = pulse.age_s() > STALLED_S and not log.taking_over
        return f"the loop has not turned for {pulse.age_s():.0f} s" if stalled else None

    def ready() -> str | None:
        return live() or (None if log.settled else "no assignment yet, or partitions are being taken over")

    server = HealthServer(settings.health_host, settings.health_port, registry, live=live, ready=ready)
    server.start()
    return server


def _say(settings: Settings, name: str, log: KafkaLog, health: HealthServer) -> None:
    """What an operator should know at each start."""
    known: dict[str, Any] = {
        "bootstrap": settings.bootstrap,
        "prefix": settings.prefix,
        "group": settings.consumer_group,
        "worker": name,
        "session_timeout_ms": log.session_timeout_ms,
        "health": health.address,
    }
    _LOG.info("scorer starts", **known)
    if settings.allow_unsigned:
        _LOG.warning("unsigned: anybody who can write to the actions topic can ask as anybody else")
    if settings.health_host not in _LOOPBACK:
        _LOG.warning("metrics and health are served beyond this machine, without a login", address=health.address)
    if settings.accept_gap:
        _LOG.warning("gaps in the input are accepted: what was deleted before it was read is never decided")
