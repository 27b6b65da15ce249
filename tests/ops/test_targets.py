"""Processes on one host say themselves where they are scraped: a file while they run, none when they have ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from stream_app.settings import Settings
from stream_app.targets import TargetFile


class _Web(NamedTuple):
    """Where a process would listen."""

    url: str


def _file(targets: Path, port: int, **settings: str) -> TargetFile:
    given = Settings(web_port=0, web_targets=str(targets), group_id="shop", **settings)  # type: ignore[arg-type]
    return TargetFile(given, _Web(f"http://127.0.0.1:{port}"), role="worker")


def _told(targets: Path) -> list[str]:
    """The targets of all files that Prometheus would read."""
    files = sorted(targets.glob("*.json"))
    return [target for file in files for entry in json.loads(file.read_text()) for target in entry["targets"]]


async def test_a_file_names_the_real_port_while_the_process_runs(tmp_path: Path) -> None:
    targets = tmp_path / "not" / "there yet"
    file = _file(targets, 41_001, worker_id="w1")
    await file.start()
    assert file.path.name == "shop-worker-w1.json"
    assert json.loads(file.path.read_text()) == [
        {"targets": ["127.0.0.1:41001"], "labels": {"group": "shop", "role": "worker"}}
    ]
    await file.stop()
    assert list(targets.iterdir()) == []


async def test_the_file_of_a_crash_is_replaced_by_the_next_start_of_its_name(tmp_path: Path) -> None:
    crashed, successor = (_file(tmp_path, port, worker_id="w1") for port in (41_001, 41_002))
    await crashed.start()
    await successor.start()
    assert _told(tmp_path) == ["127.0.0.1:41002"]
    # The one that was thought dead ends at last: the file is no longer its own.
    await crashed.stop()
    assert _told(tmp_path) == ["127.0.0.1:41002"]
    await successor.stop()
    assert _told(tmp_path) == []


async def test_processes_of_other_names_keep_out_of_each_others_way(tmp_path: Path) -> None:
    first, second = (_file(tmp_path, 41_000 + n, worker_id=f"w{n}") for n in (1, 2))
    await first.start()
    await second.start()
    assert _told(tmp_path) == ["127.0.0.1:41001", "127.0.0.1:41002"]
    await first.stop()
    assert _told(tmp_path) == ["127.0.0.1:41002"]
    await second.stop()


async def test_a_directory_that_cannot_be_written_to_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = _file(tmp_path / "file", 41_001)
    with pytest.raises(OSError, match=r"target file .*cannot be written .*--web-targets"):
        await file.start()
    await file.stop()
