"""The alert rules speak of metrics and labels that exist, and Prometheus finds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_app.core.drift import WATCHED
from stream_app.core.events import EVENT_TYPES
from stream_app.core.prequential import SLICES
from stream_app.metrics import METRICS, MetricSpec
from stream_app.observe import TRAINER_STATES
from stream_app.partition_gauges import PARTITION_STATES

_OPS = Path(__file__).parents[2] / "ops" / "prometheus"


def _rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((_OPS / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


_RULES = _rules("alerts.yml")
_RECORDED = _rules("rules.yml")
_EVERY = [*_RULES, *_RECORDED]
_SPECS = {spec.name: spec for spec in METRICS}
_SELECTOR = re.compile(r"\b(intent_[a-z0-9_]+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"""(\w+)(?:=~|!~|!=|=)"([^"]*)\"""")
_RECORD = re.compile(r"\bintent:[a-z0-9_:]+")
#: What Prometheus and the list of targets (`stream_app.targets`) say of every series.
_OF_THE_TARGET = {"instance", "job", "group", "role"}
_KNOWN = {
    "window": {"total", "recent"},
    "slice": set(SLICES),
    "what": set(WATCHED),
    "state": {*PARTITION_STATES, *TRAINER_STATES},
    "type": set(EVENT_TYPES),
    "outcome": {
        "scored", "late", "duplicate", "replayed", "rejected", "resolved", "matched", "early", "corrected", "unmatched",
        "refund", "cancel", "taken_back",
    },
}  # fmt: skip


def rule_ids(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or f"{rule['record']} {rule.get('labels', {}).get('source', '')}".strip())


def _spec_of(name: str) -> MetricSpec:
    """The family that a series belongs to: a histogram has three kinds of them."""
    family = re.sub(r"_(bucket|sum|count)$", "", name)
    if family in _SPECS and _SPECS[family].kind == "histogram":
        return _SPECS[family]
    return _SPECS[name]


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in _RULES]
    assert len(set(names)) == len(names) >= 12
    assert {"Drift", "ScoresWorseThanConstant", "ScoresNotCalibrated"} <= set(names)


@pytest.mark.parametrize("rule", _EVERY, ids=rule_ids)
def test_every_metric_and_label_of_a_rule_exists(rule: dict[str, Any]) -> None:
    found = _SELECTOR.findall(rule["expr"])
    recorded = _RECORD.findall(rule["expr"])
    assert found or recorded
    assert set(recorded) <= {each["record"] for each in _RECORDED}
    for name, matchers in found:
        for label, value in _MATCHER.findall(matchers):
            assert label in _spec_of(name).labels, f"{name} has no label {label}"
            assert set(value.split("|")) <= _KNOWN[label], f"{name} never has {label}={value}"
    labels = _OF_THE_TARGET | {label for name, _ in found for label in _spec_of(name).labels}
    labels |= {label for each in _RECORDED if each["record"] in recorded for label in each.get("labels", {})}
    if "intent:checkouts_missed:count" in recorded:
        labels.add("source")
    for label in re.findall(r"\$labels\.(\w+)", str(rule.get("annotations"))):
        assert label in labels


@pytest.mark.parametrize("rule", _EVERY, ids=rule_ids)
def test_every_metric_that_a_rule_or_its_text_names_is_documented(rule: dict[str, Any]) -> None:
    for name in re.findall(r"\bintent_[a-z0-9_]+", str(rule)):
        assert _spec_of(name), name


@pytest.mark.parametrize("rule", _EVERY, ids=rule_ids)
def test_a_counter_is_never_compared_as_it_is(rule: dict[str, Any]) -> None:
    for name, _ in _SELECTOR.findall(rule["expr"]):
        if _spec_of(name).kind in ("counter", "histogram"):
            assert re.search(rf"(rate|increase)\({name}(\{{[^}}]*\}})?\[", rule["expr"]), name


@pytest.mark.parametrize("rule", _RULES, ids=rule_ids)
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["action"]


def test_prometheus_reads_the_rules_from_where_they_are_mounted() -> None:
    for name in ("prometheus.yml", "host.yml"):
        assert yaml.safe_load((_OPS / name).read_text())["rule_files"] == ["rules.yml", "alerts.yml"]
    compose = yaml.safe_load((_OPS.parents[1] / "docker-compose.yml").read_text())
    mounts = [volume.split(":") for volume in compose["services"]["prometheus"]["volumes"]]
    for name in ("rules.yml", "alerts.yml"):
        assert [f"./ops/prometheus/{name}", f"/etc/prometheus/{name}", "ro"] in mounts
