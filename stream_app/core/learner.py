"""The trainer's fold: examples in, models that have learned each of them exactly once, and the choice among them.

    state' = fold(state, example)       the same examples in the same order give the same models and the same champion

For each example: recognise a repetition, observe (the served score against the label, before learning), then learn; one
that corrects an earlier one (`Example.previous`) puts right what that has taught (docs/adr/0023). The fold's state
contains the position it has reached in every input partition, so that models and positions travel in one snapshot and a
restart repeats and skips nothing.

One model serves, the champion; challengers learn beside it and are compared with it (`core/contender.py`). An episode's
examples come together: they are predicted together by all, then learned.

A cold start is lopsided: a checkout is told at once, a session without one only when its gap has passed, so the first
half hour would be all positives. Until the model is warm, positives therefore wait until negatives of the same age have
come, and the base rate is served (recipe 2 of a preliminary study). `hold_ms` sets a common age for good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from stream_app.core.bands import Bands, BandThresholds, Offer
from stream_app.core.champion import Champion
from stream_app.core.contender import Contender, moved
from stream_app.core.drift import Drift
from stream_app.core.example_decoding import TypedExample, check_finite
from stream_app.core.model import (
    IntentModel,
    NonFiniteError,
    PurchasePriors,
    Rows,
    input_rows,
    learn_touched,
)
from stream_app.core.prequential import Prequential
from stream_app.core.prior_tables import clock_of
from stream_app.core.priors import HALF_LIFE_MS, Clock
from stream_app.core.records import Example

#: Positives that may wait at once: an hour of a large shop's cold start. The oldest is learned when one more comes.
HELD_MAX: Final = 5_000

#: Examples of an episode that may wait for its last one: a reservoir holds at most 24 (the setting `reservoir_size`).
_EPISODE_EXAMPLES_MAX: Final = 24

#: From the first outcome to the last: 2^(span / half-life) of the priors' forward decay must stay a finite number, also
#: when millions of them are added up. 38 years; 39 would be too long.
LEARNING_SPAN_MS_MAX: Final = 980 * HALF_LIFE_MS


class Learner:
    """The fold.

    `models` are names of the zoo, the first of which serves at first; `window` is the number of examples over which
    they are compared. Without `calibrate` their scores are the classifiers' own. `hold_ms` is the common age at which
    positives are learned once warm; 0 learns them at once.
    """

    def __init__(
        self,
        models: Iterable[str],
        *,
        base_rate: float,
        hold_ms: int = 0,
        window: int = 10_000,
        bands: BandThresholds | None = None,
        calibrate: bool = True,
    ) -> None:
        #: which learner this is: when it began to learn (ms) where others left traces, 0 otherwise
        self.lineage = 0
        self.hold_ms = hold_ms
        self._base_rate, self._window, self._calibrate = base_rate, window, calibrate
        self.priors = PurchasePriors(base_rate)
        self._names = tuple(dict.fromkeys(models))
        #: by name; all share the priors
        self.contenders: dict[str, Contender] = {name: self._join(name) for name in self._names}
        self.champion = Champion(next(iter(self.contenders)))
        self.bands = bands or BandThresholds("fixed", Bands(0.08, 0.4), Offer(0.3, 0.1, 2.0, 0.0))
        self.prequential = Prequential()
        self.drift = Drift()
        self.updates = 0
        self.version = 0
        #: episodes learned
        self.positives = self.negatives = 0
        self.repeated = 0
        #: newest event time of a learned negative: positives up to here are no head start
        self.frontier = -1
        #: newest label time
        self.clock = -1
        self.held: deque[Example] = deque()
        #: partition → the examples of an episode of which more are to come
        self.pending: dict[int, list[Example]] = {}
        #: partition → next offset to read
        self.offsets: dict[int, int] = {}
        #: (partition, kind) → last position learned, see `records.Example`
        self.positions: dict[tuple[int, int], tuple[int, int]] = {}
        #: partition → offset below which examples are not learned: they made the model non-finite once
        self.poisoned: dict[int, int] = {}

    @property
    def serving(self) -> Contender:
        """The champion."""
        return self.contenders[self.champion.name]

    @property
    def model(self) -> IntentModel:
        """The champion's model."""
        return self.serving.model

    @property
    def cold(self) -> bool:
        """Whether the base rate should be served instead of the model's word."""
        return not self.serving.warm

    @property
    def base_rate(self) -> float:
        """Share of episodes that end in a checkout, as far as known."""
        return self.priors.table.base_rate

    def fold(self, partition: int, offset: int, example: Example) -> bool:
        """Take one example from the log; False if it is a repetition.

        Raises
        ------
        NonFiniteError
            If the example is not finite or has an impossible time: it leaves nothing behind but its offset.
        """
        self.offsets[partition] = offset + 1
        check_finite(example)
        self._check_time(example)
        kind, trigger, n = example.position
        place = (partition, kind)
        if (trigger, n) <= self.positions.get(place, (-1, -1)):
            self.repeated += 1
            return False
        self.positions[place] = (trigger, n)
        self.clock = max(self.clock, example.label_time)
        if example.previous < 0:
            self.prequential.observe(example)
        else:
            self.prequential.correct(example, example.previous)
        waiting = self.pending.get(partition)
        if waiting and not _same_episode(waiting[-1], example):
            # Its last one never came: what should be together is, as far as it goes.
            self._take(partition)
        if offset < self.poisoned.get(partition, 0):
            return True
        waiting = self.pending.setdefault(partition, [])
        waiting.append(example)
        if not example.left or len(waiting) >= _EPISODE_EXAMPLES_MAX:
            self._take(partition)
        return True

    def export(self) -> dict[str, Any]:
        """All of the fold's state but the priors' entries and the challengers, as plain values and arrays."""
        return {
            "model": self.champion.name,
            "champion": self.champion.export(),
            "serving": self.serving.export(),
            "standings": [list(contender.standing()) for contender in self.contenders.values()],
            "bands": self.bands.export(),
            "priors": clock_of(self.priors.table).export(),
            "prequential": self.prequential.export(),
            "drift": self.drift.export(),
            "updates": self.updates,
            "version": self.version,
            "lineage": self.lineage,
            "episodes": [self.positives, self.negatives, self.repeated],
            "clock": [self.frontier, self.clock],
            "held": [msgspec.to_builtins(example) for example in self.held],
            "pending": [
                [partition, [msgspec.to_builtins(example) for example in waiting]]
                for partition, waiting in sorted(self.pending.items())
            ],
            "offsets": [[partition, offset] for partition, offset in sorted(self.offsets.items())],
            "positions": [[*place, *position] for place, position in sorted(self.positions.items())],
        }

    def export_challengers(self) -> dict[str, dict[str, Any]]:
        """The other contenders by name. One that is not finite begins anew; that is recorded among the changes."""
        found = {}
        for name, contender in self.contenders.items():
            if name == self.champion.name:
                continue
            try:
                found[name] = contender.export()
            except NonFiniteError as error:
                self.champion.note(name, str(error), time=self.clock, updates=self.updates)
                self.contenders[name] = self._join(name, joined=self.clock)
                found[name] = self.contenders[name].export()
        return found

    def restore(self, values: dict[str, Any], challengers: dict[str, dict[str, Any]]) -> None:
        """Continue from an `export` and `export_challengers`; the priors' entries are put back apart.

        The champion is the snapshot's, be it among our models or not; of the others only ours are taken, and one of
        ours that the snapshot does not have begins to learn now. Both are recorded among the changes.

        Raises
        ------
        ValueError
            If the values are damaged, or of a model that is not in the zoo; nothing has changed then.
        """
        prequential, drift, bands = Prequential(), Drift(), self.bands.empty()
        try:
            name = str(values["model"])
            champion = Champion(name)
            champion.restore(values["champion"])
            lineage = int(values["lineage"])
            frontier, clock = (int(time) for time in values["clock"])
            # Another learner's counts are not this one's.
            ours = self.priors if lineage == self.lineage else PurchasePriors(self._base_rate)
            contenders = {
                model: self._join(model, priors=ours, joined=clock) for model in dict.fromkeys((*self._names, name))
            }
            contenders[name].restore(values["serving"])
            notes = _restore_challengers(contenders, challengers, champion=name)
            of_priors = Clock.read(values["priors"])
            bands.restore(values["bands"])
            prequential.restore(values["prequential"])
            drift.restore(values["drift"])
            updates, version = int(values["updates"]), int(values["version"])
            positives, negatives, repeated = (int(count) for count in values["episodes"])
            held: deque[Example] = deque(msgspec.convert(example, TypedExample) for example in values["held"])
            pending: dict[int, list[Example]] = {
                int(partition): [msgspec.convert(example, TypedExample) for example in waiting]
                for partition, waiting in values["pending"]
            }
            offsets = {int(partition): int(offset) for partition, offset in values["offsets"]}
            positions = {(int(p), int(k)): (int(t), int(n)) for p, k, t, n in values["positions"]}
            for example in (*held, *(example for waiting in pending.values() for example in waiting)):
                check_finite(example)
        except (ValueError, KeyError, TypeError, NonFiniteError, msgspec.ValidationError) as error:
            raise ValueError(f"got a damaged snapshot of model {values.get('model')!r} ({error!r})") from None
        self.contenders, self.champion, self.bands = contenders, champion, bands
        self.priors, self.lineage = ours, lineage
        ours.table.set_clock(**of_priors._asdict())
        self.prequential, self.drift = prequential, drift
        self.updates, self.version = updates, version
        self.positives, self.negatives, self.repeated = positives, negatives, repeated
        self.frontier, self.clock = frontier, clock
        self.held, self.pending, self.offsets, self.positions = held, pending, offsets, positions
        known = {name, *challengers}
        for model in sorted(known ^ contenders.keys()):
            text = "learns no more: not among the settings' models" if model in known else "begins to learn"
            champion.note(model, text, time=clock, updates=updates)
        for model, text in notes.items():
            champion.note(model, text, time=clock, updates=updates)

    def promote(self, name: str | None, *, reason: str, command: str = "") -> str | None:
        """Let a person choose: the champion, who then stays until told, or None to choose by log-loss again.

        Returns what speaks against it, in words, or None. `command` is remembered, so that it is obeyed once.
        """
        contender = self.contenders.get(name) if name is not None else self.serving
        refused = None
        if contender is None:
            refused = f"got model {name!r}, which is not learning: expected one of {', '.join(sorted(self.contenders))}"
        elif not contender.warm and contender is not self.serving:
            refused = (
                f"model {name} has learned {contender.positives} checkouts and {contender.negatives} other episodes: "
                "too few to be believed"
            )
        self.champion.obey(command, refused)
        if contender is None or refused is not None:
            return refused
        self.champion.pinned = name is not None
        self._crown(contender, reason)
        return None

    def freeze(self, name: str, reason: str) -> None:
        """Let a model learn no more: it stays as it is, and goes on being compared. Recorded among the changes."""
        contender = self.contenders.get(name)
        if contender is not None and not contender.frozen:
            contender.frozen = reason
            self.champion.note(name, reason, time=self.clock, updates=self.updates)

    def _join(self, name: str, *, priors: PurchasePriors | None = None, joined: int = -1) -> Contender:
        model = IntentModel(name, base_rate=self._base_rate, priors=priors or self.priors)
        return Contender(model, window=self._window, calibrate=self._calibrate, joined=joined)

    def _check_time(self, example: Example) -> None:
        """Refuse a time that the priors cannot count in: one such example would end all learning, or all that is known.

        Raises
        ------
        NonFiniteError
            Naming the time.
        """
        landmark = self.priors.table.landmark
        newest = max(example.label_time, example.previous_time)
        if landmark >= 0 and newest - landmark > LEARNING_SPAN_MS_MAX:
            raise NonFiniteError(
                f"example {example.event_id}: got label_time {newest}, expected at most {LEARNING_SPAN_MS_MAX} after "
                f"the first ({landmark})"
            )

    # ---- an episode's examples --------------------------------------------------------------------------------------

    def _take(self, partition: int) -> None:
        """Predict the examples that came together, then learn them or let them wait."""
        examples = self.pending.pop(partition)
        if examples[0].previous >= 0:
            self._correct(examples)
            self._release()
            return
        self.drift.observe(examples)
        rows = input_rows(self.priors, examples)
        label = examples[0].label
        if self.serving.warm:
            self._compare(rows, label, [example.weight for example in examples])
        if label and any(map(self._must_wait, examples)):
            self._learn_or_hold(examples, rows)
        else:
            self._learn(examples, rows)
            if not label:
                self.frontier = max(self.frontier, *(example.event_time for example in examples))
        self._release()

    def _learn_or_hold(self, examples: list[Example], rows: Rows) -> None:
        """Of positives that came together some must wait."""
        for n, example in enumerate(examples):
            if not self._must_wait(example):
                self._learn([example], rows.only(n))
                continue
            self.held.append(example)
            if len(self.held) > HELD_MAX:
                self._learn([self.held.popleft()])

    def _compare(self, rows: Rows, label: int, weights: list[float]) -> None:
        champion = self.serving
        warm = [contender for contender in self.contenders.values() if contender.warm]
        for contender in warm:
            contender.predict(rows)
        self.bands.observe(champion.p, label, weights)
        for contender in warm:
            contender.observe(label, weights, champion)
        if self.champion.pinned or len(warm) < 2:
            return
        better = [contender for contender in warm if contender.beats_champion(champion)]
        if better:
            best = min(better, key=lambda contender: contender.standing().difference)
            standing, former = best.standing(), champion.standing()
            self._crown(
                best,
                f"log-loss {standing.log_loss:.4f} against {former.log_loss:.4f}, lower by {-standing.z:.1f} standard "
                f"errors over {standing.examples:.0f} examples",
            )

    def _crown(self, contender: Contender, reason: str) -> None:
        if contender is not self.serving:
            for other in self.contenders.values():
                other.compare_anew()
        self.champion.change(contender.name, reason, time=self.clock, updates=self.updates)

    def _must_wait(self, example: Example) -> bool:
        # Those that began to wait while cold stay in the queue until their time comes, so that the model does not get
        # them as one burst when it turns warm; new ones are learned at once from then on.
        if self.hold_ms and example.event_time + self.hold_ms > self.clock:
            return True
        return self.cold and example.event_time > self.frontier

    def _release(self) -> None:
        while self.held:
            oldest = self.held[0].event_time
            if oldest > self.frontier or oldest + self.hold_ms > self.clock:
                return
            self._learn([self.held.popleft()])

    def _learn(self, examples: list[Example], rows: Rows | None = None) -> None:
        """Teach all models examples of one episode, then the priors; `rows` are their inputs, or else those of now."""
        if rows is None:
            rows = input_rows(self.priors, examples)
        label = examples[0].label
        event_ids = [example.event_id for example in examples]
        closed = sum(example.touched is not None for example in examples)
        for contender in self.contenders.values():
            contender.learn(rows, label, closed=closed, event_ids=event_ids)
        for example in examples:
            learn_touched(self.priors, example)
        self.updates += len(examples)
        self.positives += closed * label
        self.negatives += closed * (1 - label)

    def _correct(self, examples: list[Example]) -> None:
        """Put right an outcome that was learned with the other label.

        Its inputs are those of now, without the former label. An example that still waits to be learned is learned with
        the right label instead. What was measured with the former one, by which models are compared, bands chosen and
        scores calibrated, stays: it fades.
        """
        label, last = examples[0].label, examples[-1]
        if not (self.negatives if label else self.positives) and not self.held:
            # It was told to a learner before this one.
            return
        dropped = self._drop_held(examples)
        if last.touched is not None and last.event_id not in dropped:
            self.priors.table.unlearn(last.touched, last.previous, last.previous_time)
        rows = input_rows(self.priors, examples)
        for n, example in enumerate(examples):
            event_id, touched = example.event_id, example.touched
            for contender in self.contenders.values():
                if event_id in dropped:
                    contender.learn(rows.only(n), label, closed=int(touched is not None), event_ids=[event_id])
                else:
                    parted = touched is not None and touched.parted
                    contender.correct(
                        rows,
                        n,
                        label,
                        told=example.previous_time,
                        closes=touched is not None,
                        parted=parted,
                        event_id=event_id,
                    )
            # One that waited has then been taken as well.
            self.updates += 2 if event_id in dropped else 1
            if event_id in dropped:
                self.frontier = max(self.frontier, example.event_time)
        if last.touched is None:
            return
        learn_touched(self.priors, last)
        if last.event_id in dropped:
            self.negatives += 1
        else:
            positives, negatives = moved(label, parted=last.touched.parted)
            self.positives += positives
            self.negatives += negatives

    def _drop_held(self, examples: list[Example]) -> set[str]:
        """Take what is to be corrected from those that wait; the event ids of what was there."""
        if not self.held:
            return set()
        former = {(e.visitor_id, e.session_id, e.event_id, e.event_time, e.previous_time) for e in examples}
        kept: deque[Example] = deque()
        dropped = set()
        for e in self.held:
            if (e.visitor_id, e.session_id, e.event_id, e.event_time, e.label_time) in former:
                dropped.add(e.event_id)
            else:
                kept.append(e)
        self.held = kept
        return dropped


def _restore_challengers(
    contenders: dict[str, Contender], states: dict[str, dict[str, Any]], *, champion: str
) -> dict[str, str]:
    """Let challengers go on from their states; what is to be said of those that cannot, and begin anew."""
    notes = {}
    for name, contender in contenders.items():
        if name == champion or name not in states:
            continue
        try:
            contender.restore(states[name])
        except (ValueError, KeyError, TypeError) as error:
            notes[name] = f"begins anew: {error}"
    return notes


def _same_episode(one: Example, other: Example) -> bool:
    return (one.position[:2], one.visitor_id, one.session_id, one.label) == (
        other.position[:2],
        other.visitor_id,
        other.session_id,
        other.label,
    )
