"""What a batch comes to, as records: scores and features of the events, examples of the outcomes, closed sessions.

Everything is computed for the whole batch at once: one feature matrix, one call of the model, one pass of encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core import features, records, state
from stream_app.core.effects import Effects, Keyed
from stream_app.core.events import EVENT_TYPES, Event
from stream_app.core.outcomes import Outcome
from stream_app.core.plan import Rules, Scorer
from stream_app.core.records import Keys, Reasons

#: Outcomes of one visitor from one trigger: at most four sessions of 24 samples. 32 + 16 bits fit JSON's exact 53.
ORDINAL_BITS: Final = 16

#: With `reasons` at `sampled` one event in this many has them: enough to see what moves scores, at a small cost.
SAMPLED_ONE_IN: Final = 16
#: Knuth's multiplicative hash spreads CRC-32 (linear in its input) over the range; ranks only need to be fair.
MIX: Final = 2_654_435_761


class Scored(NamedTuple):
    """A scored event on its way into the records."""

    event: Event
    event_time: int
    session_id: str
    events: int
    late: bool
    sample: state.Sample
    keys: Keys
    watermark: int
    last: state.LastScore
    #: for moments: whose event it is, what was last touched in the episode by then, whether a checkout began with it
    session: state.Session
    item_last: str | None
    category_last: str | None
    brand_last: str | None
    bought: bool
    #: its session was known to be a bot's by then
    bot: bool


class Ending(NamedTuple):
    """Where in the stream something ended, see `records.ClosedSession`: by an event's offset or a deadline (ms)."""

    kind: int
    place: int
    next_offset: int

    @property
    def trigger(self) -> tuple[int, int]:
        """What examples carry of it."""
        return self.kind, self.place


class Resolved(NamedTuple):
    """Outcomes of one visitor and what triggered them: a kind and its place, see `Ending`."""

    trigger: tuple[int, int]
    visitor_id: str
    outcomes: list[Outcome]


def write_scores(
    effects: Effects, rules: Rules, scorer: Scorer, rows: list[Scored], raw: list[tuple[float, ...]], *, now_ms: int
) -> None:
    """Score the events of a batch, write their records, and complete their samples.

    `raw` holds the fold's raw numbers, one tuple per row, in the order of `features.RAW`.
    """
    if not rows:
        return
    fixed = features.compute(raw)
    x = features.to_float(fixed)
    keys_of_rows = [row.keys for row in rows]
    effects.score_values = scorer.score_many(x, keys_of_rows)
    scores = effects.score_values.tolist()
    packed = features.pack(fixed)
    values = x.tolist()
    name, version, updates, cold = scorer.name, scorer.version, scorer.updates, scorer.cold
    fence, likely = scorer.bands or (rules.band_fence_min, rules.band_likely_min)
    reasons = reasons_of(rules, scorer, lambda n: rows[n].event.event_id, keys_of_rows, x, scores, (fence, likely))
    encode, feature_values = records.encode, features.FeatureValues
    bands = [0, 0, 0]
    feature_records: list[Keyed] = []
    score_records: list[Keyed] = []
    for row, score, data, numbers, why in zip(rows, scores, packed, values, reasons, strict=True):
        event, event_time, session_id, events, late, sample, keys, watermark, last = row[:9]
        sample.score, sample.x, sample.model_version, sample.cold = score, data, version, cold
        code = (score >= fence) + (score >= likely)
        bands[code] += 1
        band = records.BANDS[code]
        event_id, visitor_id, event_type = event.event_id, event.visitor_id, event.event_type
        key = visitor_id.encode()
        feature_records.append(
            (
                key,
                encode(
                    records.FeatureRecord(
                        event_id,
                        visitor_id,
                        session_id,
                        event_time,
                        event_type,
                        events,
                        feature_values(*numbers),
                        keys,
                    )
                ),
            )
        )
        score_records.append(
            (
                key,
                encode(
                    records.ScoreRecord(
                        event_id,
                        visitor_id,
                        session_id,
                        event_time,
                        event_type,
                        events,
                        score,
                        band,
                        name,
                        version,
                        updates,
                        cold,
                        late,
                        now_ms,
                        watermark,
                        why,
                        True if row.bot else msgspec.UNSET,
                    )
                ),
            )
        )
        last.score, last.x, last.model_version, last.cold, last.band = score, data, version, cold, band
    effects.features, effects.scores = feature_records, score_records
    effects.bands.update({band: count for band, count in zip(records.BANDS, bands, strict=True) if count})


def last_score(event_id: str, event_time: int, session_id: str, sample: state.Sample, band: str) -> state.LastScore:
    """What is kept of a scored event until its visitor's next one; as complete as the sample is."""
    return state.LastScore(
        event_id,
        event_time,
        sample.score,
        band,
        sample.model_version,
        sample.cold,
        sample.x,
        crc32(session_id.encode()),
        sample.item,
        sample.category,
        sample.brand,
        sample.step,
        sample.transition,
    )


def is_sampled(event_id: str) -> bool:
    """Whether an event is among the one in `SAMPLED_ONE_IN` that `sampled` explains: by hash of its id."""
    return (crc32(event_id.encode()) * MIX & 0xFFFFFFFF) * SAMPLED_ONE_IN < 1 << 32


def reasons_of(
    rules: Rules,
    scorer: Scorer,
    event_id: Callable[[int], str],
    keys: Sequence[Keys],
    x: npt.NDArray[np.float64],
    scores: Sequence[float],
    bands: tuple[float, float],
) -> list[Reasons | msgspec.UnsetType]:
    """The reasons of those rows that are to have some, asked for together; `event_id` gives the n-th row's."""
    found: list[Reasons | msgspec.UnsetType] = [msgspec.UNSET] * len(scores)
    if rules.reasons == "off" or scorer.cold:
        return found
    if rules.reasons == "fence":
        fence, likely = bands
        chosen = [n for n, score in enumerate(scores) if fence <= score < likely]
    elif rules.reasons == "sampled":
        chosen = [n for n in range(len(scores)) if is_sampled(event_id(n))]
    else:
        chosen = list(range(len(scores)))
    if chosen:
        for n, reasons in zip(chosen, scorer.reasons_many(x[chosen], [keys[n] for n in chosen]), strict=True):
            found[n] = reasons
    return found


def write_examples(effects: Effects, resolved: list[Resolved]) -> None:
    """Write the examples, in the order and with the ordinals of `ordinals`."""
    order = ordinals((entry.trigger, entry.visitor_id, len(entry.outcomes)) for entry in resolved)
    effects.examples = [record for place, first in order for record in example_records(resolved[place], first)]


def example_records(resolved: Resolved, first: int) -> list[Keyed]:
    """The examples of one visitor's outcomes, with ordinals from `first` on."""
    told = resolved.outcomes
    if not told:
        return []
    key = resolved.visitor_id.encode()
    values = features.to_float(features.unpack_many([outcome.sample.x for outcome in told])).tolist()
    return [
        (key, records.encode(example_record(outcome, (*resolved.trigger, first + n), len(told) - 1 - n, numbers)))
        for n, (outcome, numbers) in enumerate(zip(told, values, strict=True))
    ]


def ordinals(resolved: Iterable[tuple[tuple[int, int], str, int]]) -> list[tuple[int, int]]:
    """In which order outcomes are written, given as (trigger, visitor, examples): the place of each, its first ordinal.

    Neither depends on where batches are cut, nor on which other visitors' outcomes had been taken before a crash.
    """
    ranked = sorted(
        (trigger, crc32(visitor_id.encode()), visitor_id, place, count)
        for place, (trigger, visitor_id, count) in enumerate(resolved)
    )
    found = []
    before, n = None, 0
    for trigger, rank, _, place, count in ranked:
        if before != (trigger, rank):
            before, n = (trigger, rank), 0
        found.append((place, rank << ORDINAL_BITS | n))
        n += count
    return found


def example_record(
    outcome: Outcome, position: tuple[int, int, int], left: int, values: Sequence[float]
) -> records.Example:
    """An outcome as what the model learns from; `values` are its sample's features, in the order of their names."""
    sample = outcome.sample
    return records.Example(
        event_id=sample.event_id,
        visitor_id=outcome.visitor_id,
        session_id=outcome.session_id,
        event_time=sample.event_time,
        event_type=EVENT_TYPES[sample.event_type],
        events=sample.events,
        features=features.FeatureValues(*values),
        keys=outcome.keys,
        score=sample.score,
        model_version=sample.model_version,
        cold=sample.cold,
        label=outcome.label,
        weight=outcome.weight,
        label_source=outcome.source,
        label_time=outcome.time,
        position=position,
        touched=outcome.touched,
        events_offset=outcome.events_offset,
        left=left,
        previous=outcome.previous,
        previous_time=outcome.previous_time,
    )


def closed_record(
    visitor_id: str,
    session: state.Session,
    *,
    labelled: int,
    reason: Literal["gap", "bound"],
    ending: Ending,
    labels_offset: int,
) -> records.ClosedSession:
    """The summary of a finished session; `labelled` counts the checkouts that labels told of it."""
    return records.ClosedSession(
        visitor_id=visitor_id,
        session_id=session.session_id,
        start=session.start,
        end=session.last,
        duration_ms=session.last - session.start,
        events=session.events,
        purchases=session.purchases,
        labelled_checkouts=labelled,
        spend=session.spend,
        source=session.source,
        country=session.country,
        reason=reason,
        position=ending.trigger,
        next_offset=ending.next_offset,
        labels_offset=labels_offset,
        category=session.category_last or session.category_before,
        bot=session.bot,
    )
