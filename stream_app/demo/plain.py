"""The run as lines of text: for logs and pipes, and the summary at the end for everyone."""

from __future__ import annotations

from typing import Any

from producers.summary import in_words
from stream_app.demo.status import Status
from stream_app.settings import Settings


def beside(settings: Settings) -> str:
    """What to type in another terminal, so that every other command looks at this demo."""
    return (
        f"export STREAM_APP_KAFKA_BOOTSTRAP={settings.kafka_bootstrap} "
        f"STREAM_APP_REDIS_URL={settings.redis_url.get_secret_value()} "
        f"STREAM_APP_GROUP_ID={settings.group_id} STREAM_APP_CHECK_CRCS=no"
    )


def line(status: Status) -> str:
    """One line about now."""
    if status.phase == "starting":
        return f"{status.phase}: the embedded servers are up, the worker is joining"
    of = f" of {status.wanted:,}" if status.wanted is not None else ""
    quality = (
        f"auc {number(status.quality.roc_auc, 3)} (recent {number(status.recent.roc_auc, 3)}), "
        f"log-loss {number(status.quality.log_loss, 4)} (constant {number(status.quality.log_loss_constant, 4)})"
    )
    offers = f"offers {in_words(status.offers)}; " if status.offers else ""
    return (
        f"{status.seconds:6.1f} s  {status.scored:,}{of} events scored, {status.per_second:,.0f}/s, "
        f"p50 {milliseconds(status.latency_p50)}, p99 {milliseconds(status.latency_p99)}; "
        f"sessions {status.sessions_opened - status.sessions_closed:,} open, {status.sessions_closed:,} closed; "
        f"checkouts learned {status.checkouts_learned:,}; {offers}"
        f"model v{status.version} {'cold' if status.cold else 'warm'}; {quality}"
    )


def summary(facts: dict[str, Any]) -> str:
    """The table at the end, from `DemoService.facts`."""
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in sorted(facts["rejected"].items())) or "0"
    examples = facts["examples"]
    rows = [
        ("events sent", f"{facts['events_sent']:,}"),
        ("scores", f"{facts['scores']:,} in {facts['seconds']:.1f} s: {facts['events_per_second']:,.0f} events/s"),
        ("latency", f"p50 {_ms(facts['latency_p50_seconds'])}, p99 {_ms(facts['latency_p99_seconds'])}"),
        ("repeated, rejected", f"{facts['repeated']:,}, {rejected}"),
        ("sessions", f"{facts['sessions_opened']:,} opened, {facts['sessions_closed']:,} closed"),
        (
            "labels",
            f"{facts['labels_sent']:,} from the order system"
            + "".join(f", {count:,} {outcome}" for outcome, count in sorted(facts["labels"].items())),
        ),
        (
            "examples",
            f"{sum(examples.values()):,}: {examples.get('purchase', 0):,} led to a purchase, "
            f"{examples.get('label', 0):,} to a labelled checkout, {examples.get('session_end', 0):,} to none",
        ),
        (
            "learned",
            f"{facts['examples_learned']:,} examples, {facts['checkouts_learned']:,} checkouts"
            + (f", {facts['corrections']:,} corrected" if facts["corrections"] else "")
            + (f"; {facts['examples_held']:,} wait" if facts["examples_held"] else ""),
        ),
        (
            "ROC AUC",
            f"{_optional(facts['roc_auc'], 3)} (recent {_optional(facts['roc_auc_recent'], 3)}, "
            f"third event {_optional(facts['roc_auc_third_event'], 3)})",
        ),
        ("log-loss", f"{_optional(facts['log_loss'], 4)} (constant {_optional(facts['log_loss_constant'], 4)})"),
        ("base rate", f"{_optional(facts['base_rate'], 4)} (mean score {_optional(facts['mean_score'], 4)})"),
        ("model", f"{facts['model']}, snapshot {facts['model_version']}, {'cold' if facts['cold'] else 'warm'}"),
    ]
    if facts["offers"] is not None:
        rows.append(("offers", in_words(facts["offers"])))
        rows += _experiment(facts["experiment"])
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows)


def _experiment(told: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What the offers did, in the words of `discounts report`."""
    if told is None:
        return []
    if "problem" in told:
        return [("experiment", told["problem"])]
    arms = [
        f"{name} {arm['visitors']:,} visitors, {arm['settled']:,} settled, {arm['converted']:,} ordered"
        for name, arm in told["arms"].items()
    ]
    return [("experiment", "; ".join(arms)), *(("", sentence) for sentence in told["conclusions"])]


def number(value: float, digits: int) -> str:
    """A number, or a dash while it says nothing yet."""
    return "–" if value != value else f"{value:.{digits}f}"


def milliseconds(seconds: float) -> str:
    """A latency for people."""
    return "–" if seconds != seconds else f"{seconds * 1000:.0f} ms"


def _optional(value: float | None, digits: int) -> str:
    return number(float("nan") if value is None else value, digits)


def _ms(seconds: float | None) -> str:
    return milliseconds(float("nan") if seconds is None else seconds)
