"""One batch by the compiled engine: what `batch.py` and `emission.py` say, byte for byte, in a fraction of the time.

It reads, folds and writes; features and scores are computed here, with the same NumPy and the same model as in Python.
What labels have to do with is folded by the reference in Python: visitors that a batch tells of a checkout, and those
with a told checkout waiting. A batch's records then come from both, put in order again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stream_app.core import codec, events, features, moments, pages, records, session, state
from stream_app.core.batch import Batch, count_rejected, effects_of, open_visitors
from stream_app.core.effects import Effects, Keyed, Position
from stream_app.core.emission import MIX, ORDINAL_BITS, example_records, ordinals, reasons_of
from stream_app.core.events import Event
from stream_app.core.native import engine
from stream_app.core.plan import Plan, Rules, Scorer
from stream_app.core.schedule import ExpirySchedule


def compiled_engine(rules: Rules) -> Any | None:
    """The engine that the rules ask for, None for Python; raises ImportError if it is asked for and not built."""
    module = engine(rules.engine)
    return module.Engine(settings_of(rules)) if module is not None else None


def settings_of(rules: Rules) -> dict[str, Any]:
    """Everything that the engine is not to know by itself."""
    return {
        "gap_ms": rules.gap_ms,
        "quiet_ms": rules.quiet_ms,
        "trend_turn": moments.units_of(rules.trend_turn),
        "logit_units": moments.LOGIT_UNITS,
        "mean_share": moments.MEAN_SHARE,
        "history_ttl_ms": rules.history_ttl_ms,
        "late_label_ms": rules.late_label_ms,
        "reservoir_size": rules.reservoir_size,
        "event_types": list(events.EVENT_TYPES),
        "group_of_type": [pages.GROUP_OF_TYPE[name] for name in events.EVENT_TYPES],
        "page_view": events.EVENT_CODE["page_view"],
        "groups": len(pages.GROUPS),
        **{group: pages.GROUP_CODE[group] for group in ("purchase", "refund", "cart", "uncart")},
        "page_group": pages.page_group,
        "feature_names": list(features.FEATURE_NAMES),
        "feature_schema": features.FEATURE_SCHEMA,
        "raw_count": len(features.RAW),
        **{f"raw_{name}": features.RAW.index(name) for name in ("cart_value", "purchases", "mobile")},
        "state_version": state.STATE_VERSION,
        "event_time_min": events.EVENT_TIME_MS_MIN,
        "event_time_ahead_max": events.EVENT_TIME_AHEAD_MS_MAX,
        "record_bytes_max": codec.RECORD_BYTES_MAX,
        "id_chars_max": events.ID_LENGTH_MAX,
        "text_chars_max": events.TEXT_LENGTH_MAX,
        "amount_max": events.AMOUNT_MAX,
        "quantity_max": events.QUANTITY_MAX,
        "session_events_max": session.SESSION_EVENTS_MAX,
        "session_age_max": session.SESSION_AGE_MS_MAX,
        "haste_step_ms": session.HASTE_STEP_MS,
        "haste_ms_max": session.HASTE_MS_MAX,
        "open_sessions_max": state.OPEN_SESSIONS_MAX,
        "tracked_keys_max": state.TRACKED_KEYS_MAX,
        "tracked_chars_max": state.TRACKED_CHARS_MAX,
        "recent_events_max": state.RECENT_EVENTS_MAX,
        "orders_max": state.ORDERS_MAX,
        "parts_max": state.PARTS_MAX,
        "taught_max": state.TAUGHT_MAX,
        "taught_keys_max": state.TAUGHT_KEYS_MAX,
        "transition_times_max": state.TRANSITION_TIMES_MAX,
        "gap_decay": session.GAP_DECAY,
        "rate_sessions": session.RATE_SESSIONS,
        "rate_purchases": session.RATE_PURCHASES,
        "mix": MIX,
        "bands": list(records.BANDS),
    }


class CompiledBatch:
    """As `Batch`, for a plan whose events the engine has read."""

    def __init__(
        self,
        compiled: Any,
        rules: Rules,
        before: Position,
        schedule: ExpirySchedule,
        plan: Plan,
        scorer: Scorer,
        now_ms: int,
    ) -> None:
        self._given = (rules, before, schedule, plan, scorer, now_ms)
        self._engine, self._rules, self._schedule = compiled, rules, schedule
        self._plan, self._scorer, self._now_ms = plan, scorer, now_ms
        self._before = before

    def run(self) -> Effects:
        """Fold, score, write: everything that follows from the batch."""
        plan = self._plan
        folded = self._engine.fold(
            plan.compiled,
            plan.blobs,
            leave={label.visitor_id for _, label in plan.labels},
            due=plan.due,
            due_until=plan.due_until,
            watermark_before=self._before.watermark.time(grace_ms=self._rules.grace_ms),
            events_offset_before=self._before.events_offset,
            events_offset=plan.events_offset,
        )
        effects = effects_of(self._before, plan, self._now_ms)
        left = set(folded.left_visitors())
        if left or plan.labels:
            reference = self._folded_in_python(folded, left)
            self._write(effects, folded, _others(reference))
            self._add(effects, folded, reference)
        else:
            self._write(effects, folded, [])
            effects.examples = folded.examples(ORDINAL_BITS)
        effects.position.open_visitors = open_visitors(self._schedule, effects)
        count_rejected(effects, plan)
        return effects

    def _write(self, effects: Effects, folded: Any, others: list[tuple[int, bytes, bytes, bytes]]) -> None:
        """Score what the engine has folded; all of its records and states but the examples.

        `others` are the score and feature records of what Python has folded, see `_others`.
        """
        scorer, count = self._scorer, len(folded)
        raw = np.frombuffer(folded.raw()).reshape(count, len(features.RAW))
        fixed = features.compute_matrix(raw)
        x = features.to_float(fixed)
        scores: npt.NDArray[np.float64] = np.empty(0)
        if count:
            scores = np.ascontiguousarray(scorer.score_many(x, folded.keys), dtype=np.float64)
        effects.score_values = scores
        fence, likely = bands = scorer.bands or (self._rules.band_fence_min, self._rules.band_likely_min)
        reasons: list[bytes | None] = []
        if self._rules.reasons != "off" and not scorer.cold:
            found = reasons_of(self._rules, scorer, folded.event_id, folded.keys, x, scores.tolist(), bands)
            reasons = [None if why is msgspec.UNSET else records.encode_reasons(why) for why in found]
        effects.features, effects.scores, counts = folded.score(
            np.ascontiguousarray(fixed, dtype=np.int32),
            scores,
            name=scorer.name,
            version=scorer.version,
            updates=scorer.updates,
            cold=scorer.cold,
            fence=fence,
            likely=likely,
            now_ms=self._now_ms,
            reasons=reasons,
            others=others,
        )
        effects.moments, told = folded.moments(moments.logits(scores), self._now_ms)
        effects.moments_told.update(dict(told))
        effects.bands.update({band: n for band, n in zip(records.BANDS, counts, strict=True) if n})
        effects.events.update(dict(folded.counts()))
        opened, closed, bound = folded.sessions()
        effects.sessions_opened, effects.sessions_closed, effects.sessions_bound = opened, closed, bound
        effects.bot_events, effects.bot_sessions = folded.bots()
        effects.closed = folded.closed()
        effects.states, effects.deadlines = folded.states(self._schedule.deadlines)

    def _folded_in_python(self, folded: Any, left: set[str]) -> Batch:
        """The labels and the visitors that the engine has left, folded and scored by the reference."""
        reference = Batch(*self._given)
        reference.fold(self._left_events(folded), [visitor for visitor in self._plan.due if visitor in left])
        reference.score()
        return reference

    def _add(self, effects: Effects, folded: Any, reference: Batch) -> None:
        """Everything else that the reference's part comes to."""
        told = [*folded.resolved(), *((r.trigger, r.visitor_id, len(r.outcomes)) for r in reference.resolved)]
        boundary = len(told) - len(reference.resolved)
        examples: list[Keyed] = []
        for place, first in ordinals(told):
            if place < boundary:
                examples += folded.examples_of(place, first)
            else:
                examples += example_records(reference.resolved[place - boundary], first)
        reference.write_states()
        theirs = reference.effects
        effects.examples, effects.closed = examples, [*effects.closed, *theirs.closed]
        effects.states.update(theirs.states)
        effects.deadlines.update(theirs.deadlines)
        effects.bands += theirs.bands
        effects.moments = [*effects.moments, *theirs.moments]
        effects.moments_told += theirs.moments_told
        effects.score_values = np.concatenate((effects.score_values, theirs.score_values))
        effects.events += theirs.events
        effects.labels += theirs.labels
        effects.sessions_opened += theirs.sessions_opened
        effects.sessions_closed += theirs.sessions_closed
        effects.sessions_bound += theirs.sessions_bound
        effects.bot_events += theirs.bot_events
        effects.bot_sessions += theirs.bot_sessions

    def _left_events(self, folded: Any) -> Iterator[tuple[int, int, Event]]:
        plan = self._plan
        assert plan.compiled is not None
        for place in folded.left_events:
            record = plan.records[plan.compiled.record_of(place)]
            event = codec.decode_event(record.value, record_time_ms=record.timestamp)
            assert isinstance(event, Event)
            yield place, plan.offsets[place], event


def _others(reference: Batch) -> list[tuple[int, bytes, bytes, bytes]]:
    """(offset, key, feature record, score record) of what the reference has scored, by offset."""
    scored = reference.effects
    return [
        (row.sample.offset, key, feature, score)
        for row, (key, feature), (_, score) in zip(reference.rows, scored.features, scored.scores, strict=True)
    ]
