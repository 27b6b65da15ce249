"""Several workers on one host, a process each: Python computes on one core, and partitions share nothing anyway.

    parent ─► worker 0   web port P       \
           ─► worker 1   web port P + 1    ├ members of one group, as workers on N hosts would be
           ─► …                           /

The parent only watches. A worker that ends by itself is started again, after a pause that doubles up to half a minute:
meanwhile the others have its partitions. Who asks the parent to stop asks all of them, and all of them stop when it has
been killed (Linux).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from stream_app.backends.child_process import launched
from stream_app.log_lines import Line

#: First and longest pause before a worker is started again, in seconds, …
_RETRY_S: Final = 1.0
_RETRY_S_MAX: Final = 30.0
#: … and how long one has to have run for the pause to be the first one again.
_FINE_S: Final = 60.0

#: What workers may take to stop, in seconds: each gives itself eight for what is in flight, and leaves the group then.
_STOP_S_MAX: Final = 20.0

#: An exit code of a first start that every other one would have as well.
_ASKED_WRONGLY: Final = 2

#: One that Python had not brought so far that it heeds signals is ended by ours: it had begun nothing.
_ENDED_WELL: Final = frozenset({0, -signal.SIGTERM})

_WATCHED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
_LOG: Final = logging.getLogger("stream_app")


class _Worker:
    """One of them, over all its starts. Times are monotonic, in seconds."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self._number, self._command = number, command
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self.due = 0.0
        self.starts = 0
        self._pause = _RETRY_S

    @property
    def running(self) -> bool:
        """As far as is known: `ended` finds out."""
        return self._process is not None

    def start(self) -> None:
        """Begin; put off where the host has no room for another process: it may have been ended for that."""
        self._started = time.monotonic()
        self.starts += 1
        try:
            # A session of its own: a Ctrl-C in the terminal reaches the parent alone, which asks in its turn.
            self._process = subprocess.Popen(
                launched(self._command, at_our_death=signal.SIGTERM), stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            self._put_off()
            self.tell(error.errno or 1)

    def ended(self) -> int | None:
        """The exit code if it has just ended; it is due again after a pause."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return None
        self._put_off()
        return code

    def _put_off(self) -> None:
        now = time.monotonic()
        pause = _RETRY_S if now - self._started > _FINE_S else self._pause
        self._process, self.due, self._pause = None, now + pause, min(2 * pause, _RETRY_S_MAX)

    def tell(self, code: int) -> None:
        """Of one that was not asked to end."""
        again_s = round(self.due - time.monotonic(), 1)
        _LOG.error(Line("worker_ended", process=self._number, code=code, again_in_s=again_s))

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class WorkerProcesses:
    """Runs `command(number)` in `count` processes until asked to stop."""

    def __init__(self, count: int, command: Callable[[int], Sequence[str]]) -> None:
        self._workers = [_Worker(number, command(number)) for number in range(count)]

    def run(self) -> int:
        """The exit code: 0 when asked to stop and all did, 2 if a worker refuses what was asked, else 1."""
        signals = _Signals()
        before = {number: signal.signal(number, lambda *_: None) for number in _WATCHED}
        try:
            while True:
                self._start_due()
                asked = signals.wait(self._until_due())
                for worker in self._workers:
                    if (code := worker.ended()) is None:
                        continue
                    # Of a later start it says that a file was being changed just then.
                    if code == _ASKED_WRONGLY and worker.starts == 1:
                        self._stop(signals)
                        return _ASKED_WRONGLY
                    if not asked:
                        worker.tell(code)
                if asked:
                    return self._stop(signals)
        finally:
            for worker in self._workers:
                worker.kill()
            signals.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start_due(self) -> None:
        for worker in self._workers:
            if not worker.running and worker.due <= time.monotonic():
                worker.start()

    def _until_due(self) -> float | None:
        due = [worker.due for worker in self._workers if not worker.running]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _stop(self, signals: _Signals) -> int:
        """Ask all of them; 0 if each ended well, and in time."""
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S_MAX
        codes: list[int] = []
        while any(worker.running for worker in self._workers) and (left := deadline - time.monotonic()) > 0:
            signals.wait(min(left, 1.0))
            codes += [code for worker in self._workers if (code := worker.ended()) is not None]
        return int(any(worker.running for worker in self._workers) or any(code not in _ENDED_WELL for code in codes))


class _Signals:
    """Those that have come, read from a pipe: nothing comes between looking and waiting."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def wait(self, timeout_s: float | None) -> bool:
        """Until one comes, or for so long; whether one of them asks to stop."""
        select.select([self._read], [], [], timeout_s)
        try:
            found = os.read(self._read, 4096)
        except BlockingIOError:
            return False
        return any(number != signal.SIGCHLD for number in found)

    def close(self) -> None:
        signal.set_wakeup_fd(self._before)
        os.close(self._read)
        os.close(self._write)
