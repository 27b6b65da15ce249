"""What an earlier version stored, as it comes back: on the memory twins, or as records."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from typing import Any, Final

from tests.core.streams import RULES
from tests.loop.shop import STREAM, Shop
from tests.upgrades.keep import KEPT, SEGMENTS

VERSIONS: Final = sorted(directory.name for directory in KEPT.iterdir() if directory.is_dir())


def read(version: str, name: str) -> Any:
    """One of its files."""
    return json.loads(gzip.decompress((KEPT / version / f"{name}.json.gz").read_bytes()))


def snapshots(version: str) -> list[tuple[bytes, bytes, bytes]]:
    """Its snapshots' topic: key, value, signature."""
    return [
        (b64decode(key), b64decode(value), b64decode(sign)) for key, value, sign in read(version, "model")["snapshots"]
    ]


def states(kept: dict[str, Any]) -> dict[str, bytes]:
    """Visitor → blob, of a partition's file."""
    return {visitor: b64decode(blob) for _, visitor, blob in kept["states"]}


async def taken_up(kept: dict[str, Any], guarantee: str, *, view: bool = True) -> Shop:
    """A partition with what that version left of it, and this version as its owner; without `view` Redis is empty."""

    class OneShop(Shop):
        exactly_once = guarantee == "exactly_once"

    shop = OneShop(rules=RULES)
    for segment in STREAM[:SEGMENTS]:
        shop.append(segment)
    shop.clock = kept["clock"]
    shop.broker.commits = [tuple(kept["commit"])]
    shop.broker.changelog = [(visitor, blob and b64decode(blob)) for visitor, blob in kept["changelog"]]
    if view:
        shop.view.positions = {int(number): text.encode() for number, text in kept["positions"].items()}
        shop.view.blobs = {(number, visitor): b64decode(blob) for number, visitor, blob in kept["states"]}
        shop.view.deadlines.update({int(number): found for number, found in kept["deadlines"].items()})
    # Its first owner has not begun yet: it is given up for one that finds all this.
    await shop.crash()
    return shop
