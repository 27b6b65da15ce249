"""Where a replay was stopped, as another version noted it: refused with words that help, and left as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producers.replay_state import ReplayState, StateFile
from producers.source_error import SourceError


@pytest.mark.parametrize("later", [{"version": 2}, {"version": 2, "field_of_later_times": 1}], ids=["as ours", "other"])
def test_a_later_versions_place_in_a_replay_is_refused_and_kept(tmp_path: Path, later: dict[str, Any]) -> None:
    path = tmp_path / "export.state"
    StateFile(path).write(ReplayState(now_ms=1, same={}, files=[]))
    path.write_text(json.dumps({**json.loads(path.read_text()), **later}))
    before = path.read_bytes()
    with pytest.raises(SourceError, match=r"got version 2, expected 1; go on with the program that wrote it"):
        StateFile(path).read()
    assert path.read_bytes() == before
