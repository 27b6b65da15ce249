"""Snapshots: how models travel from the trainer to the scorers, signed, as plain arrays.

A snapshot is a *head* (the champion's weights and moments, counts, offsets, version), one record for each challenger,
the examples that wait to be learned in as many records as they need, and the prior entries that changed since the one
before, each a record under its own key in a compacted topic, the head last. A reader stages the others until the head
of their version arrives, then takes all of it: between two heads nothing of a half-written snapshot is seen. Scorers
pass over challengers and waiting examples; who goes on learning takes them too.

On the same topic a person tells the trainer which model is to serve: a *command*, under one key, so that the newest
stays.

Every record carries HMAC-SHA256 over its key and value. MessagePack, no pickle: reading a snapshot runs no code.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stream_app.core.priors import EntryKey

#: Layout of the head and the entries; a reader refuses any other.
SNAPSHOT_SCHEMA: Final = 3

#: Kafka header of the signature.
SIGNATURE_HEADER: Final = "signature"

#: A record of the snapshots topic: key, value, signature.
Signed = tuple[bytes, bytes, bytes]

#: Kafka keys: of the head, of the command, and what those of challengers and of prior entries begin with.
HEAD_KEY: Final = b"head"
COMMAND_KEY: Final = b"command"
_CHALLENGER: Final = b"challenger/"
_WAITING: Final = b"waiting/"
_PRIOR: Final = b"prior/"

#: Bytes of a record: what the topic (`topics.SNAPSHOTS`) and the clients take, less what surrounds it and ...
RECORD_BYTES_MAX: Final = 2 * 1024 * 1024 - 128 * 1024
#: ... this much for the record of a model that learns no more: what lies beside it may still grow a little.
FROZEN_BYTES: Final = 64 * 1024

#: Of a head's state, what lies in records of its own: at a large shop's cold start thousands of examples wait.
_WAITING_STATE: Final = ("held", "pending")

#: Bytes of such a record.
_WAITING_BYTES: Final = 1024 * 1024

_ARRAY_EXT: Final = 1

#: Prior entries by key, None for those dropped.
Changes = list[tuple[EntryKey, list[float] | None]]


#: The reason of a snapshot that a newer program has written. An older one is learned anew, from the examples.
NEWER: Final = "newer_schema"


class RefusedError(ValueError):
    """A snapshot record that must not be used; `reason` is a short constant for the metric."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class TooLargeError(ValueError):
    """What Kafka does not take as one record; `model` is the one that has grown too large, if it is one."""

    def __init__(self, what: str, size: int, *, model: str | None) -> None:
        super().__init__(f"{what}: got a record of {size} bytes, Kafka takes {RECORD_BYTES_MAX}")
        self.model = model


class Head(msgspec.Struct):
    """The head record. `state` is `Learner.export()`, to a scorer without the waiting examples.

    `entries` counts the prior records of this version, `waiting` those of waiting examples.
    """

    schema: int
    version: int
    entries: int
    published_at: int
    state: dict[str, Any]
    waiting: int = 0

    @property
    def lineage(self) -> int:
        """Whose learner's it is, see `Learner.lineage`."""
        lineage: int = self.state.get("lineage", 0)
        return lineage


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One prior entry: [buying sessions, sessions, carted ones] in forward-decayed form, None when dropped.

    `lineage` is that of the learner (`Learner.lineage`): counts of another decay from another time.
    """

    version: int
    counts: list[float] | None
    lineage: int = 0


def sign(key: bytes, value: bytes, secret: bytes) -> bytes:
    """The signature of a record."""
    return hmac.digest(secret, key + b"\0" + value, "sha256")


class Challenger(msgspec.Struct):
    """A challenger's record: `state` is of `Learner.export_challengers()`."""

    version: int
    state: dict[str, Any]


class Waiting(msgspec.Struct, array_like=True):
    """A piece of the waiting examples."""

    version: int
    data: bytes


class Command(msgspec.Struct):
    """A person's choice: `model` is to serve until told otherwise, None lets log-loss choose. `given_at` in ms."""

    id: str
    model: str | None
    given_at: int


class Snapshot(NamedTuple):
    """A head and what belongs to it."""

    head: Head
    entries: Changes
    challengers: dict[str, dict[str, Any]]


def encode_snapshot(
    state: dict[str, Any],
    changes: dict[EntryKey, list[float] | None],
    challengers: dict[str, dict[str, Any]],
    *,
    version: int,
    published_at: int,
    secret: bytes,
) -> list[Signed]:
    """The records of a snapshot in the order in which they must be written, the head last.

    Raises
    ------
    TooLargeError
        If one is larger than Kafka takes, naming it.
    """
    lineage = state.get("lineage", 0)
    records = [
        (_PRIOR + f"{kind}/{name}".encode(), _ENCODER.encode(Entry(version, counts, lineage)))
        for (kind, name), counts in changes.items()
    ]
    records += [
        (_CHALLENGER + name.encode(), _ENCODER.encode(Challenger(version, found)))
        for name, found in challengers.items()
    ]
    waiting = {name: state[name] for name in _WAITING_STATE if state.get(name)}
    pieces = _pieces(_ENCODER.encode(waiting)) if waiting else []
    records += [(_WAITING + b"%d" % n, _ENCODER.encode(Waiting(version, data))) for n, data in enumerate(pieces)]
    rest = {name: value for name, value in state.items() if name not in waiting}
    head = Head(SNAPSHOT_SCHEMA, version, len(changes), published_at, rest, len(pieces))
    records.append((HEAD_KEY, _ENCODER.encode(head)))
    frozen = {_CHALLENGER + name.encode() for name, found in challengers.items() if found.get("frozen")}
    if state.get("serving", {}).get("frozen"):
        frozen.add(HEAD_KEY)
    for key, value in records:
        if len(value) > RECORD_BYTES_MAX + FROZEN_BYTES * (key in frozen):
            what = f"head with champion {state.get('model')}" if key == HEAD_KEY else key.decode(errors="replace")
            raise TooLargeError(what, len(value), model=_model_in(key, state))
    return [(key, value, sign(key, value, secret)) for key, value in records]


def _pieces(data: bytes) -> list[bytes]:
    return [data[start : start + _WAITING_BYTES] for start in range(0, len(data), _WAITING_BYTES)]


def _model_in(key: bytes, state: dict[str, Any]) -> str | None:
    if key == HEAD_KEY:
        return str(state.get("model"))
    return key.removeprefix(_CHALLENGER).decode() if key.startswith(_CHALLENGER) else None


def encode_command(command: Command, *, secret: bytes) -> Signed:
    """The record of a command."""
    value = _ENCODER.encode(command)
    return COMMAND_KEY, value, sign(COMMAND_KEY, value, secret)


def read_command(
    key: bytes | None, value: bytes | None, signature: bytes | None, *, secret: bytes, former: Sequence[bytes] = ()
) -> Command | None:
    """The command in a record; None if it holds something else. Raises RefusedError as `SnapshotReader.read`."""
    if key != COMMAND_KEY or value is None:
        return None
    _check_signature(key, value, signature, (secret, *former))
    try:
        return _COMMAND_DECODER.decode(value)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise RefusedError("damaged", f"command: {error}") from None


class SnapshotReader:
    """Follows the snapshots: for `learning` also challengers and waiting examples.

    `secret` checks the signatures; those of `former` keys are good as well, while keys are being changed.
    """

    def __init__(self, *, secret: bytes, former: Sequence[bytes] = (), learning: bool = False) -> None:
        self._secrets = (secret, *former)
        self._learning = learning
        #: where `learning`: entries whose newest record a former key has signed; without it they would be refused
        self.signed_formerly: set[EntryKey] = set()
        #: the same of challengers and waiting examples, whole: some are of models that are gone
        self.others_signed_formerly: dict[bytes, bytes] = {}
        #: the same of the head
        self.head_signed_formerly = False
        self._staged: dict[EntryKey, Entry] = {}
        self._challengers: dict[str, Challenger] = {}
        self._waiting: dict[bytes, Waiting] = {}

    def read(self, key: bytes | None, value: bytes | None, signature: bytes | None) -> Snapshot | None:
        """Take one record; a head comes back with what belongs to it, everything else gives None.

        Raises
        ------
        RefusedError
            If the record is unsigned, wrongly signed, damaged, of another schema, or has a number that is not finite in
            it or in its entries: one such number would make every later score one. Reading may go on after it.
        """
        if key is None or value is None:
            return None
        challenger, waiting = key.startswith(_CHALLENGER), key.startswith(_WAITING)
        if key != HEAD_KEY and not is_prior(key) and not (self._learning and (challenger or waiting)):
            return None
        formerly = _check_signature(key, value, signature, self._secrets) > 0
        if challenger or waiting:
            self.others_signed_formerly.pop(key, None)
            if formerly:
                self.others_signed_formerly[key] = value
        try:
            if challenger:
                self._challengers[key.removeprefix(_CHALLENGER).decode()] = _CHALLENGER_DECODER.decode(value)
                return None
            if waiting:
                self._waiting[key.removeprefix(_WAITING)] = _WAITING_DECODER.decode(value)
                return None
            if key != HEAD_KEY:
                kind, _, name = key.removeprefix(_PRIOR).decode().partition("/")
                self._staged[kind, name] = _ENTRY_DECODER.decode(value)
                if formerly and self._learning:
                    self.signed_formerly.add((kind, name))
                else:
                    self.signed_formerly.discard((kind, name))
                return None
            head = _HEAD_DECODER.decode(value)
            self.head_signed_formerly = formerly
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, ValueError, IndexError) as error:
            raise RefusedError("damaged", f"record {key!r}: {error}") from None
        if head.schema != SNAPSHOT_SCHEMA:
            raise RefusedError(
                NEWER if head.schema > SNAPSHOT_SCHEMA else "foreign_schema",
                f"got schema {head.schema}, expected {SNAPSHOT_SCHEMA}",
            )
        return self._complete(head)

    def _complete(self, head: Head) -> Snapshot:
        lineage = head.lineage
        here = {
            entry: staged
            for entry, staged in self._staged.items()
            if staged.lineage == lineage and staged.version <= head.version
        }
        ready = [(entry, staged.counts) for entry, staged in here.items()]
        # One that learns no more keeps its last record: it is of an older version.
        challengers = {name: found.state for name, found in self._challengers.items() if found.version == head.version}
        broken = [entry for entry, counts in ready if not _is_finite(counts)]
        for entry in broken:
            del self._staged[entry]
        if broken or not _is_finite(head.state) or not _is_finite(challengers):
            raise RefusedError("non_finite", f"version {head.version} has a number that is not finite")
        # Those of an older lineage are nobody's any more; those of a head to come wait for it.
        self._staged = {
            entry: staged for entry, staged in self._staged.items() if entry not in here and staged.lineage >= lineage
        }
        if self._learning and head.waiting:
            # They are many; whoever learns them looks at each.
            head.state |= self._waiting_of(head)
        return Snapshot(head, ready, challengers)

    def put_back(self, found: Snapshot) -> None:
        """A snapshot could not be used: its entries are those of the next one as well."""
        head = found.head
        for entry, counts in found.entries:
            self._staged.setdefault(entry, Entry(head.version, counts, head.lineage))

    def _waiting_of(self, head: Head) -> dict[str, Any]:
        pieces = [self._waiting.get(b"%d" % n) for n in range(head.waiting)]
        data = b"".join(piece.data for piece in pieces if piece is not None and piece.version == head.version)
        try:
            return _STATE_DECODER.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise RefusedError("damaged", f"waiting examples of version {head.version}: {error}") from None


def _check_signature(key: bytes, value: bytes, signature: bytes | None, secrets: Sequence[bytes]) -> int:
    """Which of the keys has signed the record."""
    if signature is None:
        raise RefusedError("unsigned", f"record {key!r} has no {SIGNATURE_HEADER} header")
    for place, secret in enumerate(secrets):
        if hmac.compare_digest(signature, sign(key, value, secret)):
            return place
    raise RefusedError("bad_signature", f"record {key!r} was not signed with our snapshot_key")


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, np.ndarray):
        return bool(np.isfinite(value).all())
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list | tuple) else True


def is_prior(key: bytes) -> bool:
    """Whether a record holds a prior entry: they are many, and who asks for the models alone passes over them."""
    return key.startswith(_PRIOR)


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
_CHALLENGER_DECODER: Final = msgspec.msgpack.Decoder(Challenger, ext_hook=_decode_array)
_WAITING_DECODER: Final = msgspec.msgpack.Decoder(Waiting)
_STATE_DECODER: Final = msgspec.msgpack.Decoder(dict[str, Any])
_COMMAND_DECODER: Final = msgspec.msgpack.Decoder(Command)
