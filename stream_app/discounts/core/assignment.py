"""Who is held out: a visitor's arm is a hash of its id, so that it is the same everywhere and for ever.

Nothing is stored and nothing can be lost: any process that knows the experiment's salt comes to the same arm. Another
salt is another, independent draw, and a keyed hash (BLAKE2b, RFC 7693) has nothing in common with the unkeyed murmur2
or CRC-32 by which Kafka's clients choose a partition: each partition has both arms in the same shares.

Raising the holdout's share moves visitors from treatment to holdout, lowering it the other way, and nobody else. An
experiment's figures are those of one share all the same: another share begins another experiment.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from stream_app.discounts.core.records import Arm

#: What a hash is for. Draws for one purpose say nothing about those for another.
_ARM: Final = b"arm"
_LEVEL: Final = b"level"

#: Bits of a draw: as many as a float between 0 and 1 holds exactly.
_BITS: Final = 53


class Assignment:
    """The arms and the draws of one experiment.

    `holdout_share` is the probability with which a visitor is held out. Raises ValueError if it is not within 0 and 1.
    """

    def __init__(self, experiment: str, salt: str, holdout_share: float) -> None:
        if not 0.0 <= holdout_share <= 1.0:
            raise ValueError(f"holdout_share: got {holdout_share}, expected a share from 0 to 1")
        self.holdout_share = holdout_share
        name = experiment.encode()
        self._key = blake2b(len(name).to_bytes(4, "big") + name + salt.encode()).digest()

    def arm(self, visitor_id: str) -> Arm:
        """The visitor's arm for the experiment's life."""
        return "holdout" if self._draw(visitor_id, _ARM) < self.holdout_share else "treatment"

    def level_draw(self, exposure_id: str) -> float:
        """A number ≥ 0 and < 1 by which an exposure's level is drawn, independent of the visitor's arm."""
        return self._draw(exposure_id, _LEVEL)

    def _draw(self, text: str, use: bytes) -> float:
        digest = blake2b(text.encode(), digest_size=8, key=self._key, person=use).digest()
        return float((int.from_bytes(digest, "big") >> (64 - _BITS)) / (1 << _BITS))
