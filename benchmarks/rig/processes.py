"""Processes of a contender: started, looked at from outside (CPU, memory), stopped or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stream_app.settings import Settings

REPOSITORY = Path(__file__).parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")
#: How long a contender may take to end when asked to, in seconds.
_STOP_S = 30.0


class Command(NamedTuple):
    """How to start one process: what it does in the contender, its arguments, what is added to the environment."""

    role: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


class Group:
    """The running processes of one contender."""

    def __init__(self, commands: Sequence[Command], log: Path) -> None:
        self._commands = commands
        self._log = log
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start()

    @property
    def roles(self) -> list[str]:
        """What each process does."""
        return [command.role for command in self._commands]

    def start(self) -> None:
        """Start all, each in a session of its own, so that a kill reaches its children."""
        for command in self._commands:
            with self._log.open("ab") as output:
                self.processes.append(
                    subprocess.Popen(
                        command.arguments,
                        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **command.environment},
                        stdout=output,
                        stderr=output,
                        cwd=REPOSITORY,
                        start_new_session=True,
                    )
                )

    def check(self) -> None:
        """Raise SystemExit if one has ended by itself."""
        for role, process in zip(self.roles, self.processes, strict=True):
            if process.poll() is not None:
                raise SystemExit(f"the {role} ended with {process.returncode}:\n{self.said()}")

    def said(self) -> str:
        """The end of what they wrote."""
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""

    def cpu_seconds(self) -> tuple[float, ...]:
        """User and system time of each process and its children so far."""
        return tuple(sum(map(cpu_seconds, tree(process.pid))) for process in self.processes)

    def memory_mib(self, field: str = "VmHWM") -> tuple[float, ...]:
        """Of each process and its children: the peak (`VmHWM`) or what is resident now (`VmRSS`)."""
        return tuple(sum(memory_mib(pid, field) for pid in tree(process.pid)) for process in self.processes)

    def kill(self) -> None:
        """SIGKILL, children included: a crash."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()

    def stop(self) -> None:
        """SIGTERM to all, SIGKILL to those that take too long."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()


def tree(pid: int) -> list[int]:
    """The process and all that descend from it; empty once it is gone."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += tree(int(child))
    return [pid, *found] if Path(f"/proc/{pid}").exists() else found


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, all its threads; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int, field: str) -> float:
    """A memory field of one process in MiB; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), 0.0)


def ours(verb: str, settings: Settings, *, worker_id: str = "", web_port: int = 0) -> Command:
    """One of our own processes, with the settings that differ from the defaults."""
    return Command(
        verb,
        (sys.executable, "-m", "stream_app", verb, "--web-port", str(web_port), "--log-level", "warning"),
        {
            "STREAM_APP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "STREAM_APP_REDIS_URL": settings.redis_url.get_secret_value(),
            "STREAM_APP_TOPIC_PREFIX": settings.topic_prefix,
            "STREAM_APP_PROCESSING_GUARANTEE": settings.processing_guarantee,
            "STREAM_APP_SESSION_GAP_MS": str(settings.session_gap_ms),
            "STREAM_APP_GRACE_MS": str(settings.grace_ms),
            "STREAM_APP_CACHE_VISITORS_MAX": str(settings.cache_visitors_max),
            "STREAM_APP_IDLE_AFTER_MS": str(settings.idle_after_ms),
            "STREAM_APP_WORKER_ID": worker_id,
        },
    )


def start(verb: str, settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    """Start one of our own processes, without the rest of the rig."""
    command = ours(verb, settings)
    with log.open("ab") as output:
        environment = {**os.environ, **command.environment}
        return subprocess.Popen(command.arguments, env=environment, stdout=output, stderr=output, cwd=REPOSITORY)


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """End processes of `start`; SystemExit if one did not end well."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    codes = [process.wait(_STOP_S) for process in processes]
    if any(codes):
        raise SystemExit(f"processes ended with {codes}")
