"""ops/systemd is what systemd understands, and each unit has the rights of all: few."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stream_app.settings import load
from tests.deploy.units import COMMON, INSTALLED, UNITS, lines, roles, services
from tests.support.fixtures import skip_or_fail
from tests.support.unavailable import UnavailableError, program


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as on a machine that has the program."""
    directory = tmp_path / "units"
    shutil.copytree(UNITS, directory)
    here = directory / "stream-app"
    here.write_text("#!/bin/sh\n")
    here.chmod(0o755)
    for path in directory.glob("*.service"):
        path.write_text(path.read_text().replace(INSTALLED, str(here)))
    return directory


def analysed(directory: Path, *arguments: str) -> str:
    """What `systemd-analyze` says of all units there."""
    try:
        analyze = program("systemd-analyze", "apt-get install systemd")
    except UnavailableError as reason:
        skip_or_fail(reason)
    units = [str(path).replace("@.service", "@1.service") for path in sorted(directory.glob("*.service"))]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:"}
    done = subprocess.run(
        [analyze, *arguments, *units], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    return done.stdout


def test_systemd_has_nothing_to_say(installed: Path) -> None:
    assert analysed(installed, "verify", "--man=no") == ""


def test_a_mistyped_line_would_be_told(installed: Path) -> None:
    common = installed / COMMON.relative_to(UNITS)
    common.write_text(common.read_text().replace("ProtectClock=", "ProtectClok="))
    assert "Unknown key 'ProtectClok'" in analysed(installed, "verify", "--man=no")


def test_each_unit_is_exposed_less_than_two_of_ten(installed: Path) -> None:
    told = analysed(installed, "security", "--offline=true", "--no-pager")
    levels = [float(level) for level in re.findall(r"Overall exposure level for \S+: (\S+) ", told)]
    assert len(levels) == len(services())
    assert max(levels) < 2.0


def test_settings_are_settings_and_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "snapshot_key").write_text("given")
    for role in roles("1").values():
        with monkeypatch.context() as patch:
            for name, value in role.environment.items():
                if name.startswith("STREAM_APP_"):
                    patch.setenv(name, value.replace("%d", str(tmp_path)))
            assert load().snapshot_key.get_secret_value() == "given"


def test_secrets_that_a_setting_names_are_handed_in() -> None:
    for path in services():
        said = [*lines(path), *lines(COMMON)]
        named = {name for _, value in said for name in re.findall(r"%d/(\w+)", value)}
        assert named == {value.split(":")[0] for name, value in said if name == "LoadCredential"}, path.name


def test_no_two_processes_of_one_machine_take_the_same_port() -> None:
    ports = [port for role in roles("1").values() for port in role.ports]
    assert len(ports) == len(set(ports))


def test_all_start_with_the_target() -> None:
    for path in services():
        assert ("WantedBy", "stream-app.target") in lines(path)
        assert ("PartOf", "stream-app.target") in lines(path)
