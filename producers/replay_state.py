"""How far a replay has come, in a file: written only after Kafka has acknowledged, and then whole or not at all.

| killed …                          | the file says       | the next run                                              |
| --------------------------------- | ------------------- | --------------------------------------------------------- |
| before the first acknowledgement  | nothing, or no file | begins anew                                               |
| between two writes                | the earlier place   | repeats what was sent since: the same events, the same ids |
| while it is written               | the earlier place   | the same; the half-written file has another name           |
| after the last one                | all is done         | sends nothing                                             |

Event ids come from the rows, so a repeated event is known by whoever reads it; a dead letter has no id and may be there
twice. The place is a number of rows in each file, which means the same rows only while the files, and what is done with
them, are the same: all that is compared, the files by their content.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from producers.source_error import SourceError

_VERSION: Final = 1

#: A file is read in pieces of this size to tell its content; any size that fits in memory would do.
_PIECE_BYTES: Final = 1 << 20


class FileState(msgspec.Struct, kw_only=True):
    """One file: what it was, and how many of its rows (events and rejected rows) have arrived.

    `first` and `in_order` are its `Span`: known, it need not be read once more before sending. `finished`: all have.
    """

    name: str
    format: str
    size: int
    blake2b: str
    first: int
    in_order: bool
    done: int = 0
    finished: bool = False


class ReplayState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All of it. `now_ms` bounds event times: with another one, other rows would be rejected.

    `same` are the options that decide which records come of a row, by name; `sent` counts events of all runs.
    """

    version: int = _VERSION
    now_ms: int
    same: dict[str, str]
    files: list[FileState]
    sent: int = 0


class _Version(msgspec.Struct):
    """That of a state, read alone: another one's fields are not known here."""

    version: int


class StateFile:
    """Where a replay's state is kept.

    Raises
    ------
    SourceError
        By every method, if the file cannot be read or written, or does not fit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> ReplayState | None:
        """What an earlier run has left; None if there was none."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror}") from None
        try:
            found = msgspec.json.decode(data, type=_Version).version
            state = msgspec.json.decode(data, type=ReplayState) if found == _VERSION else None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{self._path}: got something else than the state of a replay ({error}); name another file"
            ) from None
        if state is None:
            raise SourceError(
                f"{self._path}: got version {found}, expected {_VERSION}; go on with the program that wrote it, or "
                "delete it to begin anew"
            )
        return state

    def write(self, state: ReplayState) -> None:
        """Replace it, so that whatever happens there is the old one or the new one."""
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            with beside.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            _sync_directory(self._path.parent)
        except OSError as error:
            raise SourceError(f"{beside}: {error.strerror}; the replay cannot note how far it is") from None

    def refuse_other(self, found: ReplayState, same: Mapping[str, str]) -> None:
        """Refuse a state that was written with other options."""
        for name, now in same.items():
            if (then := found.same.get(name, "")) != now:
                raise SourceError(
                    f"{self._path}: got {name} {now or 'none'}, expected {then or 'none'}, with which it was begun: "
                    f"the same rows would come to other records; use the same again, or delete {self._path} to begin "
                    "anew"
                )

    def refuse_changed(self, then: FileState | None, now: FileState | None) -> None:
        """Refuse a file (None: there is none) that is not the one in its place in the state."""
        if then is not None and now is not None:
            if (then.name, then.format, then.size, then.blake2b) == (now.name, now.format, now.size, now.blake2b):
                return
            got = f"got {now.name} ({now.format}, {now.size:,} bytes, {now.blake2b[:8]}…)"
            expected = f"expected {then.name} ({then.format}, {then.size:,} bytes, {then.blake2b[:8]}…) unchanged"
        else:
            got = f"got {now.name}, which is new" if now is not None else "got fewer files"
            expected = f"expected {then.name}" if then is not None else "expected the files it was begun with"
        raise SourceError(
            f"{self._path}: {got}, {expected}: the number of rows sent means other rows now; put the files back, or "
            f"delete {self._path} to begin anew"
        )


def content_of(
    path: Path, *, stop: asyncio.Event | None = None, progress: Callable[[int], None] = lambda done: None
) -> str:
    """A fingerprint of a file's bytes: BLAKE2b (RFC 7693), 16 bytes in hexadecimal. Blocking; `stop` ends it early.

    Raises
    ------
    SourceError
        If the file cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    done = 0
    try:
        with path.open("rb") as file:
            while not (stop and stop.is_set()) and (piece := file.read(_PIECE_BYTES)):
                found.update(piece)
                done += len(piece)
                progress(done)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    return found.hexdigest()


def _sync_directory(directory: Path) -> None:
    """Make a replaced name last through a power cut, too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
