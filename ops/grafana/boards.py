"""All dashboards, and the files that they are committed as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from ops.grafana.discounting import DISCOUNTING
from ops.grafana.drawing import draw
from ops.grafana.intent import INTENT
from ops.grafana.operations import OPERATIONS
from ops.grafana.panel import Board
from ops.grafana.shop import SHOP

FOLDER: Final = Path(__file__).parent / "dashboards"

BOARDS: Final[tuple[Board, ...]] = (OPERATIONS, INTENT, SHOP, DISCOUNTING)


def files() -> dict[Path, str]:
    """Path → JSON text of each dashboard."""
    return {
        FOLDER / f"{board.uid}.json": json.dumps(draw(board), cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"
        for board in BOARDS
    }
