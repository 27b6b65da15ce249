"""An example in a process of its own, and the lines that it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from stream_app.settings import Settings

#: In seconds, to start, join and read a few thousand records; the suite's own limit is above it.
_PATIENCE_S: Final = 60.0
#: In seconds: how long to look whether more comes than should.
_QUIET_S: Final = 1.0


class Example:
    """Ended by its pid, whatever happens.

    With `bytes_max` it prints into a file that takes no more: what is to be printed beyond that is an error in its
    work. What the file holds was done; of a pipe that is closed nobody knows what was still in it.
    """

    def __init__(
        self, command: Sequence[str], *, directory: Path, settings: Settings, group: str, bytes_max: int | None = None
    ) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("STREAM_APP_")}
        environment |= {
            "STREAM_APP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "STREAM_APP_TOPIC_PREFIX": settings.topic_prefix,
            "GROUP": group,
        }
        # Not a pipe: nobody reads it while the example runs, and a full one would stop it.
        with tempfile.NamedTemporaryFile(prefix=f"{group}-", suffix=".log", delete=False) as log:
            self._log = Path(log.name)
            self._printed = Path(f"{log.name}.printed")
            with self._printed.open("wb") as printed:
                self._child = subprocess.Popen(
                    command if bytes_max is None else ["prlimit", f"--fsize={bytes_max}", *command],
                    cwd=directory,
                    env=environment,
                    stdout=subprocess.PIPE if bytes_max is None else printed,
                    stderr=log,
                    text=True,
                )
        #: what it wrote to stderr, once it has ended
        self.said = ""
        self.lines: list[tuple[str, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        self._reader.join()
        self._log.unlink()
        self._printed.unlink()

    def until_read(self, lines: int) -> None:
        """Wait until it has printed so many lines, and a little longer for those that should not come."""
        deadline = time.monotonic() + _PATIENCE_S
        while len(self.lines) < lines:
            assert self._child.poll() is None, f"ended with {self._child.returncode}: {self._log.read_text()}"
            assert time.monotonic() < deadline, f"got {len(self.lines)} of {lines} lines: {self._log.read_text()}"
            time.sleep(0.05)
        time.sleep(_QUIET_S)

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self._child.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        code = self._child.wait(_PATIENCE_S)
        self._reader.join()
        self.said = self._log.read_text()[-4000:]
        return code

    def _read(self) -> None:
        if self._child.stdout is None:
            self._child.wait()
            # Without its end a line was not printed.
            self._take(line for line in self._printed.read_text().splitlines(keepends=True) if line.endswith("\n"))
        else:
            with self._child.stdout as output:
                self._take(output)

    def _take(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.startswith("{"):
                told = json.loads(line)
                self.lines.append((told["topic"], told["id"]))
