"""The topics: names, shapes, reasons. `topics create|check` and every loop read this list; nothing else names one."""

from __future__ import annotations

from typing import Final, NamedTuple

EVENTS: Final = "clickstream.events.v1"
LABELS: Final = "checkout.labels.v1"
FEATURES: Final = "session.features.v1"
SCORES: Final = "intent.scores.v1"
MOMENTS: Final = "intent.moments.v1"
EXAMPLES: Final = "training.examples.v1"
CLOSED: Final = "sessions.closed.v1"
CHANGELOG: Final = "session.changelog.v1"
SNAPSHOTS: Final = "model.snapshots.v1"
DEAD_LETTERS: Final = "dead.letters.v1"
OFFERS: Final = "discount.offers.v1"
EXPOSURES: Final = "discount.exposures.v1"
OUTCOMES: Final = "discount.outcomes.v1"


class TopicSpec(NamedTuple):
    """What a topic must look like: `copartitioned` ones share one partition count; others have `partitions`."""

    name: str
    carries: str
    copartitioned: bool
    config: dict[str, str]
    partitions: int = 1


_DAY_MS: Final = 24 * 3600 * 1000

#: A dead letter is an input record, 1 MiB by default, with its reason beside it: twice that leaves room for both, and
#: for events topics that take somewhat more. What is longer still is cut (`backends`).
_DEAD_LETTER_BYTES: Final = 2 * 1024 * 1024

#: A forest's state is a megabyte, and need not compress.
_SNAPSHOT_BYTES: Final = 2 * 1024 * 1024

TOPICS: Final[tuple[TopicSpec, ...]] = (
    # Replayed history and late labels must not vanish before they are read: a week, the Kafka default, said aloud.
    TopicSpec(EVENTS, "canonical events, keyed by visitor", True, {"retention.ms": str(7 * _DAY_MS)}),
    TopicSpec(LABELS, "checkout outcomes from the order system", True, {"retention.ms": str(30 * _DAY_MS)}),
    TopicSpec(FEATURES, "the feature record after every event", True, {"retention.ms": str(_DAY_MS)}),
    TopicSpec(SCORES, "the score record after every event", True, {"retention.ms": str(7 * _DAY_MS)}),
    # Who was away for a day has nothing to offer any more.
    TopicSpec(MOMENTS, "sessions in which one may want to act now", True, {"retention.ms": str(_DAY_MS)}),
    TopicSpec(
        EXAMPLES, "resolved examples: features as scored, score, label", True, {"retention.ms": str(30 * _DAY_MS)}
    ),
    TopicSpec(CLOSED, "one summary per finished session", True, {"retention.ms": str(7 * _DAY_MS)}),
    # Deletion besides compaction forgets visitors that stay away: history_ttl_ms and a week of margin (see adr/0004).
    # A former owner may wake up and write an old state over a newer one (`at_least_once`); who comes next, or looks
    # next, puts that right (`taking_over.py`), if it still finds the newer one.
    TopicSpec(
        CHANGELOG,
        "visitors' states, the write-ahead log behind Redis",
        True,
        {
            "cleanup.policy": "compact,delete",
            "retention.ms": str(37 * _DAY_MS),
            "min.compaction.lag.ms": str(3600 * 1000),
        },
    ),
    TopicSpec(
        SNAPSHOTS,
        "the models and what they have learned from",
        False,
        {"cleanup.policy": "compact", "max.message.bytes": str(_SNAPSHOT_BYTES)},
    ),
    TopicSpec(
        DEAD_LETTERS,
        "rejected records, bytes unchanged, with the reason",
        False,
        {"retention.ms": str(30 * _DAY_MS), "max.message.bytes": str(_DEAD_LETTER_BYTES)},
    ),
    TopicSpec(OFFERS, "discounts offered, each to one session", True, {"retention.ms": str(7 * _DAY_MS)}),
    # What an experiment has found out comes from this log, and so does who was decided about, and what was spent.
    TopicSpec(EXPOSURES, "who was eligible, offered something or held out", True, {"retention.ms": str(90 * _DAY_MS)}),
    # Figures of an experiment are made of nothing else; a shop looks at last year's.
    TopicSpec(OUTCOMES, "what became of who was exposed", True, {"retention.ms": str(400 * _DAY_MS)}),
)
