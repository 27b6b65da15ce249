"""A schema registry with Confluent's REST API: schemas by their number, and versions of them under subjects.

A handful of requests of that API are all that is needed, so this is they, on the HTTP client that is there already.
(Confluent's own client blocks the event loop, or brings an HTTP stack of its own; `python-schema-registry-client` does
the latter.) Apicurio, Karapace and Redpanda have the same API.

Source: Confluent, "Schema Registry API Reference", https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

from __future__ import annotations

import base64
import json
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

import aiohttp

from stream_app import __version__
from stream_app.bounded_body import bounded_body
from stream_app.settings import Settings

#: One request, in seconds: a registry answers from memory. Whoever asks tries again, so a long wait helps nobody.
_TIMEOUT_S: Final = 10.0

#: Of an answer: a schema of thousands of fields has some hundred kB.
_ANSWER_BYTES_MAX: Final = 2_000_000

#: Schemas that one schema refers to, directly or through others: nobody's have more than a handful.
REFERENCES_MAX: Final = 64

_CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"

#: The API's codes for what is not there: a schema's number, a subject, a version, a subject's own level.
_NOT_THERE: Final = frozenset({40403, 40401, 40402, 40408})
_INCOMPATIBLE: Final = 409


class RegistryError(Exception):
    """The registry gave no answer of use. Retryable: it may be away, or somebody may mend what is wrong meanwhile."""


class IncompatibleError(Exception):
    """A schema may not follow those of its subject; the text says why, as the registry does."""


class RegisteredSchema(NamedTuple):
    """A schema as it was registered: its kind (`AVRO`, `JSON`, `PROTOBUF`), its text, and those that it refers to.

    `references` are texts of the same kind, each after those that it refers to itself.
    """

    kind: str
    text: str
    references: tuple[str, ...]


class SchemaRegistry:
    """Asks the registry of the settings. Use it as an asynchronous context, or `close` it.

    Raises
    ------
    RegistryError
        From every call, if there is no answer of use.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.schema_registry_url
        self._url = settings.schema_registry_url
        user, password = settings.schema_registry_user, settings.schema_registry_password.get_secret_value()
        self._headers = {"Accept": _CONTENT_TYPE, "User-Agent": f"stream-app/{__version__}"}
        if user:
            # RFC 7617, in UTF-8 as browsers and curl do.
            self._headers["Authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        self._session: aiohttp.ClientSession | None = None

    async def check(self) -> None:
        """Whether there is a registry that lets us in."""
        # Asked without a number of its own: every registry knows the levels, and this one needs no right to write.
        await self._ask("GET", "/schemas/types")

    async def schema(self, number: int) -> RegisteredSchema | None:
        """The schema of this number with all that it refers to; None if the registry knows no such number."""
        found = await self._ask("GET", f"/schemas/ids/{number}")
        if found is None:
            return None
        texts: list[str] = []
        await self._collect(found, texts, set())
        return RegisteredSchema(_kind(found), _text(found), tuple(texts))

    async def register(self, subject: str, schema: str) -> int:
        """Make an Avro schema the subject's newest version, if it is not one already; its number.

        Raises
        ------
        IncompatibleError
            If the subject's level does not allow it after those before.
        """
        found = await self._ask("POST", f"/subjects/{_quoted(subject)}/versions", {"schema": schema})
        return int(_field(found, "id", int))

    async def compatible(self, subject: str, schema: str) -> list[str]:
        """Why the subject's level does not allow an Avro schema as its next version; empty if it does."""
        path = f"/compatibility/subjects/{_quoted(subject)}/versions?verbose=true"
        found = await self._ask("POST", path, {"schema": schema})
        if found is None or _field(found, "is_compatible", bool):
            return []  # None: there is no such subject yet
        return [str(each) for each in found.get("messages") or ["the registry does not say why"]]

    async def set_level(self, subject: str, level: str) -> None:
        """Say which versions may follow each other under a subject: `BACKWARD`, `FULL_TRANSITIVE`, …"""
        await self._ask("PUT", f"/config/{_quoted(subject)}", {"compatibility": level})

    async def level(self, subject: str) -> str | None:
        """The subject's own level; None if it has none."""
        found = await self._ask("GET", f"/config/{_quoted(subject)}")
        return None if found is None else str(_field(found, "compatibilityLevel", str))

    async def close(self) -> None:
        """Give the connections up."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _collect(self, schema: Any, texts: list[str], seen: set[tuple[str, int]]) -> None:
        """Add the texts that a schema refers to, what is referred to first."""
        references = schema.get("references") if isinstance(schema, dict) else None
        for reference in references if isinstance(references, list) else ():
            subject, version = _field(reference, "subject", str), _field(reference, "version", int)
            if (subject, version) in seen:
                continue
            seen.add((subject, version))
            if len(seen) > REFERENCES_MAX:
                raise self._error(f"got more than {REFERENCES_MAX} references of one schema, expected fewer")
            found = await self._ask("GET", f"/subjects/{_quoted(subject)}/versions/{version}")
            if found is None:
                raise self._error(f"got no version {version} of {subject}, to which a schema refers")
            await self._collect(found, texts, seen)
            texts.append(_text(found))

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; its answer, or None if the registry says that there is no such thing."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), headers=self._headers
            )
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=None if body is None else json.dumps(body),
                headers={} if body is None else {"Content-Type": _CONTENT_TYPE},
            ) as answer:
                status, content = answer.status, await bounded_body(answer.content, _ANSWER_BYTES_MAX + 1)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._error(f"does not answer: {error or type(error).__name__}") from None
        if len(content) > _ANSWER_BYTES_MAX:
            raise self._error(f"got an answer of more than {_ANSWER_BYTES_MAX} bytes, expected a schema")
        return self._understood(method, status, content)

    def _understood(self, method: str, status: int, content: bytes) -> Any:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if status == 200 and isinstance(found, dict | list):
            return found
        told = found.get("message", "") if isinstance(found, dict) else ""
        code = found.get("error_code", 0) if isinstance(found, dict) else 0
        # A 404 of anything else (a proxy, a wrong path) has no such code, and must not make dead letters of records.
        if status == 404 and code in _NOT_THERE:
            return None
        if status == _INCOMPATIBLE and method == "POST":
            raise IncompatibleError(str(told) or "the registry does not say why")
        if status in (401, 403):
            advice = "; set schema_registry_user and schema_registry_password, with the right to do this"
        elif told and status != 404:
            advice = ""
        else:
            advice = ", expected an answer of a schema registry: is schema_registry_url right, with its path?"
        raise self._error(f"got status {status}{f' ({str(told)[:300]})' if told else ''}{advice}")

    def _error(self, what: str) -> RegistryError:
        return RegistryError(f"the schema registry at {self._url}: {what}")


def _kind(schema: Any) -> str:
    return str(schema.get("schemaType") or "AVRO")  # left out for Avro, which was the only kind once


def _text(schema: Any) -> str:
    return str(_field(schema, "schema", str))


def _field(answer: Any, name: str, kind: type) -> Any:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise RegistryError(f"got an answer of the schema registry without {name}, expected one")
    return value


def _quoted(subject: str) -> str:
    return quote(subject, safe="")
