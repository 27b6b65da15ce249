"""Outcomes: how scored events become examples.

Each scored event waits in its episode's reservoir until the episode ends: in a purchase (y = 1), or with the session,
whose remaining events led to a checkout that a label has told (y = 1 for the events up to its time) or to none (y = 0).
A label that can only be one open session's resolves that session's events up to its time at once (y = 1), so that a
checkout is learned within a second whoever tells it; any other waits for its session's end, and so does what comes
after a label with an event time before it. Either way an event has one label, 0 or 1, as long as the label comes before
its session's end (docs/adr/0016 says where not); when it does decides at most which events of a long episode are
sampled, with which weights. What comes later corrects it (`corrections.py`). The example carries the event's features
and score as they were served; nothing is recomputed, and a label never changes a feature. A bot's session has no
outcomes from where it is known to be one. The reservoir keeps at most K
events of an episode, those with the smallest hash of the event: a uniform sample that any replay repeats.
"""

from __future__ import annotations

from itertools import chain
from typing import Final, NamedTuple

import msgspec

from stream_app.core.pages import GROUP_CODE
from stream_app.core.records import Keys, LabelSource, Touched
from stream_app.core.session import order_of
from stream_app.core.state import LABEL, Mark, Sample, Session, Taught

#: The steps by which something comes into a cart, see `Keys.step`.
_CART_STEPS: Final = 0b11 << 2 * GROUP_CODE["cart"]

#: By the codes of `Taught.source`.
_SOURCES: Final[tuple[LabelSource, ...]] = ("session_end", "purchase", "label")


class Outcome(NamedTuple):
    """A resolved sample on its way to becoming an example. The score may still be unset: it is filled in its batch."""

    sample: Sample
    visitor_id: str
    session_id: str
    keys: Keys
    label: int
    weight: float
    source: LabelSource
    time: int
    touched: Touched | None
    events_offset: int
    #: of a correction, what was told before, and with which time
    previous: int = -1
    previous_time: int = -1


def admit(session: Session, sample: Sample, *, reservoir_size: int) -> None:
    """Offer a scored event to the episode's reservoir; the ones with the smallest rank stay, in order of arrival.

    A bot's teach nothing, and nor do those before it was known to be one.
    """
    if session.bot:
        session.samples, session.population = [], 0
        return
    session.population += 1
    samples = session.samples
    if len(samples) < reservoir_size:
        samples.append(sample)
        return
    worst = max(range(len(samples)), key=lambda i: samples[i].rank)
    if sample.rank < samples[worst].rank:
        del samples[worst]
        samples.append(sample)


def resolve(
    session: Session, *, label: int, source: int, time: int, orders: list[str], until: int | None = None
) -> Taught | None:
    """Take the samples up to event time `until` (all if None) out of the reservoir; None if there are none.

    A bot's session has none. `source` is a code of `Taught.source`.
    """
    if session.bot or not session.samples:
        return None
    whole = Taught(
        session.session_id,
        session.given_id,
        session.start,
        session.last,
        label,
        source,
        time,
        orders,
        session.population / len(session.samples),
        session.source,
        session.country,
        list(session.items),
        list(session.categories),
        list(session.brands),
        session.steps,
        session.touched,
        dict(session.transitions),
        session.transitions_told,
        session.samples,
        session.orders if source == LABEL else [],
    )
    parts = part(whole, until)
    if parts is None:
        return None
    taken, rest = parts
    session.population -= round(taken.weight * len(taken.samples))
    session.samples = rest.samples if rest is not None else []
    session.touched = _accounted(taken)
    session.transitions_told = {**taken.transitions_before, **taken.transitions}
    return taken


def resolve_told(session: Session, mark: Mark) -> Taught | None:
    """Take the samples up to the checkout that a label told."""
    orders = [order_of(mark.order_id, mark.time)]
    return resolve(session, label=1, source=LABEL, time=mark.time, orders=orders, until=mark.time)


def part(whole: Taught, until: int | None) -> tuple[Taught, Taught | None] | None:
    """The samples up to event time `until` (all if None), and the others, if there are; None if all come after it.

    When the session went on past `until`, the first part has only the keys that its last sample knew.
    """
    chosen = [s for s in whole.samples if until is None or s.event_time <= until]
    if not chosen:
        return None
    if until is None or whole.last <= until:
        return whole, None
    last = chosen[-1]
    first = msgspec.structs.replace(
        whole,
        items=whole.items[: last.items],
        categories=whole.categories[: last.categories],
        brands=whole.brands[: last.brands],
        steps=last.steps,
        transitions=dict(zip(last.transitions[::2], last.transitions[1::2], strict=True)),
        samples=chosen,
    )
    after = [s for s in whole.samples if s.event_time > until]
    if not after:
        return first, None
    rest = msgspec.structs.replace(
        whole,
        touched_before=_accounted(first),
        transitions_before={**whole.transitions_before, **first.transitions},
        samples=after,
    )
    return first, rest


def tell(taught: Taught, visitor_id: str, *, events_offset: int) -> list[Outcome]:
    """The outcomes, in order of arrival. `events_offset` is that of the visitor's newest event so far.

    The last of them carries the keys the episode has touched since an earlier outcome of it.
    """
    touched, last = touched_by(taught), taught.samples[-1]
    items, categories, brands = taught.items, taught.categories, taught.brands
    return [
        Outcome(
            sample,
            visitor_id,
            taught.session_id,
            sample_keys(sample, items, categories, brands, source=taught.origin, country=taught.country),
            taught.label,
            taught.weight,
            _SOURCES[taught.source],
            taught.time,
            touched if sample is last else None,
            events_offset,
        )
        for sample in taught.samples
    ]


def sample_keys(
    sample: Sample,
    items: list[str],
    categories: list[str],
    brands: list[str],
    *,
    source: str | None,
    country: str | None,
) -> Keys:
    """The names behind a sample, from the episode's keys and how many were known by then."""
    return Keys(
        items[sample.item] if sample.item >= 0 else None,
        categories[sample.category] if sample.category >= 0 else None,
        brands[sample.brand] if sample.brand >= 0 else None,
        source,
        country,
        sample.step,
        items[: sample.items],
        categories[: sample.categories],
        brands[: sample.brands],
        sample.transition,
        sample.transitions,
    )


def pairs(transitions: dict[int, int]) -> list[int]:
    """Transitions and their times as they are written: code, times, code, times, …"""
    return list(chain.from_iterable(transitions.items()))


def touched_by(taught: Taught) -> Touched | None:
    """The keys that are told with an outcome; None if an earlier one of its episode has told them all."""
    items, categories, brands, steps = taught.touched_before
    fresh_items, fresh_categories, fresh_brands = (
        taught.items[items:],
        taught.categories[categories:],
        taught.brands[brands:],
    )
    fresh_steps = taught.steps & ~steps
    told = taught.transitions_before
    if not (fresh_items or fresh_categories or fresh_brands or fresh_steps):
        return None
    return Touched(
        fresh_items,
        fresh_categories,
        fresh_brands,
        [step for step in range(fresh_steps.bit_length()) if fresh_steps >> step & 1],
        taught.origin,
        taught.country,
        bool(taught.steps & _CART_STEPS),
        pairs(
            {code: times - told.get(code, 0) for code, times in taught.transitions.items() if times > told.get(code, 0)}
        ),
    )


def _accounted(taught: Taught) -> list[int]:
    """`Session.touched` after an outcome."""
    reached = map(len, (taught.items, taught.categories, taught.brands))
    *before, steps = taught.touched_before
    return [*map(max, before, reached), steps | taught.steps]
