"""The committed dashboards as a reader of their JSON sees them: panels, and queries as Grafana would send them."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

REPOSITORY: Final = Path(__file__).parents[2]
GRAFANA: Final = REPOSITORY / "ops" / "grafana"

#: File name → dashboard.
DASHBOARDS: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}

_ANSWER_S: Final = 10.0
_VARIABLE: Final = re.compile(r"\$\{?(\w+)\}?")


class Asked(NamedTuple):
    """One query of one panel; `expr` has its variables still."""

    board: str
    panel: str
    ref: str
    expr: str
    legend: str


def panels(board: str) -> list[dict[str, Any]]:
    """All panels but the headings, in the order of reading."""
    return [panel for panel in DASHBOARDS[board]["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Asked]:
    """Every query of every panel."""
    for board in DASHBOARDS:
        for panel in panels(board):
            for target in panel.get("targets", ()):
                yield Asked(board, panel["title"], target["refId"], target["expr"], target.get("legendFormat", ""))


def marks() -> Iterator[Asked]:
    """Every query of marks on all panels of a dashboard."""
    for board, dashboard in DASHBOARDS.items():
        for mark in dashboard["annotations"]["list"]:
            yield Asked(board, mark["name"], "Anno", mark["expr"], mark["titleFormat"])


def presets(board: str) -> dict[str, str]:
    """Variable → what it stands for in a query of a dashboard as it opens; of time, what Grafana itself puts in."""
    found = {"__rate_interval": "20s", "__interval": "5s", "__range": "5m"}
    for variable in DASHBOARDS[board]["templating"]["list"]:
        value = variable.get("current", {}).get("value", "")
        found[variable["name"]] = variable["allValue"] if value == "$__all" else value
    return found


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced; KeyError names one that the dashboard does not have."""
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def legend_labels(legend: str) -> set[str]:
    """Labels that a legend's `{{…}}` name."""
    return set(re.findall(r"\{\{(\w+)\}\}", legend))


def ask(url: str, path: str, **parameters: object) -> Any:
    """What Prometheus' API answers; a query that it cannot parse is a ValueError with its words."""
    address = f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(address, timeout=_ANSWER_S) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"{parameters}: {error.read().decode()}") from None
