"""The Dockerfile: what a linter that reads it as Docker does has to say, and what must be so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import stream_app
from tests.deploy.compose import DOCKERFILE, REPOSITORY, image_health

LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


def test_it_is_a_dockerfile_and_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "-"], input=DOCKERFILE, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    broken = subprocess.run([hadolint, "-"], input=DOCKERFILE + "CDM x\n", capture_output=True, text=True, check=False)
    assert broken.returncode != 0


def test_it_runs_as_nobody_with_a_number_that_kubernetes_can_see() -> None:
    (user,) = re.findall(r"^USER (.*)$", LAST_STAGE, re.MULTILINE)
    assert user == "10001"
    assert f"--uid {user}" in LAST_STAGE


def test_every_base_is_pinned_and_the_python_is_one_that_we_support() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases), bases
    built, run = bases[1:]
    assert built == run, "a virtual environment is of one Python"
    version = re.findall(r"python:(\d+)\.(\d+)", run)[0]
    required = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["requires-python"]
    assert tuple(map(int, version)) >= tuple(map(int, required.removeprefix(">=").split(".")))


def test_compilers_stay_out_of_what_runs() -> None:
    assert re.findall(r"^COPY (.*)$", LAST_STAGE, re.MULTILINE) == ["--from=build /opt/venv /opt/venv"]


def test_its_health_check_is_ours_which_goes_by_the_settings() -> None:
    # tests/security/test_health.py runs it, and tests/deploy/test_every_command_runs.py does in every service.
    assert image_health() == ["stream-app", "health"]
    assert 'ENTRYPOINT ["stream-app"]' in LAST_STAGE


def test_the_extras_that_it_installs_exist() -> None:
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)


def test_what_it_is_built_from_is_let_through_and_nothing_else() -> None:
    let_through = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {source for line in copied for source in line.split()} == let_through
    assert all((REPOSITORY / source).exists() for source in let_through)


def test_all_that_the_package_needs_to_be_built_is_among_it() -> None:
    configured = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = configured["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)).split()
    assert {*packages, configured["project"]["readme"]} <= set(copied)
    assert Path(stream_app.__file__).is_relative_to(REPOSITORY / packages[0])
