"""An environment per Python: installed once, kept in .cache/, made anew when what belongs into it has changed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from tests.matrix.interpreters import interpreter
from tests.support.unavailable import UnavailableError, program

_REPOSITORY: Final = Path(__file__).parents[2]
CACHE: Final = _REPOSITORY / ".cache" / "matrix"
#: Of the development tools, those that the tests of a row import; the versions are pyproject's.
_TOOLS: Final = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout")
#: In seconds: a hundred megabytes, on a slow line; a compilation on a busy machine.
_INSTALL_S: Final = 900.0
_NATIVE_SOURCES: Final = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "src/**/*.rs")
#: Written last, so that a half-made environment is made again; holds what was installed.
_COMPLETE: Final = "complete"


def environment(version: str) -> Path:
    """The Python of an environment with the product, its compiled engine and what its tests need.

    Raises
    ------
    UnavailableError
        If there is no such Python (`NotToBeHadError` when none can be had), no Rust, or something cannot be fetched.
    """
    directory = CACHE / f"python-{version}"
    base, wheel = interpreter(version), _native_wheel()
    given = ["--editable", f"{_REPOSITORY}[demo]", *_tools(), str(wheel)]
    wanted = "\n".join([*_requirements(), *given])
    python = directory / "bin" / "python"
    complete = directory / _COMPLETE
    if complete.exists() and complete.read_text() == wanted and _runs(python):
        return python
    _run([base, "-m", "venv", "--clear", str(directory)], f"an environment of Python {version}")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    # Python compiles what is imported, which is a third of all that is installed.
    pip.append("--no-compile")
    _run([*pip, *given], f"what the tests need on Python {version}")
    complete.write_text(wanted)
    return python


def _native_wheel() -> Path:
    """The compiled engine, built once for all: its interface to Python is the stable one (abi3)."""
    native = _REPOSITORY / "native"
    digest = hashlib.sha256()
    for source in sorted(path for pattern in _NATIVE_SOURCES for path in native.glob(pattern)):
        digest.update(source.read_bytes())
    directory = CACHE / f"native-{digest.hexdigest()[:12]}"
    if not (kept := list(directory.glob("*-abi3-*.whl"))):
        program("cargo", "apt-get install cargo-web")
        for former in CACHE.glob("native-*"):
            shutil.rmtree(former)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel", "--no-deps"]
        fresh = directory.with_name(f"{directory.name}.{os.getpid()}")
        _run([*pip, "--wheel-dir", str(fresh), str(native)], "the compiled engine")
        fresh.rename(directory)
        kept = list(directory.glob("*-abi3-*.whl"))
    return kept[0]


def _requirements() -> list[str]:
    project = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["demo"]]


def _tools() -> list[str]:
    project = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[^\w.-]", text, maxsplit=1)[0]: text for text in project["optional-dependencies"]["dev"]}
    return [named[name] for name in _TOOLS]


def _runs(python: Path) -> bool:
    return python.exists() and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{what} was not there within {_INSTALL_S:g} s") from None
    if done.returncode != 0:
        raise UnavailableError(f"{what} could not be had: {(done.stdout + done.stderr).strip()[-2000:]}")
