"""What strangers install: wheels of this checkout, in an environment and a directory with nothing else in them."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
#: In seconds, each command: a registry has bad minutes.
PATIENCE_S: Final = 600


def build(directory: Path) -> Path:
    """Wheel and sdist into a directory, by the tools of this environment: nothing is fetched. The directory."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return directory


def build_native(directory: Path) -> Path:
    """The compiled engine's wheel likewise, which takes Rust."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory)]
    subprocess.run([*command, str(REPOSITORY / "native")], check=True, capture_output=True, timeout=PATIENCE_S)
    (wheel,) = directory.glob("stream_app_native-*.whl")
    return wheel


def wheel_of(built: Path) -> Path:
    """The one that `build` has left there."""
    (wheel,) = built.glob("stream_app-*.whl")
    return wheel


class Installation:
    """A new environment with wheels and what they need, and nothing else.

    Parameters
    ----------
    directory
        Where everything is started; it gets the environment, and commands may write to it.
    wheels
        The first one is ours, with `extras`, separated by commas.
    """

    def __init__(self, directory: Path, wheels: Sequence[Path], *, extras: str = "") -> None:
        self._directory = directory
        venv.create(directory / "venv", with_pip=True)
        self.python = directory / "venv" / "bin" / "python"
        first, *others = map(str, wheels)
        wanted = [f"{first}[{extras}]" if extras else first, *others]
        self.run(self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)

    @property
    def program(self) -> tuple[str, ...]:
        """`stream-app`, started in the directory wherever the caller is."""
        return "env", "-C", str(self._directory), str(self.python.with_name("stream-app"))

    def says(self, *words: str) -> str:
        """What `stream-app` with these words writes to its standard output."""
        return self.run(*self.program, *words)

    def run(self, *command: str | Path) -> str:
        """What a command says that has nothing of this repository or its settings around it."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._directory), **_proxies()}
        done = subprocess.run(
            [str(word) for word in command], cwd=self._directory, env=environment, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _proxies() -> dict[str, str]:
    """How pip gets out of here, where it has to be told."""
    told = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    return {name: value for name, value in os.environ.items() if name.upper().startswith(told)}
