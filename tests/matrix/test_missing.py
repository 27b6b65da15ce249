"""A version that is not here: in CI a failure where it could be had, a gap in the table where it could not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.matrix import table, trying
from tests.matrix.interpreters import NotToBeHadError, interpreter
from tests.matrix.supported import Row
from tests.matrix.trying import attempt
from tests.support.unavailable import UnavailableError

THIS = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of PATH, with nothing in it, and no pyenv."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    return tmp_path


def _put(path: Path, name: str, script: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(f"#!/bin/sh\n{script}\n")
    (path / name).chmod(0o755)


def test_a_python_on_path_is_taken_if_it_runs_and_is_of_the_version(path: Path) -> None:
    _put(path, f"python{THIS}", f'exec {sys.executable} "$@"')
    assert interpreter(THIS) == str(path / f"python{THIS}")


def test_a_shim_that_does_not_run_is_passed_over_for_what_pyenv_has(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(path, f"python{THIS}", "exit 127")
    kept = tmp_path / "pyenv" / "versions" / f"{THIS}.99" / "bin"
    _put(kept, "python", f'exec {sys.executable} "$@"')
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert interpreter(THIS) == str(kept / "python")


@pytest.mark.parametrize("in_ci", [False, True])
def test_a_python_that_is_nowhere_is_a_gap_that_the_table_tells(path: Path, in_ci: bool) -> None:
    with pytest.raises(NotToBeHadError):
        interpreter("3.98")
    outcome = _attempt("3.98", in_ci=in_ci)
    assert outcome.skipped
    assert "**not tried**: no Python 3.98 here" in table._line(outcome.row, outcome)


@pytest.mark.parametrize("in_ci", [False, True])
def test_a_python_that_apt_has_is_a_failure_in_ci(path: Path, in_ci: bool) -> None:
    _put(path, "apt-cache", 'test "$*" = "show python3.98-venv"')
    with pytest.raises(UnavailableError, match=r"apt-get install python3\.98 python3\.98-venv"):
        interpreter("3.98")
    assert _attempt("3.98", in_ci=in_ci).skipped != in_ci


def _attempt(version: str, *, in_ci: bool) -> trying.Outcome:
    return attempt(Row("Python", version), in_ci=in_ci)
