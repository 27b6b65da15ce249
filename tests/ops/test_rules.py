"""Prometheus' own checker reads configurations and rules, and runs their tests; the runbook knows every alert."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fixtures import skip_or_fail
from tests.support.servers import UnavailableError, program

_REPOSITORY = Path(__file__).parents[2]
_OPS = _REPOSITORY / "ops" / "prometheus"
_ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((_OPS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
_TESTED: list[dict[str, Any]] = yaml.safe_load((_OPS / "tests" / "alerts.yml").read_text())["tests"]


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        binary = program("promtool", "apt-get install prometheus")
    except UnavailableError as reason:
        skip_or_fail(reason)
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["prometheus.yml", "host.yml"])
def test_promtool_accepts_the_configuration_and_its_rules(name: str) -> None:
    done = _promtool("check", "config", str(_OPS / name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rule files found" in done.stdout


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml"])
def test_promtool_finds_nothing_to_criticise_in_the_rules(name: str) -> None:
    done = _promtool("check", "rules", "--lint=all", "--lint-fatal", str(_OPS / name))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_sees_every_alert_wait_fire_and_end() -> None:
    done = _promtool("test", "rules", str(_OPS / "tests" / "alerts.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in _ALERTS])
def test_every_alert_is_tested_where_it_fires_and_where_it_does_not(alert: str) -> None:
    cases = [case for test in _TESTED for case in test["alert_rule_test"] if case["alertname"] == alert]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


def test_the_runbook_has_a_section_for_every_alert_and_for_no_other() -> None:
    text = (_REPOSITORY / "docs" / "runbook.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == [rule["alert"] for rule in _ALERTS]
    for rule in _ALERTS:
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        for question in ("**For the shop**", "**Look at**", "**Do**", "**It ends**"):
            assert question in sections[rule["alert"]], f"{rule['alert']}: {question}"
