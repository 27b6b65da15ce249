"""Where a Python of a version is: on PATH, in pyenv, or nowhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.unavailable import UnavailableError

#: Says its version, and fails where it could not make an environment (Debian's python3-venv is a package of its own).
_ASK: Final = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
_ANSWER_S: Final = 60.0


class NotToBeHadError(UnavailableError):
    """No such Python here, and none that apt could install: a gap, said aloud, and no failure."""


def interpreter(version: str) -> str:
    """The path of a Python of that version (such as `3.12`) that runs and can make environments.

    Raises
    ------
    NotToBeHadError
        If there is none, and nothing to install it from.
    UnavailableError
        If there is none, but apt would have it.
    """
    for candidate in _candidates(version):
        if _says(candidate) == version:
            return candidate
    if _apt_has(version):
        raise UnavailableError(f"no Python {version} runs here (apt-get install python{version} python{version}-venv)")
    raise NotToBeHadError(f"no Python {version} here: not on PATH, not in pyenv, and apt has none")


def _candidates(version: str) -> Iterator[str]:
    # A shim of pyenv's may be on PATH for every version, and run none but the chosen one.
    if found := shutil.which(f"python{version}"):
        yield found
    root = os.environ.get("PYENV_ROOT") or _pyenv_root()
    if root:
        kept = Path(root, "versions").glob(f"{version}.*/bin/python")
        yield from map(str, sorted(kept, key=lambda path: [int(part) for part in re.findall(r"\d+", str(path))]))


def _pyenv_root() -> str | None:
    pyenv = shutil.which("pyenv")
    if pyenv is None:
        return None
    return subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout.strip() or None


def _says(candidate: str) -> str | None:
    try:
        said = subprocess.run(
            [candidate, "-I", "-c", _ASK], capture_output=True, text=True, timeout=_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() if said.returncode == 0 else None


def _apt_has(version: str) -> bool:
    apt = shutil.which("apt-cache")
    if apt is None:
        return False
    show = [apt, "show", f"python{version}-venv"]
    return subprocess.run(show, capture_output=True, check=False).returncode == 0
