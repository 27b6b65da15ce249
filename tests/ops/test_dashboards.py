"""Every panel of every dashboard has data from a real run, and says what it shows, in which unit and what to do."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry, ProcessCollector

from ops.grafana.boards import files
from stream_app.core.drift import WATCHED
from stream_app.core.events import EVENT_TYPES
from stream_app.core.prequential import SLICES
from stream_app.metrics import METRICS, MetricSpec
from tests.ops.dashboards import (
    DASHBOARDS,
    GRAFANA,
    REPOSITORY,
    Asked,
    ask,
    legend_labels,
    marks,
    panels,
    presets,
    queries,
    substituted,
)
from tests.ops.dashboards_run import shop_run
from tests.ops.prometheus import RealPrometheus
from tests.support.fixtures import Names, skip_or_fail
from tests.support.servers import RealKafka, RealRedis, UnavailableError

QUERIES = list(queries())
MARKS = list(marks())
PANELS = [(board, panel) for board in DASHBOARDS for panel in panels(board)]

#: What comes with the process and with Prometheus, and is not declared by us.
_PROCESS = {family.name for family in ProcessCollector(namespace="intent", registry=CollectorRegistry()).collect()}
_FOREIGN = {
    name: MetricSpec(name, "gauge", labels, "", "")
    for name, labels in [
        *((f"{name}{total}", ()) for name in _PROCESS for total in ("", "_total")),
        ("ALERTS", ("alertname", "alertstate")),
    ]
}
_SPECS = {**{spec.name: spec for spec in METRICS}, **_FOREIGN}

_SELECTOR = re.compile(r"\b(intent_\w+|ALERTS)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(=~|=|!=|!~)"([^"]*)"')
_VALUES = {
    "window": {"total", "recent"},
    "slice": set(SLICES),
    "what": set(WATCHED),
    "band": {"unlikely", "on_the_fence", "likely"},
    "type": set(EVENT_TYPES),
    "outcome": {"scored", "late", "duplicate", "replayed", "rejected"},
    "component": {"worker", "trainer"},
    "state": {"restoring", "ready", "fenced", "stopped", "standby", "learning", "settled", "open"},
    "label": {"0", "1"},
}


def _ids(asked: Asked) -> str:
    return f"{asked.board.removeprefix('stream-app-')}: {asked.panel} {asked.ref}"


def _panel_ids(value: Any) -> str:
    return str(value["title"]) if isinstance(value, dict) else str(value).removeprefix("stream-app-")


# ---- what was seen in a real run ------------------------------------------------------------------------------------


class Seen:
    """A real Prometheus after a run of a real system: what a panel that shows all of the run would be given."""

    def __init__(self, scraping: RealPrometheus, started: float) -> None:
        self._scraping, self._started = scraping, started

    def series(self, asked: Asked) -> list[dict[str, Any]]:
        """The series of a query with the dashboard's variables as it opens; ValueError if Prometheus refuses it."""
        expr = substituted(asked.expr, presets(asked.board))
        now = time.time()
        found = ask(self._scraping.url, "query_range", query=expr, start=self._started, end=now, step=1)
        return list(found["result"])


@pytest.fixture(scope="module")
def seen(
    real_kafka: RealKafka, prometheus: Callable[..., RealPrometheus], tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """The run ends when the quality of its scores is known; its processes are gone before anything is asked."""
    targets = tmp_path_factory.mktemp("targets")
    scraping = prometheus(targets)
    name = f"dashboards-{uuid.uuid4().hex[:8]}"
    started = time.time()

    async def run(redis: RealRedis) -> None:
        async with shop_run(real_kafka.bootstrap, redis, Names(f"{name}.", name), targets):
            # A threshold for F1 is found from a thousand examples on, and by then the rest is known as well.
            known = 'max(intent_quality_examples{window="recent", slice="all"}) > 1200'
            await asyncio.to_thread(
                scraping.until, "the quality of the scores", lambda: scraping.query(known), seconds=60
            )
            settled = 'count(intent_experiment_units{state="settled"} > 0) == 2'
            await asyncio.to_thread(
                scraping.until, "what offers did in both arms", lambda: scraping.query(settled), seconds=60
            )

    try:
        redis = RealRedis().start()
    except UnavailableError as reason:
        skip_or_fail(reason)
    with redis:
        asyncio.run(run(redis))
    return Seen(scraping, started)


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize("asked", QUERIES, ids=_ids)
def test_every_query_of_every_panel_has_data_from_a_real_run(seen: Seen, asked: Asked) -> None:
    series = seen.series(asked)
    values = [float(value) for entry in series for _, value in entry["values"]]
    assert any(not math.isnan(value) for value in values), f"{len(series)} series, {len(values)} values, all NaN"
    for entry in series:
        assert legend_labels(asked.legend) <= set(entry["metric"]), "a legend names a label that the series lack"


#: What the run had, and the least that its panel must have shown at some time. Redis was away for some two seconds, and
#: then empty, for each of the four partitions.
_HAD = [
    ("operations", "Failed calls", "A", 1),
    ("operations", "Views of Redis lost", "A", 4),
    ("operations", "Visitors restored", "A", 1),
    ("operations", "Standing still", "C", 1),
    ("operations", "Received until scored, p99", "A", 0.5),
    ("operations", "Rejected", "A", 0.0005),
    ("shop", "Late, repeated, rejected", "A", 0.2),
    ("shop", "Late, repeated, rejected", "B", 0.2),
    ("shop", "Visitors on the wrong partition", "A", 3),
    ("shop", "Clocks that are ahead", "A", 1),
    ("intent", "Snapshots refused", "A", 1),
    ("intent", "Checkouts learned", "A", 20),
    ("intent", "ROC AUC", "A", 0.6),
]


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize(("board", "panel", "ref", "least"), _HAD, ids=lambda value: str(value))
def test_what_happened_in_the_run_is_seen_in_its_panel(
    seen: Seen, board: str, panel: str, ref: str, least: float
) -> None:
    (asked,) = [one for one in QUERIES if (one.board, one.panel, one.ref) == (f"stream-app-{board}", panel, ref)]
    values = [float(value) for entry in seen.series(asked) for _, value in entry["values"]]
    assert max(value for value in values if not math.isnan(value)) >= least


@pytest.mark.real_kafka
@pytest.mark.real_redis
@pytest.mark.parametrize("asked", MARKS, ids=_ids)
def test_every_mark_is_a_query_that_prometheus_takes(seen: Seen, asked: Asked) -> None:
    assert isinstance(seen.series(asked), list)


@pytest.mark.real_kafka
@pytest.mark.real_redis
def test_a_query_of_something_that_is_not_there_is_seen_as_such(seen: Seen) -> None:
    assert seen.series(Asked(next(iter(DASHBOARDS)), "none", "A", 'intent_ready{component="nobody"}', "")) == []
    with pytest.raises(ValueError, match="parse error"):
        seen.series(Asked(next(iter(DASHBOARDS)), "none", "A", "sum(intent_ready", ""))


# ---- the files ------------------------------------------------------------------------------------------------------


def test_the_committed_files_are_what_the_description_makes() -> None:
    committed = {path: path.read_text() for path in (GRAFANA / "dashboards").iterdir()}
    assert committed == files(), "run: python -m ops.grafana"
    assert len(committed) == 4


@pytest.mark.parametrize("board", DASHBOARDS)
def test_grafanas_own_types_know_every_field(board: str) -> None:
    register_default_plugins()
    read = Dashboard.from_json(DASHBOARDS[board])
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == DASHBOARDS[board]


@pytest.mark.parametrize("board", DASHBOARDS)
def test_panels_have_ids_of_their_own_and_fill_their_lines(board: str) -> None:
    everything = DASHBOARDS[board]["panels"]
    assert max(Counter(panel["id"] for panel in everything).values()) == 1
    places = [panel["gridPos"] for panel in everything]
    for line in {place["y"] for place in places}:
        of_line = sorted((place for place in places if place["y"] == line), key=lambda place: place["x"])
        assert sum(place["w"] for place in of_line) == 24, of_line
        assert all(left["x"] + left["w"] == right["x"] for left, right in pairwise(of_line))
    titles = [(row, panel["title"]) for row, panel in _by_row(board)]
    assert len(set(titles)) == len(titles)


def _by_row(board: str) -> Iterator[tuple[str, dict[str, Any]]]:
    row = ""
    for panel in DASHBOARDS[board]["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            yield row, panel


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=_panel_ids)
def test_every_panel_says_what_it_shows_and_in_which_unit(board: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 30
    if panel["type"] == "text":
        assert panel["options"]["content"] == panel["description"]
        return
    known = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
    assert panel["fieldConfig"]["defaults"]["unit"] in known
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        named = target["legendFormat"] if len(panel["targets"]) > 1 and "legendFormat" in target else "named"
        assert named, "of several queries each has a name"


@pytest.mark.parametrize("asked", [*QUERIES, *MARKS], ids=_ids)
def test_every_metric_and_label_of_a_query_exists(asked: Asked) -> None:
    found = _SELECTOR.findall(asked.expr)
    assert found
    assert len(found) == len(re.findall(r"\bintent_\w+|\bALERTS\b", asked.expr)), "a metric without the selection"
    have = {"job", "instance", "le"}
    for name, matchers in found:
        spec = _spec(name)
        have |= set(spec.labels)
        for label, _, value in _MATCHER.findall(matchers):
            assert label in {"job", "instance", *spec.labels}, f"{name} has no label {label}"
            if "$" not in value and label in _VALUES:
                assert set(value.split("|")) <= _VALUES[label], f"{name} never has {label}={value}"
    have |= set(re.findall(r'label_replace\(.*?, "(\w+)", "\w+", "", ""\)', asked.expr))
    grouped = {
        label.strip() for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", asked.expr) for label in labels.split(",")
    }
    assert grouped | legend_labels(asked.legend) <= have


@pytest.mark.parametrize("asked", QUERIES, ids=_ids)
def test_counters_are_counted_and_gauges_are_not(asked: Asked) -> None:
    for inside in re.findall(r"\b(?:rate|increase)\((\w+)\{", asked.expr):
        assert _spec(inside).kind in ("counter", "histogram") or inside.endswith("_total"), (
            f"rate of the gauge {inside}"
        )
    for name, _ in _SELECTOR.findall(asked.expr):
        if name.endswith("_bucket"):
            assert f"rate({name}{{" in asked.expr, f"{name} since the beginning is no distribution of now"


def _spec(name: str) -> MetricSpec:
    """The family of a series; of a histogram its `_bucket`, `_sum` and `_count`, of anything else itself."""
    if name in _SPECS:
        assert _SPECS[name].kind != "histogram", f"{name} alone is no series"
        return _SPECS[name]
    base, _, suffix = name.rpartition("_")
    assert base in _SPECS, f"there is no metric {name}"
    assert _SPECS[base].kind == "histogram", f"there is no metric {name}"
    assert suffix in ("bucket", "sum", "count"), f"there is no metric {name}"
    return _SPECS[base]


@pytest.mark.parametrize("board", DASHBOARDS)
def test_every_variable_of_a_dashboard_is_used_and_every_used_one_is_there(board: str) -> None:
    text = json.dumps(DASHBOARDS[board])
    for variable in DASHBOARDS[board]["templating"]["list"]:
        assert re.search(rf"\$\{{?{variable['name']}\b", text), f"{variable['name']} is chosen for nothing"
    for asked in QUERIES:
        if asked.board == board:
            substituted(asked.expr, presets(board))


# ---- what they lead to ----------------------------------------------------------------------------------------------


def test_links_lead_to_alerts_that_exist_and_their_section_of_the_runbook() -> None:
    rules = yaml.safe_load((REPOSITORY / "ops/prometheus/alerts.yml").read_text())["groups"]
    alerts = {rule["alert"].lower() for group in rules for rule in group["rules"]}
    headings = _anchors(REPOSITORY / "docs" / "runbook.md")
    urls = [link["url"] for _, panel in PANELS for link in panel.get("links", [])]
    assert len(urls) > 20
    for url in urls:
        found = re.fullmatch(r"\$\{docs\}/runbook\.md#(\w+)", url)
        assert found, url
        assert found[1] in alerts, url
        assert found[1] in headings, url


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_dashboards_lead_to_each_other_and_to_the_runbook() -> None:
    for dashboard in DASHBOARDS.values():
        others, runbook = dashboard["links"]
        assert (others["type"], others["tags"]) == ("dashboards", dashboard["tags"])
        assert runbook["url"] == "${docs}/runbook.md"


def test_grafana_finds_what_is_provisioned() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    (provider,) = _provisioned("dashboards")["providers"]
    assert mounts["./ops/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./ops/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (GRAFANA / "dashboards" / Path(home).name).is_file()
    assert Path(home).parent == Path(provider["options"]["path"])
    (source,) = _provisioned("datasources")["datasources"]
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert any(published.endswith(f":{port}") for published in compose[host]["ports"])
    scraped = yaml.safe_load((REPOSITORY / "ops/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    assert mounts["./docs"].endswith("/public/docs"), "where the variable `docs` leads"


def _provisioned(kind: str) -> dict[str, Any]:
    (file,) = (GRAFANA / "provisioning" / kind).iterdir()
    return yaml.safe_load(file.read_text())  # type: ignore[no-any-return]


def test_the_page_of_questions_names_dashboards_rows_and_panels_that_exist() -> None:
    text = (REPOSITORY / "docs" / "dashboards.md").read_text()
    short = {dashboard["title"].removeprefix("Stream-App: "): board for board, dashboard in DASHBOARDS.items()}
    answered = re.findall(r"^\| [^|]+\? \| ([^|]+?) \| ([^|]+?) \|$", text, re.MULTILINE)
    assert len(answered) > 25
    for title, named in answered:
        known = {panel["title"] for _, panel in _by_row(short[title])}
        assert set(named.split("; ")) <= known, f"{title} has no panel {set(named.split('; ')) - known}"
    assert {title for title, _ in answered} == set(short)
