"""docs/security.md has the lists that the programs are tested with, and the commands print them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.audit.acl_tables import kafka_table, redis_table
from stream_app import kafka_acls, redis_acls
from stream_app.cli_acls import acls_group
from stream_app.settings import load

_PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


def test_the_page_has_the_tables() -> None:
    """`python -m ops.audit.acl_tables` prints them."""
    for table in (kafka_table(), redis_table()):
        assert "\n".join(table) in _PAGE


@pytest.mark.parametrize("role", kafka_acls.ROLES)
def test_kafkas_lines_say_each_grant_and_no_other(role: str) -> None:
    words = ["kafka", "--role", role, "--principal", "User:x y", "--group", "g", "--topic-prefix", "shop."]
    words += ["--topic", "raw", "--partitions", "12"] if role == "ingest" else []
    done = CliRunner().invoke(acls_group, words)
    assert done.exit_code == 0, done.output
    told = []
    for line in done.output.splitlines():
        pairs = shlex.split(line)[6:]  # behind the program and the options of its connection
        assert pairs[:2] == ["--allow-principal", "User:x y"]
        given = list(zip(pairs[2::2], pairs[3::2], strict=True))
        operations = tuple(value for name, value in given if name == "--operation")
        (resource,) = {name for name, _ in given if name != "--operation"}
        names = tuple(value for name, value in given if name == resource)
        told.append(kafka_acls.Grant(resource.removeprefix("--"), names, operations))  # type: ignore[arg-type]
    settings = load(flags={"topic_prefix": "shop."})
    asked = kafka_acls.Asked("g", ("raw",), 12) if role == "ingest" else kafka_acls.Asked("g")
    assert told == kafka_acls.grants(role, settings, asked)


def test_nobody_may_do_more_than_read_write_and_look_but_who_makes_topics() -> None:
    for role in kafka_acls.ROLES:
        given = kafka_acls.grants(role, load(), kafka_acls.Asked("g", ("raw",)))
        operations = {operation for grant in given for operation in grant.operations}
        assert operations <= {"Read", "Write", "Describe", "DescribeConfigs"} or role == "topics"


def test_redis_line_is_a_command() -> None:
    done = CliRunner().invoke(acls_group, ["redis", "--role", "worker", "--user", "w"])
    assert done.output.startswith("ACL SETUSER w reset on ~{stream-app:[0-9]*}:* -@all +get ")
    assert "eval" not in done.output
    for role in redis_acls.ROLES.values():
        assert not {"eval", "evalsha", "script", "config", "keys", "flushall", "acl"} & {*role.commands}


@pytest.mark.parametrize("words", [[], ["--topic", "raw"], ["--partitions", "12"]])
def test_ingest_needs_its_topic_and_how_many_partitions_that_has(words: list[str]) -> None:
    done = CliRunner().invoke(acls_group, ["kafka", "--role", "ingest", "--principal", "User:x", *words])
    assert (done.exit_code, "needs --topic" in done.output) == (2, True)


def test_ingest_may_write_by_one_id_for_each_partition_of_the_topic_that_it_reads_not_of_ours() -> None:
    settings = load(flags={"topic_partitions": 2})
    given = kafka_acls.grants("ingest", settings, kafka_acls.Asked(topics=("raw",), partitions=3))
    (ids,) = [grant.names for grant in given if grant.resource == "transactional-id"]
    assert ids == tuple(f"stream-app-ingest-raw-{number}" for number in range(3))
