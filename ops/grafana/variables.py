"""What a reader of a dashboard may choose, at its top."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import VariableModel, VariableOption, VariableRefresh, VariableSort

#: The data source that was chosen; provisioned is one, an imported dashboard asks for it.
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

#: Where the documentation is read, for links: Grafana cannot show it, and where a company keeps it is its own affair.
#: Grafana serves what is mounted below its folder `public`, as docker-compose.yml does with `docs`.
DOCS: Final = "/public/docs"

_ALL: Final = VariableOption(text="All", value="$__all", selected=True)


def variables(names: tuple[str, ...]) -> list[Builder[VariableModel]]:
    """The variables that every dashboard has, and those by name between them."""
    chosen = {
        "partition": _of_label("partition", "Partition", 'intent_partition_state{job=~"$job"}'),
        "slice": _of_label("slice", "Slice", 'intent_quality_examples{job=~"$job"}', every=False, preset="all"),
        "window": _of_label("window", "Window", 'intent_quality_examples{job=~"$job"}', every=False, preset="recent"),
        "model": _of_label("model", "Model", 'intent_champion{job=~"$job"}'),
    }
    return [
        grafana.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        _of_label("job", "Job", "intent_build_info"),
        _of_label("instance", "Process", 'intent_build_info{job=~"$job"}'),
        *(chosen[name] for name in names),
        grafana.TextBoxVariable("docs")
        .label("Documentation")
        .description("Address of the project's folder docs; links to the runbook begin with it")
        .default_value(DOCS)
        .current(VariableOption(text=DOCS, value=DOCS, selected=True)),
    ]


def _of_label(name: str, label: str, series: str, *, every: bool = True, preset: str = "") -> Builder[VariableModel]:
    """The values of a label: many of them at once and all at first (`every`), or one, `preset` at first."""
    made = (
        grafana.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({series}, {name})")
        .definition(f"label_values({series}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NUMERICAL_ASC)
    )
    if every:
        return made.multi(True).include_all(True).all_value(".*").current(_ALL)
    return made.current(VariableOption(text=preset, value=preset, selected=True))
