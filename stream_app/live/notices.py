"""What people are told when something is wrong: a list of notices in plain words, empty when all is well.

Each is the page's side of an alert (docs/runbook.md), by the same measure where a page can take it; the alerts see all
processes, a page its own worker and what the snapshots say. Titles stay the same while a notice lasts, for whoever has
the page read aloud; numbers are in the detail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from stream_app.live.signs import FORGOTTEN_S, Signs

#: For so long Redis may not answer; as readiness has it.
REDIS_S: Final = 2.0

#: For so long outcomes may wait for a model: at a cold start one comes every five seconds, a trainer's restart takes
#: some more.
UNLEARNED_S: Final = 15.0

#: Share of the records of a minute that may be rejected, as for the alert; and how many it takes in a small shop.
REJECTED_SHARE: Final = 0.01
REJECTED_MIN: Final = 5

#: −log of the chance of a source's silence: once in half a billion, as for the alert.
SILENT_NATS: Final = 20.0

#: For so long an event may wait for its score. The alert takes ten seconds, for a minute.
BEHIND_S: Final = 5.0

#: Names of what has changed that are listed.
_NAMED_MAX: Final = 5

#: What is measured of the scores themselves (core/drift.py): discounts are decided by them.
_OF_SCORES: Final = frozenset({"log_loss", "surprise", "bias", "score"})

_ORDER: Final = ("critical", "warning")


class Notice(NamedTuple):
    """One thing that is wrong. `of` tells apart several of a kind; `since` is in the caller's seconds, if known."""

    kind: str
    of: str
    severity: Literal["critical", "warning"]
    title: str
    detail: str
    #: the section of the runbook
    alert: str
    since: float | None = None


class Said(NamedTuple):
    """What the process says of itself at this moment; times in seconds."""

    #: component → why it is not ready
    not_ready: Mapping[str, str] = {}
    #: how long Redis has not answered, 0 if it does; batches of states that wait for it
    redis_wait_s: float = 0.0
    batches_queued: int = 0
    #: events and labels that wait in Kafka, None if not known; for how long the oldest has
    lag_records: int | None = 0
    lag_s: float = 0.0
    #: what behaves otherwise than usual (core/drift.py)
    changed: Sequence[str] = ()


def notices(signs: Signs, said: Said, *, now: float) -> list[Notice]:
    """All of them, the critical ones first; `now` of the clock that `signs` were told."""
    found = [
        *_redis(said, now),
        *_not_ready(said),
        *_behind(said, now),
        *_rejected(signs, now),
        *_silences(signs, now),
        *_nobody_learns(signs, now),
        *_changed(said),
    ]
    return sorted(found, key=lambda notice: _ORDER.index(notice.severity))


def notice_facts(notice: Notice, *, now: float, now_ms: int) -> dict[str, Any]:
    """A notice as JSON values, with `since` in ms since the epoch."""
    since = None if notice.since is None else now_ms - int(1000 * (now - notice.since))
    return {**notice._asdict(), "since": since}


def _redis(said: Said, now: float) -> Iterator[Notice]:
    if said.redis_wait_s > REDIS_S:
        yield Notice(
            "redis_away",
            "",
            "critical",
            "Redis does not answer",
            f"For {lasting(said.redis_wait_s)}; {counted(said.batches_queued, 'batch', 'batches')} of states wait for "
            "it. Scores go on as long as the visitors' states are in memory, then they wait. Nothing is lost.",
            "RedisViewBehind",
            now - said.redis_wait_s,
        )


def _not_ready(said: Said) -> Iterator[Notice]:
    for component, words in said.not_ready.items():
        if component == "worker" and said.redis_wait_s > REDIS_S:
            continue  # it is for Redis that it waits, which is told
        yield Notice(
            "not_ready", component, "warning", f"The {component} is not ready", f"It says: {words}.", "NotReady"
        )


def _behind(said: Said, now: float) -> Iterator[Notice]:
    if said.lag_s > BEHIND_S:
        records = "" if said.lag_records is None else f": {counted(said.lag_records, 'record')}"
        yield Notice(
            "behind",
            "",
            "warning",
            "Scores come late",
            f"Waiting in Kafka{records}, the oldest for {lasting(said.lag_s)}. A burst is worked off without help; "
            "steady traffic of this size needs more workers.",
            "LagHigh",
            now - said.lag_s,
        )


def _rejected(signs: Signs, now: float) -> Iterator[Notice]:
    by_place = signs.rejected(now)
    rejected, records = sum(by_place.values()), signs.records.within(60, now)
    if rejected >= REJECTED_MIN and rejected > REJECTED_SHARE * records:
        (topic, reason), most = next(iter(by_place.items()))
        yield Notice(
            "records_rejected",
            "",
            "warning",
            "Records are rejected",
            f"{counted(rejected, 'record')} of the last minute cannot be used, {counted(most)} of them for the reason "
            f"{reason} ({topic}). They are kept on the dead letters' topic; visitors they tell of are not scored.",
            "DeadLettersGrowing",
        )


def _silences(signs: Signs, now: float) -> Iterator[Notice]:
    titles = {"purchase": "The shop tells of no purchase", "label": "The order system tells of no checkout"}
    for source, silence in signs.silences.items():
        if silence.heard is None or now - silence.heard > FORGOTTEN_S or silence.surprise < SILENT_NATS:
            continue
        yield Notice(
            "checkouts_missing",
            source,
            "warning",
            titles[source],
            f"Nothing for {lasting(now - silence.heard)}, in which about {counted(round(silence.missed))} were to be "
            "expected. As long as that lasts the model takes buyers for visitors who did not buy.",
            "LabelsMissing",
            silence.heard,
        )


def _nobody_learns(signs: Signs, now: float) -> Iterator[Notice]:
    since = signs.unlearned_since
    if since is not None and now - since > UNLEARNED_S:
        yield Notice(
            "nobody_learns",
            "",
            "critical",
            "Nobody learns",
            f"Sessions have ended, and no model has learned from them for {lasting(now - since)}. Scores go on with "
            "the model as it was: the trainer is away or waits, or its snapshots are refused here.",
            "NobodyLearns",
            since,
        )


def _changed(said: Said) -> Iterator[Notice]:
    if not said.changed:
        return
    of_scores = [name for name in said.changed if name in _OF_SCORES]
    named = [*of_scores, *(name for name in said.changed if name not in _OF_SCORES)]
    more = f" and {len(named) - _NAMED_MAX} more" if len(named) > _NAMED_MAX else ""
    listed = ", ".join(name.replace("_", " ") for name in named[:_NAMED_MAX]) + more
    yield Notice(
        "behaviour_changed",
        "",
        "critical" if of_scores else "warning",
        "The scores have changed" if of_scores else "Visitors behave otherwise than before",
        f"Not as at the same hours of the days before: {listed}. It stays here until the new is what is usual, two "
        "days at least.",
        "DriftOfTheScores" if of_scores else "Drift",
    )


def lasting(seconds: float) -> str:
    """A time as people say it: 40 s, 5 min, 3 h, 2 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6_000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def counted(number: int, one: str = "", several: str = "") -> str:
    """A number with its noun: 1 batch, 1,204 batches; the plural has an s if it is not given."""
    noun = one if number == 1 or not one else several or f"{one}s"
    return f"{number:,} {noun}".rstrip()
