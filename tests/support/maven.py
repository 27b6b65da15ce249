"""What Maven fetches for tests: into a directory of .cache/, once, and whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.unavailable import UnavailableError, program

#: In seconds: a first download takes about 10 s on a good line.
_TIMEOUT_S: Final = 300.0
#: Written last, so that a half-made copy is made again; holds the pom it was made from.
_COMPLETE: Final = "complete"


def fetch(pom: Path, directory: Path, *, goal: str, what: str, properties: Mapping[str, str] = {}) -> None:
    """Run a goal of Maven's dependency plugin on a pom into a directory; nothing to do if that was done.

    `properties` overrule those of the pom: whoever gives other ones names another directory.

    Raises
    ------
    UnavailableError
        If this machine has no Maven, or it cannot fetch them.
    """
    text = pom.read_text()
    if _fetched(directory, text):
        return
    maven = program("mvn", "apt-get install maven")
    # Into a directory of our own, then renamed: another test run may be fetching at the same moment.
    fresh = directory.with_name(f"{directory.name}.{os.getpid()}")
    # What was unpacked is noted there as well: beside the pom it would say so of every later directory.
    into = [f"-DoutputDirectory={fresh}", f"-DmarkersDirectory={fresh}/.markers"]
    given = [f"-D{name}={value}" for name, value in properties.items()]
    command = [maven, "-q", "-B", "-ntp", "-f", str(pom), f"dependency:{goal}", *into, *given]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise UnavailableError(f"Maven could not fetch {what}: {done.stdout.strip()[-2000:]}")
        (fresh / _COMPLETE).write_text(text)
        if not _fetched(directory, text):
            shutil.rmtree(directory, ignore_errors=True)
            fresh.rename(directory)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"Maven did not fetch {what} within {_TIMEOUT_S:g} s") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fetched(directory: Path, text: str) -> bool:
    complete = directory / _COMPLETE
    return complete.exists() and complete.read_text() == text
