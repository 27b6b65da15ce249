"""What the figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("aiokafka", "faust-streaming", "msgspec", "numpy", "redis", "river")


def machine() -> dict[str, object]:
    """Date, processor, memory and versions, for the head of a results file."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _said("git", "describe", "--always", "--dirty"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory.split()[1]) / 1024**2, 1),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "java": _said("java", "-version").splitlines()[:1],
        "redis": _said("redis-server", "--version"),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }


def load_average() -> float:
    """Of the last minute: much above what the rig itself uses, and the figures are of a busy machine."""
    return os.getloadavg()[0]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return "not there"
    return (done.stdout or done.stderr).strip()
