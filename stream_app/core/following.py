"""From the records of the snapshots topic to a model that serves: one way for workers and for commands."""

from __future__ import annotations

from stream_app.core.serving import ServingModel
from stream_app.core.snapshots import RefusedError, Snapshot, SnapshotReader


def follow(
    model: ServingModel, reader: SnapshotReader, key: bytes | None, value: bytes | None, signature: bytes | None
) -> Snapshot | None:
    """Give the next record to the reader; the snapshot that the model serves from now on, None if it goes on as it was.

    Raises
    ------
    RefusedError
        If the record is none of ours, or its snapshot cannot be used; the former one stays.
    """
    found = reader.read(key, value, signature)
    if found is None or (found.head.lineage, found.head.version) <= (model.lineage, model.version):
        return None
    try:
        model.take(found.head, found.entries)
    except (ValueError, KeyError, TypeError) as error:
        # The next one is to bring what this one would have.
        reader.put_back(found)
        raise RefusedError("unusable", f"version {found.head.version}: {error!r}") from None
    return found
