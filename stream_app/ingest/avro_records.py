"""What a raw topic of Avro needs beside the others: the schemas that a batch names, before it is converted."""

from __future__ import annotations

from collections.abc import Sequence

from producers.avro.envelope import avro_format
from producers.avro.schemas import Schemas
from producers.formats import Format
from stream_app.ingest.adapting import RawRecord
from stream_app.ingest.observe import IngestObserver
from stream_app.schema_registry import SchemaRegistry
from stream_app.settings import Settings


class AvroRecords:
    """Finds the format of each batch. `inner` is of what the records hold; None recognises it.

    One per process, on its event loop: partitions share the schemas.
    """

    def __init__(self, settings: Settings, inner: Format | None, observer: IngestObserver) -> None:
        self._inner = inner
        self._registry = SchemaRegistry(settings)
        self._schemas = Schemas(self._registry, told=observer.schema)

    async def format_of(self, records: Sequence[RawRecord]) -> Format:
        """The format by which these records are read; by it, reading them needs nothing but their bytes.

        Raises
        ------
        RegistryError
            If the registry gave no answer of use: ask again.
        """
        return avro_format(self._inner, await self._schemas.of(record.value for record in records))

    async def close(self) -> None:
        """Give the connections up."""
        await self._registry.close()


def unread(inner: Format | None) -> Format:
    """The format before a batch is there: its name and what it is."""
    return avro_format(inner, {})
