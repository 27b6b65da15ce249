"""The schemas that records name, from the registry: asked for once, kept, and never guessed.

What is broken and what is away are told apart. A number that the registry does not know is a mistake of whoever wrote
the record, which becomes a dead letter; a registry that does not answer says nothing about the record, which waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias

from producers.avro.decoder import Decoder, SchemaError
from producers.avro.wire import framed
from stream_app.core.codec import Rejected
from stream_app.schema_registry import RegisteredSchema

#: Schemas kept, the newest used last. A topic has a handful; some hundred kB each at worst.
KNOWN_MAX: Final = 1_000

#: Numbers remembered as unknown, so that a flood of broken records does not become one of requests.
UNKNOWN_MAX: Final = 10_000

#: For so long, in seconds: somebody may yet put back what was lost at the registry.
UNKNOWN_S: Final = 60.0

#: A registry of several nodes knows a new schema on all of them a moment after it has told its number.
_AGAIN_S: Final = 1.0

#: Registries count in signed 32 bits; beyond it they answer as to a wrong path, which is no word on the number.
NUMBER_MAX: Final = 2**31 - 1

#: Requests under way at once.
_REQUESTS_MAX: Final = 8

#: Schema's number → how to read its records, or why they are dead letters.
Decoders: TypeAlias = Mapping[int, Decoder | Rejected]

Outcome: TypeAlias = Literal["found", "unknown"]


class Registry(Protocol):
    """What is asked of `SchemaRegistry`."""

    async def schema(self, number: int) -> RegisteredSchema | None: ...  # noqa: D102


class Schemas:
    """Those of one registry. `told` hears of each answer: the schema's number, what was found, in words what it is."""

    def __init__(
        self,
        registry: Registry,
        *,
        told: Callable[[int, Outcome, str], None],
        monotonic: Callable[[], float] = time.monotonic,
        again_s: float = _AGAIN_S,
    ) -> None:
        self._registry, self._told, self._monotonic, self._again_s = registry, told, monotonic, again_s
        self._known: dict[int, Decoder | Rejected] = {}
        #: number → when it was asked for
        self._unknown: dict[int, float] = {}

    async def of(self, values: Iterable[bytes | None]) -> Decoders:
        """What it takes to read these records, for all numbers that are named in them.

        Raises
        ------
        RegistryError
            If the registry gave no answer of use.
        """
        parts = [framed(value) for value in values if value]
        numbers = dict.fromkeys(part.schema for part in parts if not isinstance(part, Rejected))
        # Of this batch alone: what others ask for meanwhile may push out of memory what is kept.
        found: dict[int, Decoder | Rejected] = {n: _not_registered(n) for n in numbers if n > NUMBER_MAX}
        missing = [number for number in numbers if number not in found and not self._remembered(number, found)]
        if missing and (absent := await self._fetch(missing, found)):
            await asyncio.sleep(self._again_s)
            for number in await self._fetch(absent, found):
                if number not in self._unknown:
                    self._told(number, "unknown", "")
                self._unknown[number] = self._monotonic()
                found[number] = _not_registered(number)
        _bound(self._known, KNOWN_MAX)
        _bound(self._unknown, UNKNOWN_MAX)
        return found

    def _remembered(self, number: int, found: dict[int, Decoder | Rejected]) -> bool:
        """Whether this need not be asked for; then it is in `found`."""
        decoder = self._known.pop(number, None)
        if decoder is not None:
            self._known[number] = found[number] = decoder  # as the last one used
            return True
        asked = self._unknown.pop(number, None)
        if asked is None or self._monotonic() - asked >= UNKNOWN_S:
            return False
        self._unknown[number], found[number] = asked, _not_registered(number)
        return True

    async def _fetch(self, numbers: list[int], found: dict[int, Decoder | Rejected]) -> list[int]:
        """Ask for these; those that are not there. The others are kept, and in `found`."""
        limit = asyncio.Semaphore(_REQUESTS_MAX)

        async def one(number: int) -> RegisteredSchema | None:
            async with limit:
                return await self._registry.schema(number)

        try:
            async with asyncio.TaskGroup() as group:
                asked = {number: group.create_task(one(number)) for number in numbers}
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the others were cancelled, or say the same
        for number, task in asked.items():
            if (schema := task.result()) is not None:
                if number not in self._known:  # else another partition has asked meanwhile, too
                    self._known[number] = self._decoder(number, schema)
                found[number] = self._known[number]
        return [number for number in numbers if number not in found]

    def _decoder(self, number: int, schema: RegisteredSchema) -> Decoder | Rejected:
        try:
            decoder = Decoder(schema)
        except SchemaError as error:
            self._told(number, "found", str(error))
            return Rejected("unknown_schema", f"schema {number}: {error}"[:300])
        self._told(number, "found", decoder.name)
        return decoder


def _not_registered(number: int) -> Rejected:
    return Rejected(
        "unknown_schema",
        f"got a record of schema {number}, which the registry does not know, expected one that is registered there",
    )


def _bound(kept: dict[int, Any], most: int) -> None:
    """Forget what was used the longest ago."""
    while len(kept) > most:
        del kept[next(iter(kept))]
