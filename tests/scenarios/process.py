"""One process of a deployment: asked, killed, paused, and read: its log, readiness and metrics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: A readiness or metrics page answers at once or not at all, in seconds.
_WEB_S: Final = 3.0
#: How long stopping may take before the test fails, in seconds: the hand-over's own bounds are below it.
_STOP_S: Final = 25.0


class Process:
    """`stream-app <verb>` as a child. Everything is by its own pid."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], *, port: int, log: Path) -> None:
        self.name, self.port, self.log = name, port, log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, cwd=Path(__file__).parents[2]
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; below zero when a signal ended it."""
        return self._child.poll()

    # ---- what may happen to it --------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL, also when paused: nothing of it runs any more afterwards."""
        self._child.kill()
        self._child.wait()

    def pause(self) -> None:
        """SIGSTOP: its connections stay open, its clock goes on."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self._child.send_signal(signal.SIGTERM)

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.ask_to_stop()
        return self.wait()

    def wait(self, seconds: float = _STOP_S) -> int:
        """Its exit code, once it has ended; subprocess.TimeoutExpired when it does not."""
        return self._child.wait(seconds)

    # ---- what a person sees of it -----------------------------------------------------------------------------------

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; status 0 when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=_WEB_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> tuple[bool, str]:
        """Readiness and its words; not ready while nothing answers."""
        status, body = self.get("/readyz")
        if status == 0:
            return False, body
        components = json.loads(body)["components"]
        return status == 200, "; ".join(words["is"] for words in components.values())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that carry the labels; 0 when there is none."""
        _, text = self.get("/metrics")
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in found if all(text in line for text in wanted))


def wait_for(what: str, condition: Callable[[], object], *, seconds: float) -> float:
    """Wait until the condition holds; the seconds that took. Runs in a thread where an event loop must go on."""
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < seconds, f"waited {waited:.1f} s for {what}"
        time.sleep(0.05)
    return time.monotonic() - started
