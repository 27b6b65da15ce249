"""Our records' schemas on a real registry: registered, evolved as promised, refused where the promise would break."""

from __future__ import annotations

import copy
import json
import uuid
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from stream_app.backends.child_process import free_port
from stream_app.cli import main
from stream_app.schema_registry import IncompatibleError, RegistryError, SchemaRegistry
from stream_app.schemas.avro import AvroRecord, avro_records
from stream_app.schemas.registering import register
from stream_app.settings import Settings
from tests.support.registry import RealRegistry

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

RECORDS = {record.topic: record for record in avro_records()}
SCORES, EVENTS = RECORDS["intent.scores.v1"], RECORDS["clickstream.events.v1"]


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


def settings(registry: RealRegistry, **more: Any) -> Settings:
    return Settings(schema_registry_url=registry.url, **more)


def changed(record: AvroRecord, *, without: str = "", **field: Any) -> AvroRecord:
    schema = copy.deepcopy(record.schema)
    schema["fields"] = [each for each in schema["fields"] if each["name"] != without]
    if field:
        schema["fields"].append(field)
    return record._replace(schema=schema)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["schemas", "register", *arguments], prog_name="stream-app")


@pytest.mark.parametrize("record", RECORDS.values(), ids=list(RECORDS))
async def test_every_record_is_registered_under_its_level_and_found_again(
    record: AvroRecord, registry: RealRegistry, topic: str
) -> None:
    told = await register(settings(registry), record, topic=topic)
    assert f"{topic}-value: {record.topic} is schema " in told
    async with SchemaRegistry(settings(registry)) as asked:
        assert await asked.level(f"{topic}-value") == record.level
        number = await asked.register(f"{topic}-value", json.dumps(record.schema))
        assert f"is schema {number}, {record.level}" in told
        found = await asked.schema(number)
    assert found is not None
    assert (found.kind, json.loads(found.text), found.references) == ("AVRO", record.schema, ())


async def test_a_field_with_a_default_may_be_added_and_may_go_again(registry: RealRegistry, topic: str) -> None:
    of = settings(registry)
    first = await register(of, SCORES, topic=topic)
    later = changed(SCORES, name="certainty", type=["null", "double"], default=None)
    assert "would take" in await register(of, later, topic=topic, check_only=True)
    second = await register(of, later, topic=topic)
    assert first != second
    assert await register(of, SCORES, topic=topic) == first


@pytest.mark.parametrize(
    ("record", "of"),
    [
        (SCORES, {"name": "certainty", "type": "double"}),  # readers of it cannot read what is there
        (SCORES, {"without": "score"}),  # readers of what is there cannot read it
        (SCORES, {"without": "score", "name": "score", "type": "string"}),
        (EVENTS, {"name": "shelf", "type": "string"}),  # we could not read what shops wrote
    ],
)
async def test_what_breaks_the_promise_is_refused_by_the_registry(
    record: AvroRecord, of: dict[str, Any], registry: RealRegistry, topic: str
) -> None:
    await register(settings(registry), record, topic=topic)
    for check_only in (True, False):
        with pytest.raises(IncompatibleError, match=r"may not follow the versions that are there .* with a default"):
            await register(settings(registry), changed(record, **of), topic=topic, check_only=check_only)
    # Also from whoever does not ask before.
    async with SchemaRegistry(settings(registry)) as asked:
        with pytest.raises(IncompatibleError):
            await asked.register(f"{topic}-value", json.dumps(changed(record, **of).schema))


async def test_an_event_may_lose_a_field_that_we_do_not_need(registry: RealRegistry, topic: str) -> None:
    await register(settings(registry), EVENTS, topic=topic)
    await register(settings(registry), changed(EVENTS, without="brand"), topic=topic)


async def test_numbers_that_are_unknown_and_addresses_that_are_wrong_are_told_apart(registry: RealRegistry) -> None:
    async with SchemaRegistry(settings(registry)) as asked:
        await asked.check()
        assert await asked.schema(2_000_000_000) is None
    wrong = Settings(schema_registry_url=registry.url.replace("/ccompat/v7", "/nothing"))
    async with SchemaRegistry(wrong) as asked:
        with pytest.raises(RegistryError, match="is schema_registry_url right, with its path"):
            await asked.schema(1)
    async with SchemaRegistry(Settings(schema_registry_url=f"http://127.0.0.1:{free_port()}")) as asked:
        with pytest.raises(RegistryError, match="does not answer"):
            await asked.schema(1)


async def test_the_user_and_the_password_go_with_each_request_and_are_in_no_error(registry: RealRegistry) -> None:
    async def guarded(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Basic YXBpOnMzY3JldA==":
            return web.json_response({"error_code": 401, "message": "Unauthorized"}, status=401)
        target = registry.url + request.path_qs
        async with aiohttp.ClientSession() as client, client.request(request.method, target) as answer:
            return web.Response(status=answer.status, body=await answer.read())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", guarded)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
        at = {"schema_registry_url": f"http://127.0.0.1:{port}", "schema_registry_user": "api"}
        async with SchemaRegistry(Settings(**at, schema_registry_password="s3cret")) as asked:
            await asked.check()
            assert await asked.schema(2_000_000_000) is None
        async with SchemaRegistry(Settings(**at, schema_registry_password="wr0ng")) as asked:
            with pytest.raises(RegistryError, match=r"got status 401 .*set schema_registry_user") as refused:
                await asked.check()
        assert "wr0ng" not in str(refused.value)
    finally:
        await runner.cleanup()


def test_the_command_registers_and_tells_what_is_wrong(registry: RealRegistry, topic: str) -> None:
    at = ("--schema-registry-url", registry.url)
    done = invoke("intent.scores.v1", "--topic", topic, *at)
    assert done.exit_code == 0, done.output
    assert f"{topic}-value: intent.scores.v1 is schema" in done.output
    done = invoke("session.features.v1", "--topic", topic, *at)
    assert (done.exit_code, "may not follow the versions that are there" in done.output) == (1, True)
    for arguments, words in (
        (("intent.doubts.v1", "--topic", topic, *at), "got the record intent.doubts.v1, expected one of clickstream"),
        (("intent.scores.v1", "--topic", "intent.scores.v1", *at), "is one of our own and carries JSON"),
        (("intent.scores.v1", "--topic", topic), "got no schema registry, expected --schema-registry-url"),
        (
            ("intent.scores.v1", "--topic", topic, "--schema-registry-url", "http://a:b@c"),
            "expected these in schema_reg",
        ),
    ):
        done = invoke(*arguments)
        assert done.exit_code == 2, done.output
        assert words in " ".join(done.output.split())
        assert "a:b" not in done.output
    done = invoke("intent.scores.v1", "--topic", topic, "--schema-registry-url", f"http://127.0.0.1:{free_port()}")
    assert (done.exit_code, "does not answer" in done.output) == (1, True)
