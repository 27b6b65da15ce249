"""A record's Avro schema as the newest version of a subject, held to what is promised of the record."""

from __future__ import annotations

import json

from stream_app.schema_registry import IncompatibleError, SchemaRegistry
from stream_app.schemas.avro import AvroRecord
from stream_app.settings import Settings


async def register(settings: Settings, record: AvroRecord, *, topic: str, check_only: bool = False) -> str:
    """Register it for a topic's values, under its level of compatibility; what was done, in words.

    The level is said first: the registry itself then refuses what breaks it, now and from whomever it comes later.

    Raises
    ------
    IncompatibleError
        If the versions that are there do not allow it; nothing was changed but the level.
    RegistryError
        If the registry gave no answer of use.
    """
    subject, schema = f"{topic}-value", json.dumps(record.schema)
    async with SchemaRegistry(settings) as registry:
        if not check_only and await registry.level(subject) != record.level:
            await registry.set_level(subject, record.level)
        if problems := await registry.compatible(subject, schema):
            raise IncompatibleError(_refused(subject, record, "; ".join(problems)))
        if check_only:
            level = await registry.level(subject)
            under = record.level if level == record.level else f"{level or 'its default level'}, not yet {record.level}"
            return f"{subject}: the registry would take the schema of {record.topic}, under {under}"
        try:
            number = await registry.register(subject, schema)
        except IncompatibleError as error:
            raise IncompatibleError(_refused(subject, record, str(error))) from None
    return f"{subject}: {record.topic} is schema {number}, {record.level}"


def _refused(subject: str, record: AvroRecord, why: str) -> str:
    return (
        f"{subject}: got the schema of {record.topic}, which may not follow the versions that are there ({why}); "
        "expected fields that are added with a default: take another topic, or the subject of that record"
    )
