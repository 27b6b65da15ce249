"""What is installed with us: its licences are read rightly, and what could not be looked up is no clean bill."""

from __future__ import annotations

from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from ops.audit.advisories import Verdict, verdict
from ops.audit.installed import needed
from ops.audit.licences import EXTRAS, is_allowed, licence_of, problems


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR LGPL-3.0-only", False),
        ("GPL-3.0-only OR MIT AND BSD-2-Clause", True),
        ("(GPL-3.0-only OR MIT) AND GPL-2.0-only", False),
        ("BSD-3-Clause AND (MIT OR GPL-3.0-only)", True),
        ("GPL-3.0-only WITH GCC-exception-3.1", False),
        ("MIT OR", False),
        ("MIT AND", False),
        ("(MIT", False),
        ("MIT OR (MIT", False),
        ("", False),
    ],
)
def test_an_expression_is_read_as_spdx_has_it(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["License-Expression: MIT", "License: whatever"], "MIT"),
        (["License: Apache 2.0"], "Apache-2.0"),
        (["License: something of ours", "Classifier: License :: OSI Approved :: MIT License"], "MIT"),
        (["License: ask us"], ""),
        ([], ""),
    ],
)
def test_a_package_says_it_in_one_of_several_ways(lines: list[str], found: str, tmp_path: Path) -> None:
    package = _package(tmp_path, *lines)
    assert licence_of(package) == found
    assert bool(list(problems([package]))) is (found == "")


def test_everything_that_is_installed_with_us_may_be_used_as_it_is() -> None:
    packages = needed("stream-app", EXTRAS)
    assert {"stream-app", "aiokafka", "confluent-kafka", "numpy"} <= {package.metadata["Name"] for package in packages}
    assert list(problems(packages)) == []


def test_what_could_not_be_looked_up_is_told_apart_from_what_is_fine() -> None:
    fine = {"name": "a", "version": "1", "vulns": []}
    flawed = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": []}]}
    unknown = {"name": "c", "skip_reason": "not found"}
    unmended = {"name": "d", "version": "4", "vulns": [{"id": "PYSEC-2", "fix_versions": [], "aliases": []}]}
    assert verdict({"dependencies": [fine]}) == (1, [], [], [])
    found = verdict({"dependencies": [fine, flawed, unknown, unmended]})
    assert found == (
        3, ["b 2: PYSEC-1, mended in 3"], ["d 4: PYSEC-2, mended in no version yet"], ["c: not found"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "clean", "clean_in_ci"),
    [
        (Verdict(1, [], [], []), True, True),
        (Verdict(1, ["b 2: PYSEC-1, mended in 3"], [], []), False, False),
        (Verdict(1, [], ["d 4: PYSEC-2, mended in no version yet"], []), False, True),
        (Verdict(0, [], [], ["c: not found"]), False, True),
    ],
)
def test_a_build_fails_only_where_something_can_be_done(found: Verdict, clean: bool, clean_in_ci: bool) -> None:
    assert found.clean(in_ci=False) is clean
    assert found.clean(in_ci=True) is clean_in_ci


def _package(folder: Path, *lines: str) -> PathDistribution:
    info = folder / "x-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(("Metadata-Version: 2.4", "Name: x", "Version: 1", *lines)) + "\n")
    return PathDistribution(info)
