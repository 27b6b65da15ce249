"""Boards as Grafana's own objects, by its typed builders: a field or unit that Grafana lacks does not type-check."""

from __future__ import annotations

import math
from collections.abc import Iterator
from string import ascii_uppercase
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders import text as words
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as parts
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from ops.grafana.panel import GREEN, Board, Panel
from ops.grafana.variables import SOURCE, variables

#: All dashboards carry it: they are linked to each other by it.
TAG: Final = "stream-app"

_Builder = TypeVar("_Builder")

#: Width of the page, in Grafana's columns.
_PAGE: Final = 24

#: Marks at the top of every dashboard, as (name, colour, expression, text): what happened when a curve bends.
_MARKS: Final = (
    (
        "Another model serves",
        "purple",
        'changes(intent_champion{job=~"$job"}[$__rate_interval]) > 0 and intent_champion{job=~"$job"} == 1',
        "{{model}} serves from now on",
    ),
    (
        "Drift",
        "orange",
        'increase(intent_drift_alarms_total{job=~"$job"}[$__rate_interval]) > 0',
        "{{what}} has changed",
    ),
    (
        "Process began",
        "blue",
        'changes(intent_process_start_time_seconds{job=~"$job"}[$__rate_interval]) > 0',
        "{{instance}}",
    ),
    ("Alerts", "red", 'ALERTS{alertstate="firing", job=~"$job|"}', "{{alertname}}"),
)


def draw(board: Board) -> parts.Dashboard:
    """The dashboard. Panels have the ids 1, 2, … in reading order."""
    made = (
        grafana.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(parts.DashboardCursorSync.CROSSHAIR)
        .variables(variables(board.variables))
        .annotations([_mark(*mark) for mark in _MARKS])
        .links([_other_dashboards(), _runbook("Runbook", "")])
        .build()
    )
    made.panels = list(_laid_out(board))
    return made


def _laid_out(board: Board) -> Iterator[parts.Panel | parts.RowPanel]:
    number = y = 0
    for row in board.rows:
        number += 1
        heading = grafana.Row(row.title).id(number).build()
        heading.grid_pos = parts.GridPos(x=0, y=y, w=_PAGE, h=1)
        yield heading
        y += 1
        x = height = 0
        for panel in row.panels:
            number += 1
            if x + panel.width > _PAGE:
                x, y, height = 0, y + height, 0
            drawn = _KINDS[panel.kind](panel)
            drawn.id_val = number
            drawn.title, drawn.description = panel.title, panel.why
            drawn.grid_pos = parts.GridPos(x=x, y=y, w=panel.width, h=panel.height)
            if panel.runbook:
                drawn.links = [_runbook("What to do", panel.runbook).build()]
            yield drawn
            x, height = x + panel.width, max(height, panel.height)
        y += height


# ---- the kinds ------------------------------------------------------------------------------------------------------


def _lines(panel: Panel) -> parts.Panel:
    made = (
        _filled(timeseries.Panel(), panel)
        .fill_opacity(30 if panel.kind == "stack" else 8)
        .line_width(1)
        .show_points(shapes.VisibilityMode.NEVER)
        .tooltip(_all_sorted())
        .legend(_legend())
    )
    if panel.kind == "stack":
        made.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    if panel.logarithmic:
        made.scale_distribution(common.ScaleDistributionConfig().type(shapes.ScaleDistribution.LOG).log(10))
    if panel.steps:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    return made.build()


def _stat(panel: Panel) -> parts.Panel:
    # Alone, a number is shown without its name: which model serves would not be said.
    named = any("{{" in query.legend for query in panel.queries)
    return (
        _filled(stat.Panel(), panel)
        .reduce_options(_last())
        .color_mode(shapes.BigValueColorMode.VALUE)
        .text_mode(shapes.BigValueTextMode.VALUE_AND_NAME if named else shapes.BigValueTextMode.AUTO)
        .graph_mode(shapes.BigValueGraphMode.NONE if panel.states else shapes.BigValueGraphMode.AREA)
        .build()
    )


def _bars(panel: Panel) -> parts.Panel:
    return (
        _filled(bargauge.Panel(), panel)
        .reduce_options(_last())
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .build()
    )


def _columns(panel: Panel) -> parts.Panel:
    """Each query a column of a table with a row for each bin, drawn beside each other."""
    made = _filled(barchart.Panel(), panel, instant=True).x_field("bin").legend(_legend()).tooltip(_all_sorted())
    renamed = {f"Value #{ascii_uppercase[n]}": query.legend for n, query in enumerate(panel.queries)}
    times = {f"Time {n + 1}": True for n in range(len(panel.queries))}
    for kind, options in (
        ("joinByField", {"byField": "bin", "mode": "outer"}),
        ("convertFieldType", {"conversions": [{"targetField": "bin", "destinationType": "number"}]}),
        ("sortBy", {"sort": [{"field": "bin"}]}),
        ("organize", {"excludeByName": {"Time": True, **times}, "renameByName": renamed}),
        ("convertFieldType", {"conversions": [{"targetField": "bin", "destinationType": "string"}]}),
    ):
        made.with_transformation(parts.DataTransformerConfig(id_val=kind, options=options))
    return made.build()


def _heatmap(panel: Panel) -> parts.Panel:
    color = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(32)
    color.scale(HeatmapColorScale.EXPONENTIAL)
    made = heatmap.Panel().color(color).y_axis(heatmap.YAxisConfig().unit(panel.unit)).cell_gap(1)
    return _filled(made, panel, heat=True).build()


def _states(panel: Panel) -> parts.Panel:
    return (
        _filled(statetimeline.Panel(), panel)
        .merge_values(True)
        .show_value(shapes.VisibilityMode.AUTO)
        .legend(_legend(hidden=True))
        .build()
    )


def _table(panel: Panel) -> parts.Panel:
    hidden = {"Time": True, "Value": True, "__name__": True}
    made = _filled(table.Panel(), panel, instant=True)
    made.with_transformation(parts.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden}))
    return made.build()


def _text(panel: Panel) -> parts.Panel:
    return words.Panel().mode(TextMode.MARKDOWN).content(panel.why).build()


_KINDS: Final = {
    "lines": _lines,
    "stack": _lines,
    "stat": _stat,
    "bars": _bars,
    "columns": _columns,
    "heatmap": _heatmap,
    "states": _states,
    "table": _table,
    "text": _text,
}


# ---- what they share ------------------------------------------------------------------------------------------------


def _filled(builder: _Builder, panel: Panel, *, instant: bool = False, heat: bool = False) -> _Builder:
    """The builder of any kind with the source, queries, unit, limits, thresholds and states."""
    # What the kinds have in common has no type of its own.
    made: Any = builder
    made.datasource(SOURCE).unit(panel.unit)
    for n, query in enumerate(panel.queries):
        target = prometheus.Dataquery().datasource(SOURCE).ref_id(ascii_uppercase[n]).expr(query.expr)
        if instant:
            target.instant().format(PromQueryFormat.TABLE)
        else:
            target.range().legend_format("{{le}}" if heat else query.legend)
            if heat:
                target.format(PromQueryFormat.HEATMAP)
        made.with_target(target)
    for set_to, value in ((made.min, panel.minimum), (made.max, panel.maximum), (made.decimals, panel.decimals)):
        if value is not None:
            set_to(value)
    if panel.states:
        result = {
            str(value): parts.ValueMappingResult(text=word, color=color, index=n)
            for n, (value, word, color) in enumerate(panel.states)
        }
        made.mappings([parts.ValueMap(options=result)])
    if panel.kind != "heatmap":
        made.color_scheme(grafana.FieldColor().mode(_color_mode(panel)))
    if panel.steps or panel.kind in ("stat", "bars"):
        made.thresholds(
            grafana.ThresholdsConfig()
            .mode(parts.ThresholdsMode.ABSOLUTE)
            .steps([parts.Threshold(value=None if math.isinf(at) else at, color=to) for at, to in _steps(panel)])
        )
    return builder


def _steps(panel: Panel) -> tuple[tuple[float, str], ...]:
    first = ((-math.inf, GREEN if panel.kind != "stat" or panel.steps else "text"),)
    return panel.steps if panel.steps and math.isinf(panel.steps[0][0]) else (*first, *panel.steps)


def _color_mode(panel: Panel) -> parts.FieldColorModeId:
    by_value = panel.kind in ("stat", "bars", "states")
    return parts.FieldColorModeId.THRESHOLDS if by_value else parts.FieldColorModeId.PALETTE_CLASSIC_BY_NAME


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _legend(*, hidden: bool = False) -> common.VizLegendOptions:
    made = common.VizLegendOptions().placement(shapes.LegendPlacement.BOTTOM).show_legend(not hidden)
    return made.display_mode(shapes.LegendDisplayMode.LIST)


def _all_sorted() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)


def _mark(name: str, color: str, expr: str, text: str) -> grafana.AnnotationQuery:
    target = prometheus.Dataquery().datasource(SOURCE).ref_id("Anno").expr(expr).legend_format(text)
    made = grafana.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(color).target(target)
    return made.expr(expr).title_format(text)


def _other_dashboards() -> grafana.DashboardLink:
    made = grafana.DashboardLink("stream-app").type(parts.DashboardLinkType.DASHBOARDS).tags([TAG])
    return made.include_vars(True).keep_time(True).as_dropdown(False)


def _runbook(title: str, alert: str) -> grafana.DashboardLink:
    url = "${docs}/runbook.md" + (f"#{alert.lower()}" if alert else "")
    return grafana.DashboardLink(title).type(parts.DashboardLinkType.LINK).icon("doc").url(url).target_blank(True)
