"""A compiled engine that was built from another version would fold as that version did: told before anything starts."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stream_app import __version__

OTHER = "0.0.9"
REFUSAL = rf"version {re.escape(OTHER)}, expected {re.escape(__version__)}"


def test_a_compiled_engine_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stream_app_native", SimpleNamespace(__version__=OTHER))
    spec = importlib.util.find_spec("stream_app.core.native")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.native is None
    assert module.engine("python") is None
    for name in ("auto", "compiled"):
        with pytest.raises(ImportError, match=REFUSAL):
            module.engine(name)


@pytest.mark.parametrize(
    "command", [("stream_app", "demo", "--events", "1"), ("faust", "-A", "stream_app.faust_app", "worker")]
)
def test_who_would_start_with_it_is_told_in_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "stream_app_native.py").write_text(f"__version__ = {OTHER!r}\n", "utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "STREAM_APP_ENGINE": "auto"}
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert re.search(REFUSAL, ended.stderr)
    assert "Traceback" not in ended.stderr
