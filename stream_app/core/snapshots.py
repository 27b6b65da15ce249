"""Snapshots: how a model travels from the trainer to the scorers, signed, as plain arrays.

A snapshot is a small *head* (weights, moments, counts, offsets, version) and the prior entries that changed since the
one before, each a record under its own key in a compacted topic, the head last. A reader stages entries until the head
of their version arrives, then takes all of it: between two heads nothing of a half-written snapshot is seen. Each model
name has keys of its own, so that several models share the topic.

Every record carries HMAC-SHA256 over its key and value. MessagePack, no pickle: reading a snapshot runs no code.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np

from stream_app.core.priors import EntryKey

#: Layout of the head and the entries; a reader refuses any other.
SNAPSHOT_SCHEMA: Final = 2

#: Kafka header of the signature.
SIGNATURE_HEADER: Final = "signature"

#: A record of the snapshots topic: key, value, signature.
Signed = tuple[bytes, bytes, bytes]

_ARRAY_EXT: Final = 1


class RefusedError(ValueError):
    """A snapshot record that must not be used; `reason` is a short constant for the metric."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Head(msgspec.Struct):
    """The head record. `state` is `Learner.export()`; `entries` counts the prior records of this version."""

    schema: int
    version: int
    entries: int
    published_at: int
    state: dict[str, Any]


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One prior entry: [buying sessions, sessions, carted ones] in forward-decayed form, None when dropped."""

    version: int
    counts: list[float] | None


def sign(key: bytes, value: bytes, secret: bytes) -> bytes:
    """The signature of a record."""
    return hmac.digest(secret, key + b"\0" + value, "sha256")


def head_key(model: str) -> bytes:
    """The key of a model's head."""
    return f"head/{model}".encode()


def encode_snapshot(
    model: str,
    state: dict[str, Any],
    changes: dict[EntryKey, list[float] | None],
    *,
    version: int,
    published_at: int,
    secret: bytes,
) -> list[Signed]:
    """The records of a snapshot in the order in which they must be written: entries, then the head."""
    signed: list[Signed] = []
    for (kind, name), counts in changes.items():
        key = f"prior/{model}/{kind}/{name}".encode()
        value = _ENCODER.encode(Entry(version, counts))
        signed.append((key, value, sign(key, value, secret)))
    value = _ENCODER.encode(Head(SNAPSHOT_SCHEMA, version, len(changes), published_at, state))
    signed.append((head_key(model), value, sign(head_key(model), value, secret)))
    return signed


class SnapshotReader:
    """Follows one model's records. `secret` checks the signatures."""

    def __init__(self, model: str, *, secret: bytes) -> None:
        self._head_key = head_key(model)
        self._prefix = f"prior/{model}/"
        self._secret = secret
        self._staged: dict[EntryKey, Entry] = {}

    def read(
        self, key: bytes | None, value: bytes | None, signature: bytes | None
    ) -> tuple[Head, list[tuple[EntryKey, list[float] | None]]] | None:
        """Take one record; a head with the entries to apply with it, else None.

        Raises
        ------
        RefusedError
            If the record is unsigned, wrongly signed, damaged, of another schema, or has a number that is not finite in
            it or in its entries: one such number would make every later score one. Reading may go on after it.
        """
        if key is None or value is None:
            return None
        if key != self._head_key and not key.startswith(self._prefix.encode()):
            return None
        if signature is None:
            raise RefusedError("unsigned", f"record {key!r} has no {SIGNATURE_HEADER} header")
        if not hmac.compare_digest(signature, sign(key, value, self._secret)):
            raise RefusedError("bad_signature", f"record {key!r} was not signed with our snapshot_key")
        try:
            if key == self._head_key:
                head = _HEAD_DECODER.decode(value)
            else:
                kind, _, name = key.decode()[len(self._prefix) :].partition("/")
                self._staged[kind, name] = _ENTRY_DECODER.decode(value)
                return None
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, ValueError, IndexError) as error:
            raise RefusedError("damaged", f"record {key!r}: {error}") from None
        if head.schema != SNAPSHOT_SCHEMA:
            raise RefusedError("foreign_schema", f"got schema {head.schema}, expected {SNAPSHOT_SCHEMA}")
        ready = [(entry, staged.counts) for entry, staged in self._staged.items() if staged.version <= head.version]
        self._staged = {entry: staged for entry, staged in self._staged.items() if staged.version > head.version}
        # The examples that are held back are many, and looked at by whoever learns them.
        state = {name: value for name, value in head.state.items() if name != "held"}
        if not _is_finite(state) or not _is_finite([counts for _, counts in ready]):
            raise RefusedError("non_finite", f"version {head.version} has a number that is not finite")
        return head, ready


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, np.ndarray):
        return bool(np.isfinite(value).all())
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list | tuple) else True


def signature_of(headers: Iterable[tuple[str, bytes]]) -> bytes | None:
    """The signature among a record's headers."""
    for name, value in headers:
        if name == SIGNATURE_HEADER:
            return value
    return None


def _encode_array(value: Any) -> Any:
    """An array as little-endian doubles behind its number of dimensions and its shape (uint32)."""
    if isinstance(value, np.ndarray):
        shape = np.array([value.ndim, *value.shape], dtype="<u4").tobytes()
        return msgspec.msgpack.Ext(_ARRAY_EXT, shape + value.astype("<f8").tobytes())
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"cannot encode {type(value)}")


def _decode_array(code: int, data: memoryview) -> Any:
    if code != _ARRAY_EXT:
        raise ValueError(f"got extension {code}, expected {_ARRAY_EXT}")
    dimensions = int(np.frombuffer(data[:4], dtype="<u4")[0])
    shape = np.frombuffer(data[4 : 4 + 4 * dimensions], dtype="<u4").tolist()
    return np.frombuffer(data[4 + 4 * dimensions :], dtype="<f8").reshape(shape).copy()


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_HEAD_DECODER: Final = msgspec.msgpack.Decoder(Head, ext_hook=_decode_array)
_ENTRY_DECODER: Final = msgspec.msgpack.Decoder(Entry)
