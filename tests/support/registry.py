"""A real schema registry with Confluent's API: Apicurio, from Maven, its data in a file so that a kill loses none."""

from __future__ import annotations

import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream_app.backends.child_process import ChildProcess, ServerError, free_port
from tests.support.maven import fetch
from tests.support.unavailable import program

VERSION: Final = "2.6.13.Final"
_POM: Final = Path(__file__).parent / "registry_jars" / "pom.xml"
#: Ignored by git: 146 MB, unpacked.
_DIRECTORY: Final = Path(__file__).parents[2] / ".cache" / f"registry-{VERSION}"
#: In seconds: up in 7 s on an idle machine.
_START_S: Final = 120.0
_PORT_ATTEMPTS: Final = 3
_API: Final = "/apis/ccompat/v7"


def fetch_registry() -> None:
    """Unpack it into .cache/, once; UnavailableError when that cannot be done."""
    fetch(_POM, _DIRECTORY, goal="unpack-dependencies", what="the schema registry")


class RealRegistry:
    """One registry on loopback.

    Raises UnavailableError from `start` when Java or Maven is missing or it cannot be fetched, ServerError when it does
    not come up.
    """

    def __init__(self) -> None:
        self._child: ChildProcess | None = None
        self._directory: Path | None = None
        #: with the path of the API; empty before `start`
        self.url = ""

    def start(self) -> Self:
        """Run it until it answers."""
        java = program("java", "apt-get install default-jre-headless")
        fetch_registry()
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._directory = Path(tempfile.mkdtemp(prefix="stream-app-registry-"))
            port = free_port()
            self.url = f"http://127.0.0.1:{port}{_API}"
            self._child = ChildProcess("the schema registry", self._command(java, port))
            try:
                self.restart()
                break
            except ServerError:
                self.stop()
                if attempt == _PORT_ATTEMPTS:
                    raise
        return self

    def kill(self) -> None:
        """SIGKILL it and keep its data: a crash. `restart` brings it back."""
        assert self._child is not None
        self._child.kill()

    def restart(self) -> None:
        """Run it again, on the same port and data."""
        assert self._child is not None
        self._child.start(self._answers, timeout_s=_START_S)

    def stop(self) -> None:
        """End it and remove its data; harmless when already stopped."""
        child, self._child = self._child, None
        directory, self._directory = self._directory, None
        try:
            if child is not None:
                child.stop()
        finally:
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)

    def _command(self, java: str, port: int) -> list[str]:
        # Its database is one in memory unless told; a write is in the file before it is answered, as production's is.
        database = f"jdbc:h2:file:{self._directory}/registry;WRITE_DELAY=0"
        return [
            java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}",
            "-Dquarkus.log.level=WARN", f"-Dquarkus.datasource.jdbc.url={database}",
            f"-Dregistry.datasource.url={database}",
            "-jar", str(_DIRECTORY / f"apicurio-registry-app-{VERSION}-runner.jar"),
        ]  # fmt: skip

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/schemas/types", timeout=5.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
