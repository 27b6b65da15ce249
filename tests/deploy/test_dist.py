"""What is installed from a wheel is what is here: all files, all commands, all extras."""

from __future__ import annotations

import email
import json
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from stream_app import __version__
from tests.deploy.installation import Installation, build, wheel_of

REPOSITORY = Path(__file__).parents[2]
CONFIGURED = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PACKAGES = CONFIGURED["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
#: What no user installs: servers, tools, and the plots of benchmarks and notebook.
OF_DEVELOPERS = {"bench", "dev", "docs", "notebook"}
EXTRAS = sorted(set(CONFIGURED["project"]["optional-dependencies"]) - OF_DEVELOPERS)

#: Imports every module; what needs an extra is there, or is told.
_IMPORT_ALL = """
import importlib, pkgutil, sys
import producers, stream_app
for package in (stream_app, producers):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(("__main__", "_app", ".app")):
            importlib.import_module(module.name)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist."""
    return build(tmp_path_factory.mktemp("dist"))


def in_git(directory: str) -> set[str]:
    """Files that are there and that git does not ignore."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", directory]
    done = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split() if (REPOSITORY / name).exists()}


def test_the_wheel_has_every_file_of_the_packages_and_no_other(built: Path) -> None:
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == set().union(*(in_git(package) for package in PACKAGES))
    # Not only Python: scripts of Redis, policies, pages.
    assert {".lua", ".toml", ".html", ".js", ".css"} <= {Path(name).suffix for name in names}


def test_it_says_its_version_its_licence_and_what_it_needs(built: Path) -> None:
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        told = email.message_from_bytes(wheel.read(name))
    assert told["Version"] == __version__
    assert told["License-Expression"] == "Apache-2.0"
    assert set(told.get_all("Provides-Extra", [])) == set(CONFIGURED["project"]["optional-dependencies"])


def test_the_sdist_has_what_the_wheel_is_built_from_and_the_tests(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set().union(*(in_git(directory) for directory in (*PACKAGES, "tests", "docs", "native"))) <= names
    assert {"README.md", "pyproject.toml", "Makefile", "CHANGELOG.md"} <= names


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_it_works_in_an_empty_environment_with_each_extra_alone(built: Path, tmp_path: Path, extra: str) -> None:
    installed = Installation(tmp_path, [wheel_of(built)], extras=extra)
    assert installed.says("--version").split()[-1] == __version__
    settings = json.loads(installed.says("settings", "--json"))
    assert {entry["source"] for entry in settings} == {"default"}
    for command in (["discounts", "check"], ["topics", "--help"], ["models"], ["features"]):
        assert installed.says(*command)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_with_all_extras_every_module_is_imported_and_the_demo_runs(built: Path, tmp_path: Path) -> None:
    installed = Installation(tmp_path, [wheel_of(built)], extras=",".join(EXTRAS))
    installed.run(installed.python, "-W", "ignore", "-c", _IMPORT_ALL)
    assert json.loads(installed.says("demo", "--events", "500", "--json"))
