"""Packages of npm for tests: installed by a lock file, once, and without running what packages bring to be run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.servers import UnavailableError, program

_REPOSITORY: Final = Path(__file__).parents[2]
_CACHE: Final = _REPOSITORY / ".cache" / "npm"

#: What is installed where: an example that is run, and the schemas of what describes our topics and our deployments.
NODE_EXAMPLE: Final = _REPOSITORY / "examples" / "nodejs_consumer"
ASYNCAPI_SPECS: Final = _REPOSITORY / "tests" / "schemas" / "asyncapi_specs"
DEPLOY_SPECS: Final = _REPOSITORY / "tests" / "deploy" / "specs"

#: In seconds: some megabytes, on a slow line.
_TIMEOUT_S: Final = 180.0
_FILES: Final = ("package.json", "package-lock.json")


def fetch_packages() -> None:
    """All of them, so that a slow line does not look like a slow test; UnavailableError as `installed`."""
    for project in (NODE_EXAMPLE, ASYNCAPI_SPECS, DEPLOY_SPECS):
        installed(project)


def installed(project: Path) -> Path:
    """A directory with a project's files and its packages beside them; the project's own stays as it is.

    Raises
    ------
    UnavailableError
        If this machine has no npm, or the packages cannot be had.
    """
    lock = project / "package-lock.json"
    directory = _CACHE / project.name
    # Compared with the copy beside the packages, which are renamed into place when they are complete.
    kept = directory / lock.name
    if not kept.exists() or kept.read_text() != lock.read_text():
        _install(project, directory)
    for file in project.iterdir():
        if file.is_file() and file.name not in _FILES:
            shutil.copy2(file, directory)
    return directory


def _install(project: Path, directory: Path) -> None:
    npm = program("npm", "apt-get install npm")
    # Into a directory of our own, then renamed: another test process may be at it at the same moment.
    fresh = directory.with_name(f"{directory.name}.{os.getpid()}")
    fresh.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copy2(project / name, fresh)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    try:
        done = subprocess.run(
            command, cwd=fresh, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise UnavailableError(f"npm could not fetch {project.name}'s packages: {done.stderr.strip()[-2000:]}")
        shutil.rmtree(directory, ignore_errors=True)
        fresh.rename(directory)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"npm did not fetch {project.name}'s packages within {_TIMEOUT_S:g} s") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
