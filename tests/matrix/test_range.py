"""What the package says of itself, what the docs say, and what `make matrix` tries are one range."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from stream_app import doctor
from tests.matrix.supported import KAFKAS, PYTHONS, REDISES, VALKEYS, rows, supported
from tests.support.servers import KAFKA_VERSION_USUAL

_REPOSITORY = Path(__file__).parents[2]
_PROJECT = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())
_PAGE = (_REPOSITORY / "docs" / "supported.md").read_text()


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _span(versions: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys((_minor(versions[0]), _minor(versions[-1]))))


def test_the_package_says_the_pythons_that_are_tried() -> None:
    prefix = "Programming Language :: Python :: "
    said = [text.removeprefix(prefix) for text in _PROJECT["project"]["classifiers"] if text.startswith(prefix)]
    assert said == list(PYTHONS)
    native = tomllib.loads((_REPOSITORY / "native" / "pyproject.toml").read_text())
    for project in (_PROJECT, native):
        assert project["project"]["requires-python"] == f">={PYTHONS[0]}"
    assert f'"abi3-py{PYTHONS[0].replace(".", "")}"' in (_REPOSITORY / "native" / "Cargo.toml").read_text()


def test_the_tools_look_at_the_code_as_the_oldest_python_reads_it() -> None:
    assert _PROJECT["tool"]["mypy"]["python_version"] == PYTHONS[0]
    assert _PROJECT["tool"]["ruff"]["target-version"] == f"py{PYTHONS[0].replace('.', '')}"


def test_ci_looks_for_all_pythons_and_make_takes_any_of_them() -> None:
    assert f"for version in {' '.join(PYTHONS)}; do" in (_REPOSITORY / ".ci" / "run").read_text()
    newest_first = " ".join(f"python{version}" for version in reversed(PYTHONS))
    assert f"for python in {newest_first} " in (_REPOSITORY / "Makefile").read_text()


def test_the_doctor_warns_of_what_is_older_than_the_oldest_redis_that_is_tried() -> None:
    oldest = doctor._redis_server("r:1", {"redis_version": f"{REDISES[0]}.0", "role": "master"})
    older = doctor._redis_server("r:1", {"redis_version": "6.2.20", "role": "master"})
    assert (oldest.level, older.level) == ("ok", "warning")
    assert f"use {REDISES[0]} or later" in older.what_to_do


def test_the_pages_say_the_range() -> None:
    assert f"Python {', '.join(PYTHONS)} " in _PAGE
    faq = (_REPOSITORY / "docs" / "faq.md").read_text()
    for name, versions in (("Kafka", KAFKAS), ("Redis", REDISES), ("Valkey", VALKEYS)):
        assert f"{name} {_span(versions)}" in _PAGE
        assert f"{name} {_span(versions)}" in faq
    assert f"Python {_span(PYTHONS)}" in faq
    assert f"Kafka {KAFKA_VERSION_USUAL} and Redis {REDISES[0]}, with a Valkey {_span(VALKEYS)}" in _PAGE


def test_the_table_on_the_page_has_every_version_and_says_what_ran() -> None:
    lines = re.findall(r"^\| (\w+ \d\S*) \| ([^|]+) \|", _PAGE, re.MULTILINE)
    assert [row for row, _ in lines] == list(map(str, supported()))
    for row, ran in lines:
        version = row.split()[1]
        assert ran == "as usual" or ran == version or ran.startswith(f"{version}.")


def test_versions_are_listed_from_old_to_new_and_most_have_a_row_of_their_own() -> None:
    for versions in (PYTHONS, KAFKAS, REDISES, VALKEYS):
        assert list(versions) == sorted(versions, key=_numbers)
    # All but one Python, one Kafka and one Redis, on which the other tests run.
    assert len(rows()) >= len(supported()) - 3


@pytest.mark.parametrize(("image", "versions"), [("apache/kafka", KAFKAS), ("redis", REDISES)])
def test_what_docker_compose_starts_lies_within_the_range(image: str, versions: Sequence[str]) -> None:
    compose = (_REPOSITORY / "docker-compose.yml").read_text()
    found = re.search(rf"image: {image}:([\d.]+)", compose)
    assert found
    assert _numbers(versions[0]) <= _numbers(found[1]) <= _numbers(versions[-1])
