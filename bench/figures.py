"""Figures from samples, and what must stand beside them: machine, versions, commit, load."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from pathlib import Path
from typing import Any

import confluent_kafka

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("confluent-kafka", "pydantic", "orjson", "rocksdict", "common-expression-language", "noida-db")
_MIB = 1024 * 1024


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least ``share`` (0 to 1) of all samples do not exceed (nearest rank).

    Raises:
        ValueError: for no samples, or a share outside 0 to 1.
    """
    if not samples or not 0 <= share <= 1:
        raise ValueError("expected at least one sample and a share of 0 to 1")
    return sorted(samples)[max(0, ceil(share * len(samples)) - 1)]


def median(values: Sequence[float]) -> float:
    """The median, with three digits behind the point."""
    return round(statistics.median(values), 3)


def spread(samples: Sequence[float]) -> dict[str, float]:
    """``p50``, ``p99``, ``p999`` and ``max`` of samples, with three digits behind the point."""
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    ordered = sorted(samples)
    return {name: round(percentile(ordered, share), 3) for name, share in shares.items()}


def surroundings(broker: str) -> dict[str, Any]:
    """Where this was measured, as JSON-able data; ``load_before`` is the machine's load average of the last minute."""
    return {
        "machine": {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB,
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
        "python": platform.python_version(),
        "versions": _versions(),
        "broker": broker,
        "commit": commit(),
        "load_before": load(),
    }


def load() -> float:
    """The load average of the last minute: how many processes wanted a core."""
    return round(os.getloadavg()[0], 2)


def commit() -> str:
    """The checkout's commit, with ``-dirty`` where files differ from it; ``unknown`` without git."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude", "*"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def cpu_s(pid: int) -> float:
    """User and system time of a process since its start, as the kernel counts it (proc_pid_stat(5), fields 14 and 15).

    Raises:
        OSError: no such process, or no ``/proc``.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _versions() -> dict[str, str]:
    found = {"librdkafka": confluent_kafka.libversion()[0]}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
