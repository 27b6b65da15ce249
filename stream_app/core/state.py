"""What is remembered of a visitor between two events, and the blob it travels in.

One blob per visitor: a version byte, then MessagePack arrays. The same bytes go to the changelog and to Redis, and the
owner's cache holds them too: decoding a blob gives a private copy to fold on, so a batch that fails leaves no trace.

What must not live here: anything learned (that is the model's), anything told by a checkout label that a feature could
see (labels change outcomes, never features), and anything that grows without a bound. Every list and dict below names
its bound.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

import msgspec

#: First byte of every blob. Raise it when the layout changes, and teach `decode` the old one. A field at the end of a
#: struct, with a default, is no other layout: a blob without it is read, and one with it by a program that knows none.
STATE_VERSION: Final = 1

#: Distinct items, categories and brands tracked per episode. A person views a handful and the 99.9th percentile of the
#: REES46 and RetailRocket sessions is below 60; a crawler views thousands: past the bound they count but are not named.
TRACKED_KEYS_MAX: Final = 64

#: … and their characters together: names of honest shops have 10 to 40, and each scored event repeats those of its
#: episode in its records. 64 of the longest would make records of 300 kB.
TRACKED_CHARS_MAX: Final = 4096

#: Fingerprints of a visitor's last events, by which a repeated delivery is recognised. Producers repeat within one
#: in-flight window (Kafka's default is 5 batches); 32 is several seconds of the busiest human.
RECENT_EVENTS_MAX: Final = 32

#: Checkouts told by labels, kept until the session ends that they belong to. One that belongs to none stays until newer
#: ones push it out or the blob's time to live is over.
MARKS_MAX: Final = 8

#: Checkouts that a session's purchase events made (see `session.order_of`): an order told again by a label counts once.
ORDERS_MAX: Final = 8

#: Told outcomes that a late word may still correct: a purchase, what came after it, and the visitor's session before.
TAUGHT_MAX: Final = 4

#: An outcome of more items, categories or brands is not remembered: most are crawlers', and theirs are the large ones.
#: The longest names in one with 24 samples take 80 kB.
TAUGHT_KEYS_MAX: Final = 32

#: Orders taken back, so that their checkouts, told late or once more, stay so: as many as checkouts are kept.
TAKEN_BACK_MAX: Final = MARKS_MAX

#: Times that a transition counts in one episode: a crawler that turns ten thousand pages tells of one habit, not more.
TRANSITION_TIMES_MAX: Final = 8

#: Session ids of finished sessions remembered with their part number, so that an id that returns is told apart.
#: Twice as many as can be open at once.
PARTS_MAX: Final = 8

#: Sessions of one visitor open at the same time (several devices or tabs); past it the oldest is closed. Ids have up to
#: 1 kB in UTF-8, so a hostile session takes about 210 kB, and a blob must fit in a Kafka message (1 MB by default).
OPEN_SESSIONS_MAX: Final = 4


class StateVersionError(ValueError):
    """A blob was written by another version. Not retryable: the text says what to do."""


class DamagedStateError(ValueError):
    """A blob cannot be read. In the view it is replaced from the changelog; in the changelog a person must act."""


class _Finished(msgspec.Struct, array_like=True, gc=False):
    """The first field of a `History`, read alone."""

    sessions: int


class _Applied(msgspec.Struct, array_like=True, gc=False):
    """The first fields of a `Visitor`, read alone."""

    events_offset: int
    labels_offset: int
    history: _Finished


class Sample(msgspec.Struct, array_like=True, gc=False):
    """A scored event that waits for its outcome, with everything its example will say.

    `x` holds the features as scored, see `features.pack`.
    `items`, `categories` and `brands` are how many of the episode's tracked keys had been seen by then, since keys are
    only ever appended; `item`, `category`, `brand` are positions among them, −1 for none. `steps` is a bit set.
    """

    rank: int
    event_id: str
    event_type: int
    event_time: int
    events: int
    offset: int
    x: bytes
    item: int
    category: int
    brand: int
    step: int
    items: int
    categories: int
    brands: int
    steps: int
    score: float = -1.0
    model_version: int = -1
    cold: bool = False
    #: the transition that the event made, −1 for none, and those of its episode by then: code, times, code, times, …
    transition: int = -1
    transitions: list[int] = []


class Session(msgspec.Struct, array_like=True):
    """An open session. Times in ms UTC; gaps in ms; money in the shop's own currency.

    The fields after `purchases` describe the current episode and start anew at each checkout event.
    """

    session_id: str
    given_id: str | None
    part: int
    start: int
    last: int
    source: str | None = None
    country: str | None = None
    mobile: bool = False
    events: int = 0
    gap_last: int = 0
    gap_sum: int = 0
    gap_max: int = 0
    gap_decayed: float = 0.0
    purchases: int = 0
    spend: float = 0.0
    orders: list[str] = []
    # the episode
    episode: int = 1
    episode_start: int = 0
    episode_events: int = 0
    group_counts: list[int] = []
    group_last: int = -1
    #: item → [times seen, time first seen]; the next two: key → times seen. At most TRACKED_KEYS_MAX each.
    items: dict[str, list[int]] = {}
    categories: dict[str, int] = {}
    brands: dict[str, int] = {}
    item_last: str | None = None
    category_last: str | None = None
    item_events: int = 0
    item_repeats_max: int = 0
    cart_time: int = 0
    cart_count: int = 0
    cart_value: float = 0.0
    price_sum: float = 0.0
    price_count: int = 0
    price_min: float = 0.0
    price_max: float = 0.0
    steps: int = 0
    #: how many items, categories, brands and which steps an earlier label of this episode has already accounted for
    touched: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0, 0])
    #: the reservoir: at most K of the `population` scored events since the last resolved checkout
    samples: list[Sample] = []
    population: int = 0
    #: transition (`pages.transition_code`) → times, at most TRANSITION_TIMES_MAX; and those accounted for, as `touched`
    transitions: dict[int, int] = {}
    transitions_told: dict[int, int] = {}
    # What moments are told from (`moments.py`). No feature reads it: it depends on the scores, on labels, on the clock.
    #: of its newest score the band's code, −1 before there is one, and the trend; then the decayed mean of the logits,
    #: that one included, both in thousandths, and the side on which the trend was last seen: 1, −1, 0 neither yet
    band: int = -1
    trend: int = 0
    logit_mean: int = 0
    side: int = 0
    #: its `last` when it was told that it is quiet, and the time of the newest checkout that a label has told; 0 never
    quiet_told: int = 0
    checkout_told: int = 0
    #: place among `brands`, −1 for none
    brand_last: int = -1
    #: its newest score, where the visitor's newest is of another session
    scored: LastScore | None = None
    #: the category last touched in the episodes before this one
    category_before: str | None = None
    #: no person's: nothing is learned from it any more, and no moment told of it (docs/quality.md)
    bot: bool = False
    #: how far its events are ahead of one every `session.HASTE_STEP_MS`
    haste: int = 0

    def quiet_at(self, gap_ms: int, quiet_ms: int) -> int | None:
        """The event time (ms) at which it has been quiet for long with a full cart; None if it is not to be told."""
        if self.cart_count and self.cart_time > self.checkout_told and self.quiet_told != self.last and not self.bot:
            return self.last + quiet_ms if quiet_ms < gap_ms else None
        return None


class History(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a visitor's finished sessions; `last_seen` 0 means there were none."""

    sessions: int = 0
    purchases: int = 0
    spend: float = 0.0
    last_seen: int = 0
    #: session id without its part number → the last part; at most PARTS_MAX, the latest ones
    parts: dict[str, int] = {}


class Mark(msgspec.Struct, array_like=True, gc=False):
    """A checkout told by a label at `offset`: events up to `time` in its session ended in it."""

    time: int
    order_id: str
    session_id: str | None
    offset: int


#: Codes of what told an outcome: a session's end, a purchase event, or a label.
SESSION_END: Final = 0
PURCHASE: Final = 1
LABEL: Final = 2


class Taught(msgspec.Struct, array_like=True, gc=False):
    """An outcome that examples have told, as it was told: what a late word needs to correct it.

    The samples of a part of an episode, with the names behind them (see `Sample`). `source` is the code of what told
    it; `orders` are those of the checkout that it led to, or else those of all the session's purchases, see
    `session.order_of`; `purchases` those of the session's purchases where `orders` are of a label's checkout.
    `touched_before` and `transitions_before` say what an earlier outcome of the episode has
    accounted for, see `Session.touched`.
    """

    session_id: str
    given_id: str | None
    start: int
    last: int
    label: int
    source: int
    time: int
    orders: list[str]
    weight: float
    origin: str | None
    country: str | None
    items: list[str]
    categories: list[str]
    brands: list[str]
    steps: int
    touched_before: list[int]
    transitions: dict[int, int]
    transitions_before: dict[int, int]
    samples: list[Sample]
    purchases: list[str] = []


class LastScore(msgspec.Struct, array_like=True, gc=False):
    """The visitor's newest score, kept for `stream-app session` and `explain`; no feature reads it.

    The fields after `x` say which names are behind it: those of the session whose id has the CRC-32 `session`, which it
    has not seen an event of since. `item`, `category`, `brand`, `step` and `transition` are as in `Sample`.
    """

    event_id: str
    event_time: int
    score: float
    band: str
    model_version: int
    cold: bool
    x: bytes
    session: int = 0
    item: int = -1
    category: int = -1
    brand: int = -1
    step: int = -1
    transition: int = -1


class Visitor(msgspec.Struct, array_like=True):
    """All that is kept of a visitor. The applied offsets make folding idempotent: a record at or below is known."""

    events_offset: int = -1
    labels_offset: int = -1
    history: History = msgspec.field(default_factory=History)
    sessions: list[Session] = []
    recent: list[int] = []
    marks: list[Mark] = []
    last_score: LastScore | None = None
    #: at most TAUGHT_MAX, the latest ones, in the order in which they were told
    taught: list[Taught] = []
    #: order ids; at most TAKEN_BACK_MAX, the latest ones
    taken_back: list[str] = []

    def deadline(self, gap_ms: int, quiet_ms: int) -> int | None:
        """The event time (ms) at which a session of the visitor is over or quiet; None if none is open."""
        earliest: int | None = None
        for session in self.sessions:
            quiet = session.quiet_at(gap_ms, quiet_ms)
            deadline = session.last + gap_ms if quiet is None else quiet
            if earliest is None or deadline < earliest:
                earliest = deadline
        return earliest

    def keep_score(self, current: Session, score: LastScore) -> None:
        """Make an open session's score the visitor's newest; one of another session is kept with that session."""
        before = self.last_score
        if len(self.sessions) > 1 and before is not None and before.session != score.session:
            for session in self.sessions:
                if crc32(session.session_id.encode()) == before.session:
                    session.scored = before
        self.last_score, current.scored = score, None

    def score_of(self, session: Session) -> LastScore | None:
        """The newest score of an open session; None only of one that was last seen before such were kept."""
        newest = self.last_score
        if newest is not None and newest.session == crc32(session.session_id.encode()):
            return newest
        return session.scored


_DECODER: Final = msgspec.msgpack.Decoder(Visitor)
_APPLIED_DECODER: Final = msgspec.msgpack.Decoder(_Applied)
_ENCODER: Final = msgspec.msgpack.Encoder()
_PREFIX: Final = bytes([STATE_VERSION])


def encode(visitor: Visitor) -> bytes:
    """The blob of a visitor."""
    return _PREFIX + _ENCODER.encode(visitor)


def decode(blob: bytes) -> Visitor:
    """A private copy of the visitor in a blob.

    Raises
    ------
    StateVersionError
        If the blob was written by another version.
    DamagedStateError
        If it is empty, or is not what this version writes.
    """
    _check_version(blob)
    try:
        return _DECODER.decode(memoryview(blob)[1:])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedStateError(f"got a damaged state of version {STATE_VERSION}: {error}") from None


def applied(blob: bytes) -> tuple[int, int, int]:
    """How far a blob has come: its events and labels offsets, and the sessions that have ended; raises as `decode`.

    Of two states of one visitor the greater is the newer: only the clock changes a state without an offset, and it ends
    sessions.
    """
    _check_version(blob)
    try:
        offsets = _APPLIED_DECODER.decode(memoryview(blob)[1:])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedStateError(f"got a damaged state of version {STATE_VERSION}: {error}") from None
    return offsets.events_offset, offsets.labels_offset, offsets.history.sessions


def _check_version(blob: bytes) -> None:
    if not blob:
        raise DamagedStateError("got an empty state")
    if blob[:1] != _PREFIX:
        raise StateVersionError(
            f"got state version {blob[0]}, this program reads version {STATE_VERSION}: run the version that wrote it, "
            "or start a new group id and topic prefix to rebuild the states from the events"
        )
