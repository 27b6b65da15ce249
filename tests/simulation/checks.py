"""What is asked of a run when it is over: outputs, states, view, examples and model against the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
from aiokafka.structs import TopicPartition

from stream_app import topics
from stream_app.core import moments, state
from stream_app.core.example_decoding import TypedExample
from stream_app.core.learner import Learner
from stream_app.core.processor import Rules
from stream_app.core.snapshots import HEAD_KEY, Head, RefusedError, SnapshotReader, signature_of
from stream_app.learning import new_learner
from stream_app.settings import Settings
from tests.simulation.broker import Broker
from tests.simulation.log import Entry, Log
from tests.simulation.reference import Reference, Violation
from tests.simulation.shop import Input
from tests.simulation.view import SimulatedView

_EXAMPLE = msgspec.json.Decoder(TypedExample)

#: What depends on which model was served and when: compared apart.
_BY_CHANCE = (
    "score", "model_version", "model_updates", "cold", "band", "model", "scored_at", "reasons", "trend",
)  # fmt: skip


#: Kinds of moments that no score has a part in.
_WITHOUT_SCORES = ("quiet", "bought")
#: What is compared of the others: `_mask` would take away what they are about.
_FOLLOWED = ("visitor_id", "session_id", "event_id", "moment_id", "kind", "trend", "previous_band")


class Checks:
    """One run's promises."""

    def __init__(self, settings: Settings, rules: Rules, broker: Broker, view: SimulatedView, given: Input) -> None:
        self._settings, self._rules, self._broker, self._view, self._given = settings, rules, broker, view, given
        self._exactly_once = settings.processing_guarantee == "exactly_once"

    def run(self) -> None:
        """Raises Violation."""
        for partition in range(self._broker.topics[self._settings.topic(topics.EVENTS)]):
            self._check_partition(partition)
        self._check_model()

    # ---- one partition ----------------------------------------------------------------------------------------------

    def _check_partition(self, partition: int) -> None:
        self._check_scored(partition)
        reference = self._reference(partition)
        told = f"partition {partition}"
        for name, expected in (
            (topics.SCORES, reference.scores),
            (topics.FEATURES, reference.features),
            (topics.CLOSED, reference.closed),
        ):
            found = [_masked(entry.message.value) for entry in self._entries(name, partition)]
            wanted = [_masked(value) for _, value in expected]
            identity = _closed_id if name == topics.CLOSED else _event_id
            self._check_outputs(f"{told}, {name}", found, wanted, identity)
        self._check_moments(partition, reference)
        self._check_examples(partition, reference)
        self._check_dead_letters(partition, reference)
        self._check_states(partition, reference)

    def _check_scored(self, partition: int) -> None:
        """Without any reference: every valid event of the input has a score, and in exactly_once only one."""
        ids = [_decoded(entry)["event_id"] for entry in self._entries(topics.SCORES, partition)]
        expected = self._given.events[partition]
        if missing := sorted(expected - set(ids)):
            raise Violation(f"partition {partition}: {len(missing)} events were never scored: {missing[:5]}")
        if self._exactly_once and len(ids) != len(set(ids)):
            twice = sorted({event for event in ids if ids.count(event) > 1})
            raise Violation(f"partition {partition}: {len(twice)} events were scored twice: {twice[:5]}")

    def _reference(self, partition: int) -> Reference:
        settings = self._settings
        place = TopicPartition(settings.topic(topics.EVENTS), partition)
        reference = Reference(
            self._rules,
            partition,
            self._broker.log(place),
            self._broker.log(TopicPartition(settings.topic(topics.LABELS), partition)),
        )
        commits = self._broker.group(settings.group_id).history
        if self._exactly_once:
            reference.follow_transactions(commits, place)
        else:
            reference.follow_announcements(commits, place)
        return reference

    def _check_outputs(self, told: str, found: list[Any], wanted: list[Any], identity: Callable[[Any], Any]) -> None:
        if not self._exactly_once:
            found = _first_of_each(told, found, identity)
        for visitor in dict.fromkeys(record["visitor_id"] for record in (*wanted, *found)):
            one, other = ([r for r in records if r["visitor_id"] == visitor] for records in (found, wanted))
            _same_list(f"{told} of {visitor}", one, other, identity)

    def _check_examples(self, partition: int, reference: Reference) -> None:
        """By the trainer's own rule: within a kind positions grow; what is not beyond the last is a repetition."""
        told = f"partition {partition}, examples"
        reached: dict[int, tuple[int, int]] = {}
        found: list[dict[str, Any]] = []
        by_position: dict[tuple[int, ...], dict[str, Any]] = {}
        scores = self._scores(partition)
        for entry in self._entries(topics.EXAMPLES, partition):
            example = _decoded(entry)
            served = (example["score"], example["model_version"]) in scores.get(example["event_id"], ())
            # An attempt whose scores were refused may have told its examples, and the next one finds another model.
            if self._exactly_once and not served:
                raise Violation(f"{told}: {example['event_id']} carries a score that was never served")
            masked = _mask(example)
            kind, *place = masked["position"]
            known = by_position.setdefault(tuple(masked["position"]), masked)
            if known != masked:
                raise Violation(f"{told}: two examples at {masked['position']}: {_difference(known, masked)}")
            if tuple(place) <= reached.get(kind, (-1, -1)):
                if self._exactly_once:
                    raise Violation(f"{told}: position {masked['position']} was told twice, or goes back")
                continue
            reached[kind] = (place[0], place[1])
            found.append(masked)
        labels: dict[str, int] = {}
        for example in found:
            event, label, previous = example["event_id"], example["label"], example["previous"]
            if previous >= 0 and (labels.get(event), 1 - label) != (previous, previous):
                raise Violation(
                    f"{told}: {event} is corrected from {previous} to {label}, told was {labels.get(event)}"
                )
            labels[event] = label
        learned = [example["event_id"] for example in found if example["previous"] < 0]
        if len(set(learned)) != len(learned):
            twice = sorted({event for event in learned if learned.count(event) > 1})
            raise Violation(f"{told}: learned twice: {twice[:5]}")
        _same_list(told, found, [_masked(value) for _, value in reference.examples], _event_id)

    def _check_moments(self, partition: int, reference: Reference) -> None:
        """What events, labels and time tell is the reference's; what scores tell follows from the scores served."""
        told = f"partition {partition}, moments"
        found = [_decoded(entry) for entry in self._entries(topics.MOMENTS, partition)]
        wanted = [msgspec.json.decode(value) for _, value in reference.moments]
        one, other = ([_mask(m) for m in records if m["kind"] in _WITHOUT_SCORES] for records in (found, wanted))
        self._check_outputs(told, one, other, _moment_id)
        scores = self._scores(partition)
        for moment in found:
            # An attempt whose scores were refused may have told a session's end of being quiet with another model's.
            served = (moment["score"], moment["model_version"]) in scores.get(moment["event_id"], ())
            if self._exactly_once and not served:
                raise Violation(f"{told}: {moment['moment_id']} carries a score that was never served")
            if moment["kind"] == "band" and moment["band"] == moment.get("previous_band", "unlikely"):
                raise Violation(f"{told}: {moment['moment_id']} is of no other band")
        if self._exactly_once:
            turn = moments.units_of(self._rules.trend_turn)
            followed = _followed([_decoded(entry) for entry in self._entries(topics.SCORES, partition)], turn)
            by_scores = [m for m in found if m["kind"] not in _WITHOUT_SCORES]
            shown = [{name: m.get(name) for name in _FOLLOWED} for m in by_scores]
            self._check_outputs(told, shown, followed, _moment_id)

    def _scores(self, partition: int) -> dict[str, set[tuple[float, int]]]:
        served: dict[str, set[tuple[float, int]]] = {}
        for entry in self._entries(topics.SCORES, partition):
            score = _decoded(entry)
            served.setdefault(score["event_id"], set()).add((score["score"], score["model_version"]))
        return served

    def _check_dead_letters(self, partition: int, reference: Reference) -> None:
        found = []
        for entry in self._entries(topics.DEAD_LETTERS, 0):
            headers = dict(entry.message.headers)
            if int(headers["source_partition"]) == partition:
                found.append((headers["source_topic"].decode(), int(headers["source_offset"])))
        wanted = reference.dead_letters
        if not self._exactly_once:
            found, wanted = sorted(set(found)), sorted(set(wanted))
        if sorted(found) != sorted(wanted):
            raise Violation(f"partition {partition}, dead letters: got {sorted(found)}, expected {sorted(wanted)}")

    def _check_states(self, partition: int, reference: Reference) -> None:
        newest = newest_states(self._broker.log(TopicPartition(self._settings.topic(topics.CHANGELOG), partition)))
        if set(newest) != set(reference.states):
            raise Violation(f"partition {partition}, states: got {sorted(newest)}, expected {sorted(reference.states)}")
        for visitor, blob in newest.items():
            got, expected = _plain_state(blob), _plain_state(reference.states[visitor])
            if got != expected:
                raise Violation(f"partition {partition}, state of {visitor}: {_difference(got, expected)}")
            if got["sessions"]:
                raise Violation(f"partition {partition}: {visitor} has a session that never ended")
        seen = self._view.states(partition)
        if seen != newest:
            differ = sorted(v for v in set(seen) | set(newest) if seen.get(v) != newest.get(v))
            raise Violation(f"partition {partition}, view: not what the changelog says of {differ}")
        if deadlines := self._view.memory.deadlines.get(partition):
            raise Violation(f"partition {partition}, view: deadlines are left: {deadlines}")

    # ---- the model --------------------------------------------------------------------------------------------------

    def _check_model(self) -> None:
        """The newest snapshot is the fold of the examples that are committed."""
        settings = self._settings
        learner, reader = new_learner(settings), SnapshotReader(secret=self._secret(), learning=True)
        snapshots = self._broker.log(TopicPartition(settings.topic(topics.SNAPSHOTS), 0))
        for entry in snapshots.committed():
            message = entry.message
            try:
                found = reader.read(message.key, message.value, signature_of(message.headers))
            except RefusedError:
                continue
            if found is not None:
                learner.restore(found.head.state, found.challengers)
                learner.priors.table.put_changes(found.entries)
        expected = new_learner(settings)
        partitions = self._broker.topics[settings.topic(topics.EXAMPLES)]
        for partition in range(partitions):
            for entry in self._entries(topics.EXAMPLES, partition):
                expected.fold(partition, entry.offset, _EXAMPLE.decode(entry.message.value or b""))
        got, wanted = _plain_learner(learner), _plain_learner(expected)
        if partitions > 1:
            # In which order the partitions' examples came is chance.
            got, wanted = ({name: one[name] for name in _ORDERLESS} for one in (got, wanted))
            counted = learner.updates + len(learner.held), expected.updates + len(expected.held)
            if counted[0] != counted[1]:
                raise Violation(f"the model has learned {counted[0]} examples, expected {counted[1]}")
        if got != wanted:
            raise Violation(f"the model is not the fold of the examples: {_difference(got, wanted)}")

    def _secret(self) -> bytes:
        return self._settings.snapshot_key.get_secret_value().encode()

    def _entries(self, topic: str, partition: int) -> list[Entry]:
        return self._broker.log(TopicPartition(self._settings.topic(topic), partition)).committed()


_ORDERLESS = ("positions", "offsets")


def newest_states(changelog: Log) -> dict[str, bytes]:
    """What the changelog says of each visitor."""
    newest: dict[str, bytes] = {}
    for entry in changelog.committed():
        assert entry.message.key is not None
        visitor = entry.message.key.decode()
        if entry.message.value is None:
            newest.pop(visitor, None)
        else:
            newest[visitor] = entry.message.value
    return newest


def has_open_session(blob: bytes) -> bool:
    """Whether something of the visitor is not over yet."""
    return bool(state.decode(blob).sessions)


def newest_head(settings: Settings, broker: Broker) -> Head | None:
    """The newest snapshot that a reader believes."""
    reader = SnapshotReader(secret=settings.snapshot_key.get_secret_value().encode())
    log = broker.log(TopicPartition(settings.topic(topics.SNAPSHOTS), 0))
    for entry in reversed(log.committed()):
        message = entry.message
        if message.key != HEAD_KEY:
            continue
        try:
            found = reader.read(message.key, message.value, signature_of(message.headers))
        except RefusedError:
            continue
        if found is not None:
            return found[0]
    return None


def _decoded(entry: Entry) -> Any:
    return msgspec.json.decode(entry.message.value or b"")


def _event_id(record: Any) -> Any:
    return record["event_id"]


def _closed_id(record: Any) -> Any:
    # An id that a shop gives again after many sessions is a new session under an old name.
    return record["visitor_id"], record["session_id"], record["start"]


def _moment_id(record: Any) -> Any:
    return record["visitor_id"], record["session_id"], record["moment_id"]


def _followed(scores: list[dict[str, Any]], turn: int) -> list[dict[str, Any]]:
    """The moments that score records in their order must come to, by the plainest words."""
    found: list[dict[str, Any]] = []
    sessions: dict[Any, tuple[str, int, int]] = {}
    for score in scores:
        key = score["visitor_id"], score["session_id"]
        band, (logit,) = score["band"], moments.logits(np.array([score["score"]])).tolist()
        known = sessions.get(key) if score["events"] > 1 else None
        before, mean, side = known or (None, logit, 0)
        if score["event_type"] == "purchase":
            mean, side = logit, 0
        trend = logit - mean
        now = side if abs(trend) <= turn else 1 if trend > 0 else -1
        told = {"visitor_id": key[0], "session_id": key[1], "event_id": score["event_id"], "trend": trend / 1000}
        if band != (before or "unlikely"):
            found.append({**told, "kind": "band", "previous_band": before})
        if side * now < 0:
            found.append({**told, "kind": "trend", "previous_band": None})
        sessions[key] = band, mean + trend * 3 // 10, now
    return [{**moment, "moment_id": f"{moment['event_id']}:{moment['kind']}"} for moment in found]


def _mask(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _BY_CHANCE}


def _masked(value: bytes | None) -> dict[str, Any]:
    return _mask(msgspec.json.decode(value or b""))


def _first_of_each(told: str, records: Iterable[Any], identity: Callable[[Any], Any]) -> list[Any]:
    """Without repetitions; one that says something else is none."""
    known: dict[Any, Any] = {}
    for record in records:
        first = known.setdefault(identity(record), record)
        if first != record:
            raise Violation(f"{told}: {identity(record)} was told twice, differently: {_difference(first, record)}")
    return list(known.values())


def _same_list(told: str, found: list[Any], wanted: list[Any], identity: Callable[[Any], Any]) -> None:
    if found == wanted:
        return
    for index, (got, expected) in enumerate(zip(found, wanted, strict=False)):
        if got != expected:
            if identity(got) != identity(expected):
                raise Violation(f"{told}: record {index} is of {identity(got)}, expected of {identity(expected)}")
            raise Violation(f"{told}: record {index}, {identity(got)}: {_difference(got, expected)}")
    rest = [identity(record) for record in (found[len(wanted) :] or wanted[len(found) :])]
    raise Violation(f"{told}: got {len(found)} records, expected {len(wanted)}; the rest: {rest[:5]}")


def _plain_state(blob: bytes) -> dict[str, Any]:
    visitor = state.decode(blob)
    visitor.last_score = None
    for samples in (*(s.samples for s in visitor.sessions), *(taught.samples for taught in visitor.taught)):
        for sample in samples:
            sample.score, sample.model_version, sample.cold = 0.0, 0, False
    return _fields(visitor)


def _plain_learner(learner: Learner) -> dict[str, Any]:
    found = learner.export()
    # Of when it was made, and how often it was written, no promise is made.
    found.pop("version")
    found.pop("lineage")
    found["entries"] = learner.priors.table.entries()
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(found) for name, found in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(found) for found in value]
    return value


def _fields(struct: Any) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(struct, name)) for name in struct.__struct_fields__}


def _difference(got: Any, expected: Any) -> str:
    """The first field in which two records differ."""
    if isinstance(got, dict) and isinstance(expected, dict):
        for name in [*got, *expected]:
            if got.get(name) != expected.get(name):
                return f"{name}: {_difference(got.get(name), expected.get(name))}"
    return f"got {str(got)[:200]}, expected {str(expected)[:200]}"
