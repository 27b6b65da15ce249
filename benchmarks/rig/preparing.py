"""What the other contenders need, made once into .cache/: a Python environment of theirs, and the JVM's classes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.rig.processes import REPOSITORY

_CACHE: Final = REPOSITORY / ".cache"
_ENVIRONMENT: Final = _CACHE / "contenders"
_REQUIREMENTS: Final = REPOSITORY / "benchmarks" / "contenders" / "requirements.txt"
_MAVEN_PROJECT: Final = REPOSITORY / "benchmarks" / "kafka_streams"
CONTENDERS_PYTHON: Final = _ENVIRONMENT / "bin" / "python"
JAVA_TARGET: Final = _CACHE / "kafka_streams"
#: Written last: what the copy was made from.
_COMPLETE: Final = "complete"


def prepare_python() -> str:
    """Make the contenders' environment unless it is there; why it could not be made, or nothing."""
    wanted = _REQUIREMENTS.read_text()
    if _is_complete(_ENVIRONMENT, wanted):
        return ""
    print(f"installing the contenders into {_ENVIRONMENT}", file=sys.stderr, flush=True)
    venv.create(_ENVIRONMENT, clear=True, with_pip=True)
    pip = [str(CONTENDERS_PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    if problem := _run([*pip, "-r", str(_REQUIREMENTS)]):
        return problem
    (_ENVIRONMENT / _COMPLETE).write_text(wanted)
    return ""


def prepare_java() -> str:
    """Compile the Kafka Streams contender unless that is done; why it could not be, or nothing."""
    wanted = "".join(path.read_text() for path in sorted(_MAVEN_PROJECT.rglob("*")) if path.suffix in (".xml", ".java"))
    if _is_complete(JAVA_TARGET, wanted):
        return ""
    for name in ("java", "mvn"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    print(f"compiling Kafka Streams' contender into {JAVA_TARGET}", file=sys.stderr, flush=True)
    maven = ["mvn", "-q", "-B", "-ntp", "-f", str(_MAVEN_PROJECT / "pom.xml"), f"-Dbench.target={JAVA_TARGET}"]
    if problem := _run([*maven, "package"]):
        return problem
    (JAVA_TARGET / _COMPLETE).write_text(wanted)
    return ""


def _is_complete(directory: Path, wanted: str) -> bool:
    mark = directory / _COMPLETE
    return mark.exists() and mark.read_text() == wanted


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{command[0]} failed: {(done.stdout + done.stderr).strip()[-1500:]}"
