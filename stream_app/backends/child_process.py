"""A server run as a child that never outlives us: stopped by pid, at exit at the latest, and killed when we are killed.

Theory of operation. The command is started through a short launcher that asks the kernel for SIGKILL at the parent's
death (`PR_SET_PDEATHSIG`, Linux), then becomes the command (`execv`), so the pid is the server's own. A `preexec_fn`
would do the same but is unsafe beside the threads of librdkafka, and Python 3.12 warns about it. The child gets a
session of its own: a Ctrl-C in the terminal reaches only us, and we stop the server after the work in flight is done.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final, Self

#: Sets the death signal, exits where the parent died before that took effect (pid changed), becomes the command.
#: argv: the signal, the parent's pid, then the command.
_LAUNCHER: Final = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, int(sys.argv[1]), 0, 0, 0)
    if os.getppid() != int(sys.argv[2]):
        sys.exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""
#: Between two looks at whether the server is up, in seconds: Valkey needs 20 ms, Kafka 3 s.
_POLL_S: Final = 0.02


class ServerError(RuntimeError):
    """A server could not be started; the text says which, why and what to do. Trying again as it is will not help."""


class ChildProcess:
    """One server process.

    Start it from a thread that lives as long as the server should: Linux counts the end of the starting *thread* as the
    parent's death.

    Parameters
    ----------
    name
        For error messages.
    command
        Absolute path of the program and its arguments.
    stop_signal
        Asks the server to end; SIGKILL follows after `stop_timeout_s`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout_s: float = 5.0,
    ) -> None:
        self._name = name
        self._command = tuple(command)
        self._env = env
        self._stop_signal = stop_signal
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's own process id; RuntimeError when it is not running."""
        if self._process is None:
            raise RuntimeError(f"{self._name} has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive now."""
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], bool], *, timeout_s: float = 10.0) -> Self:
        """Start and wait until `ready()`; ServerError, with the server's last words, when it ends or is too slow."""
        if self.running:
            return self
        # An unlinked file: a pipe that nobody reads would block the server, a named file would be left behind.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        self._process = subprocess.Popen(
            launched(self._command, at_our_death=signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=self._env,
        )
        atexit.register(self.stop)
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                # In this order: another program that took the port would answer in place of a child that has ended.
                answers = ready()
                if self._process.poll() is not None:
                    raise ServerError(f"{self._name} ended with code {self._process.returncode}: {self.last_words()}")
                if answers:
                    break
                if time.monotonic() > deadline:
                    raise ServerError(f"{self._name} was not ready within {timeout_s:g} s: {self.last_words()}")
                time.sleep(_POLL_S)
        except BaseException:  # Ctrl-C included: nothing may stay behind
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ask, wait, kill; harmless when already stopped."""
        process, self._process = self._process, None
        atexit.unregister(self.stop)
        try:
            if process is not None and process.poll() is None:
                process.send_signal(self._stop_signal)
                try:
                    process.wait(self._stop_timeout_s)
                except subprocess.TimeoutExpired:
                    process.kill()
        finally:
            if process is not None:
                # A second Ctrl-C may have cut the wait above short: kill, never leave.
                if process.poll() is None:
                    process.kill()
                process.wait()
            if self._output is not None:
                self._output.close()
                self._output = None

    def kill(self) -> None:
        """SIGKILL, as a crash would: for fault tests. `start` works again afterwards."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.stop()

    def last_words(self) -> str:
        """The last 2,000 characters that the server wrote."""
        if self._output is None:
            return ""
        # pread: the file position is shared with the child, moving it would make it write over its own words.
        descriptor = self._output.fileno()
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, 2_000, max(0, size - 2_000)).decode(errors="replace").strip()
        return text or "(it said nothing)"


def launched(command: Sequence[str], *, at_our_death: signal.Signals) -> list[str]:
    """The command, behind a launcher by which the kernel sends it that signal when this thread has ended."""
    asked = (str(int(at_our_death)), str(os.getpid()))
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, *asked, *command]


def free_port() -> int:
    """A loopback TCP port nobody listens on now; another program may take it first, so be ready to try again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_answers(port: int) -> bool:
    """Whether something listens on the loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
