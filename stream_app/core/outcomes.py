"""Outcomes: how scored events become examples.

Each scored event waits in its episode's reservoir until the episode ends: in a purchase (y = 1), or with the session,
whose remaining events led to a checkout that a label has told (y = 1 for the events up to its time) or to none (y = 0).
A label that can only be one open session's resolves that session's events up to its time at once (y = 1), so that a
checkout is learned within a second whoever tells it; any other waits for its session's end, and so does what comes
after a label with an event time before it. Either way an event has one label, 0 or 1, as long as the label comes before
its session's end (docs/adr/0016 says where not); when it does decides at most which events of a long episode are
sampled, with which weights. The example carries the event's features and score as they were served; nothing is
recomputed, and a label never changes a feature. The reservoir keeps at most K events of an episode, those with the
smallest hash of the event: a uniform sample that any replay repeats.
"""

from __future__ import annotations

from itertools import chain
from typing import Final, NamedTuple

from stream_app.core.pages import GROUP_CODE
from stream_app.core.records import Keys, LabelSource, Touched
from stream_app.core.state import Mark, Sample, Session

#: The steps by which something comes into a cart, see `Keys.step`.
_CART_STEPS: Final = 0b11 << 2 * GROUP_CODE["cart"]


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


def admit(session: Session, sample: Sample, *, reservoir_size: int) -> None:
    """Offer a scored event to the episode's reservoir; the ones with the smallest rank stay, in order of arrival."""
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
    session: Session,
    visitor_id: str,
    *,
    label: int,
    source: LabelSource,
    time: int,
    events_offset: int,
    until: int | None = None,
) -> list[Outcome]:
    """Take the samples up to event time `until` (all if None) out of the reservoir, as outcomes.

    The last of them carries the keys the episode has touched since an earlier checkout of it; when the session went on
    past `until`, only those known by that last sample. `events_offset` is that of the visitor's newest event so far.
    """
    chosen = [s for s in session.samples if until is None or s.event_time <= until]
    if not chosen:
        return []
    weight = session.population / len(session.samples)
    items, categories, brands = list(session.items), list(session.categories), list(session.brands)
    last = chosen[-1]
    if until is None or session.last <= until:
        reached = [len(items), len(categories), len(brands), session.steps]
        transitions = session.transitions
    else:
        reached = [last.items, last.categories, last.brands, last.steps]
        transitions = dict(zip(last.transitions[::2], last.transitions[1::2], strict=True))
    touched = _touched(session, reached, transitions, items, categories, brands)
    outcomes = [
        Outcome(
            sample,
            visitor_id,
            session.session_id,
            sample_keys(sample, session, items, categories, brands),
            label,
            weight,
            source,
            time,
            touched if sample is last else None,
            events_offset,
        )
        for sample in chosen
    ]
    session.population -= round(weight * len(chosen))
    session.samples = [s for s in session.samples if s.event_time > until] if until is not None else []
    session.touched = [*map(max, session.touched[:3], reached[:3]), session.touched[3] | reached[3]]
    session.transitions_told = {**session.transitions_told, **transitions}
    return outcomes


def resolve_told(session: Session, visitor_id: str, mark: Mark, *, events_offset: int) -> list[Outcome]:
    """Take the samples up to the checkout that a label told."""
    return resolve(
        session,
        visitor_id,
        label=1,
        source="label",
        time=mark.time,
        events_offset=events_offset,
        until=mark.time,
    )


def sample_keys(sample: Sample, session: Session, items: list[str], categories: list[str], brands: list[str]) -> Keys:
    """The names behind a sample, from the episode's keys and how many were known by then."""
    return Keys(
        items[sample.item] if sample.item >= 0 else None,
        categories[sample.category] if sample.category >= 0 else None,
        brands[sample.brand] if sample.brand >= 0 else None,
        session.source,
        session.country,
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


def _touched(
    session: Session,
    reached: list[int],
    transitions: dict[int, int],
    items: list[str],
    categories: list[str],
    brands: list[str],
) -> Touched | None:
    fresh_items = items[session.touched[0] : reached[0]]
    fresh_categories = categories[session.touched[1] : reached[1]]
    fresh_brands = brands[session.touched[2] : reached[2]]
    fresh_steps = reached[3] & ~session.touched[3]
    told = session.transitions_told
    if not (fresh_items or fresh_categories or fresh_brands or fresh_steps):
        return None
    return Touched(
        fresh_items,
        fresh_categories,
        fresh_brands,
        [step for step in range(fresh_steps.bit_length()) if fresh_steps >> step & 1],
        session.source,
        session.country,
        bool(reached[3] & _CART_STEPS),
        pairs({code: times - told.get(code, 0) for code, times in transitions.items() if times > told.get(code, 0)}),
    )
