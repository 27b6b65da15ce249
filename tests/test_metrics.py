"""The list of metrics: its rules, its documentation, and the histogram that takes batches."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as ClientHistogram
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from stream_app.histogram import Histogram, quantile
from stream_app.metrics import METRICS, SECTIONS, Metrics, documentation

_PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


def test_the_documentation_is_the_one_made_from_the_list() -> None:
    assert _PAGE.read_text() == documentation(), "run: python -m stream_app.metrics > docs/metrics.md"


def test_every_metric_is_on_the_page_once() -> None:
    text = documentation()
    assert len({spec.name for spec in METRICS}) == len(METRICS)
    for spec in METRICS:
        assert text.count(f"| `{spec.name}` |") == 1
    assert len(SECTIONS) + 1 == text.count("\n## ")  # and what scraping costs


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_names_have_the_prefix_and_the_base_unit_and_labels_name_no_one(spec: object) -> None:
    assert spec in METRICS
    name, kind, labels, unit = spec.name, spec.kind, spec.labels, spec.unit  # type: ignore[attr-defined]
    assert re.fullmatch(r"intent_[a-z0-9_]+", name)
    assert (kind == "counter") == name.endswith("_total")
    base = name.removesuffix("_total")
    if unit in ("seconds", "bytes"):
        assert base.endswith(unit)
    assert not re.search(r"_(ms|millis|kb|mb|percent|minutes)$", base)
    assert set(labels) <= {
        "type", "outcome", "topic", "reason", "partition", "band", "stage", "state", "source", "op", "window",
        "version", "python", "component", "slice", "bin", "what", "model", "label", "engine", "guarantee",
        "kind", "arm", "experiment", "measure", "bound", "level", "finding",
    }  # fmt: skip
    buckets = spec.buckets  # type: ignore[attr-defined]
    assert (kind == "histogram") == bool(buckets)
    assert list(buckets) == sorted(set(buckets))


def test_a_metric_asked_for_as_another_kind_is_a_mistake() -> None:
    metrics = Metrics(CollectorRegistry())
    with pytest.raises(AssertionError, match="declared as a Counter"):
        metrics.gauge("intent_events_total")


def test_a_histogram_shows_what_the_client_librarys_own_would() -> None:
    bounds = (0.001, 0.01, 0.1, 1.0)
    values = [0.0, 0.001, 0.0011, 0.05, 0.1, 0.9, 1.0, 1.1, 50.0]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("intent_x_seconds", "x", ("stage",), bounds)
    ours.register(histogram)
    reference = ClientHistogram("intent_x_seconds", "x", ("stage",), registry=theirs, buckets=bounds)
    histogram.labels("fold").observe_many(np.array(values[:6]))
    for value in values[6:]:
        histogram.labels("fold").observe(value)
    for value in values:
        reference.labels("fold").observe(value)

    def samples(registry: CollectorRegistry) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
        families = text_string_to_metric_families(generate_latest(registry).decode())
        return {
            (sample.name, tuple(sorted((k, v if k != "le" else str(float(v))) for k, v in sample.labels.items())), v)
            for family in families
            for sample in family.samples
            for v in [round(sample.value, 9)]
            if not sample.name.endswith("_created")
        }

    assert samples(ours) == samples(theirs)


def test_an_exemplar_leads_from_its_bucket_to_where_a_value_came_from_in_openmetrics_only() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("intent_x_seconds", "x", (), (0.1, 1.0))
    registry.register(histogram)
    series = histogram.labels()
    series.observe_many(np.array([0.05, 0.5, 0.7, 3.0]))
    series.point_at(0.5, {"partition": "3", "offset": "41"}, time_s=1_000.0)
    series.point_at(0.7, {"partition": "3", "offset": "42"}, time_s=1_001.0)
    series.point_at(3.0, {"partition": "0", "offset": "7"}, time_s=1_002.5)
    text = openmetrics.generate_latest(registry).decode()
    found = {
        sample.labels["le"]: sample.exemplar
        for family in openmetrics_families(text)
        for sample in family.samples
        if sample.name == "intent_x_seconds_bucket"
    }
    assert found["0.1"] is None
    assert (found["1"].labels, found["1"].value) == ({"partition": "3", "offset": "42"}, 0.7)
    assert (found["+Inf"].labels, float(found["+Inf"].timestamp)) == ({"partition": "0", "offset": "7"}, 1_002.5)
    assert "offset" not in generate_latest(registry).decode()


def test_a_histogram_wants_a_value_for_each_label() -> None:
    with pytest.raises(ValueError, match="expected one for each of"):
        Histogram("intent_x_seconds", "x", ("stage",), (1.0,)).labels()


def test_quantiles_lie_in_their_bucket_and_are_unknown_without_observations() -> None:
    assert math.isnan(quantile((1.0, 2.0), (0, 0, 0), 0.5))
    # 10 values up to 1, 10 up to 2: the median is the edge, three quarters halfway into the second bucket
    assert quantile((1.0, 2.0), (10, 10, 0), 0.5) == 1.0
    assert quantile((1.0, 2.0), (10, 10, 0), 0.75) == 1.5
    # beyond the last bound there is only the bound
    assert quantile((1.0, 2.0), (0, 0, 5), 0.99) == 2.0
