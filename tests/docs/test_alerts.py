"""The alert rules speak of metrics and labels that exist, and Prometheus finds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_app.core.drift import WATCHED
from stream_app.core.prequential import SLICES
from stream_app.metrics import METRICS

_OPS = Path(__file__).parents[2] / "ops" / "prometheus"
_GROUPS: list[dict[str, Any]] = yaml.safe_load((_OPS / "alerts.yml").read_text())["groups"]
_RULES: list[dict[str, Any]] = [rule for group in _GROUPS for rule in group["rules"]]
_SPECS = {spec.name: spec for spec in METRICS}
_SELECTOR = re.compile(r"\b(intent_[a-z0-9_]+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"""(\w+)(?:=~|=|!=)"([^"]*)\"""")


def rule_ids(rule: dict[str, Any]) -> str:
    return str(rule["alert"])


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in _RULES]
    assert len(set(names)) == len(names) >= 5
    assert {"Drift", "ScoresWorseThanConstant", "ScoresNotCalibrated"} <= set(names)


@pytest.mark.parametrize("rule", _RULES, ids=rule_ids)
def test_every_metric_and_label_of_an_alert_exists(rule: dict[str, Any]) -> None:
    found = _SELECTOR.findall(rule["expr"])
    assert found
    for name, matchers in found:
        assert name in _SPECS, name
        for label, value in _MATCHER.findall(matchers):
            assert label in _SPECS[name].labels, f"{name} has no label {label}"
            known = {"window": {"total", "recent"}, "slice": set(SLICES), "what": set(WATCHED)}[label]
            assert set(value.split("|")) <= known, f"{name} never has {label}={value}"
    for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
        assert label in _SPECS[found[0][0]].labels


@pytest.mark.parametrize("rule", _RULES, ids=rule_ids)
def test_every_metric_that_an_alert_or_its_text_names_is_documented(rule: dict[str, Any]) -> None:
    for name in re.findall(r"\bintent_[a-z0-9_]+", str(rule)):
        assert name in _SPECS, name


@pytest.mark.parametrize("rule", _RULES, ids=rule_ids)
def test_a_counter_is_never_compared_as_it_is(rule: dict[str, Any]) -> None:
    for name, _ in _SELECTOR.findall(rule["expr"]):
        if _SPECS[name].kind == "counter":
            assert re.search(rf"(rate|increase)\({name}\[", rule["expr"]), name


@pytest.mark.parametrize("rule", _RULES, ids=rule_ids)
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["action"]


def test_prometheus_reads_the_rules_from_where_they_are_mounted() -> None:
    assert yaml.safe_load((_OPS / "prometheus.yml").read_text())["rule_files"] == ["alerts.yml"]
    compose = yaml.safe_load((_OPS.parents[1] / "docker-compose.yml").read_text())
    mounts = [volume.split(":") for volume in compose["services"]["prometheus"]["volumes"]]
    assert ["./ops/prometheus/alerts.yml", "/etc/prometheus/alerts.yml", "ro"] in mounts
