"""Sessions and shop: who is there, what do they do, what do they buy, and is the feed as it should be?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import units

from ops.grafana.panel import RED, YELLOW, Board, Panel, Row, quantiles, query

_RATE: Final = "[$__rate_interval]"


def _per_session(event_type: str) -> str:
    return (
        f'sum(rate(intent_events_total{{type="{event_type}", outcome=~"scored|late"}}{_RATE}))'
        f" / sum(rate(intent_sessions_opened_total{_RATE}))"
    )


_NOW: Final = Row(
    "Now",
    (
        Panel(
            title="Visitors in the shop",
            why="Visitors with an open session. A session ends half an hour after its last event.",
            queries=(query('sum(intent_open_visitors{partition=~"$partition"})', "visitors"),),
            kind="stat", unit=units.Short, width=4, height=5,
        ),
        Panel(
            title="Sessions that begin",
            why="Sessions that began, per minute.",
            queries=(query(f"sum(rate(intent_sessions_opened_total{_RATE})) * 60", "per minute"),),
            kind="stat", unit=units.Short, width=4, height=5,
        ),
        Panel(
            title="Events",
            why="Events that were scored, per second.",
            queries=(query(f'sum(rate(intent_events_total{{outcome=~"scored|late"}}{_RATE}))', "events"),),
            kind="stat", unit=units.EventsPerSecond, width=4, height=5, runbook="ScoringStalled",
        ),
        Panel(
            title="Events of a session",
            why="Events scored for each session that begins: how long people stay.",
            queries=(
                query(
                    f'sum(rate(intent_events_total{{outcome=~"scored|late"}}{_RATE}))'
                    f" / sum(rate(intent_sessions_opened_total{_RATE}))",
                    "events",
                ),
            ),
            kind="stat", unit=units.NoUnit, decimals=1, width=4, height=5,
        ),
        Panel(
            title="Purchases",
            why="Purchase events per minute. Orders that only the order system reports are among the labels, below.",
            queries=(
                query(
                    f'sum(rate(intent_events_total{{type="purchase", outcome=~"scored|late"}}{_RATE})) * 60',
                    "per minute",
                ),
            ),
            kind="stat", unit=units.Short, width=4, height=5, runbook="LabelsMissing",
        ),
        Panel(
            title="Likely to buy",
            why="Share of the scores that were in the band `likely`.",
            queries=(
                query(
                    f'sum(rate(intent_scores_total{{band="likely"}}{_RATE})) / sum(rate(intent_scores_total{_RATE}))',
                    "likely",
                ),
            ),
            kind="stat", unit=units.PercentUnit, decimals=1, width=4, height=5,
        ),
    ),
)  # fmt: skip

_DOING: Final = Row(
    "What do they do?",
    (
        Panel(
            title="Events by type",
            why="The shop's day. A type that ends all of a sudden is a broken feed rather than a change of mind.",
            queries=(query(f"sum by (type) (rate(intent_events_total{_RATE}))", "{{type}}"),),
            kind="stack", unit=units.EventsPerSecond, width=12,
        ),
        Panel(
            title="From looking to buying",
            why="Events of each step for each session that begins. A step that falls alone points at that page of the"
            " shop.",
            queries=tuple(
                query(_per_session(name), name) for name in ("view_item", "add_to_cart", "begin_checkout", "purchase")
            ),
            unit=units.NoUnit, logarithmic=True, width=12,
        ),
        Panel(
            title="Scores by band",
            why="How many events were scored `unlikely`, `on_the_fence` and `likely` to end in a checkout.",
            queries=(query(f"sum by (band) (rate(intent_scores_total{_RATE}))", "{{band}}"),),
            kind="stack", unit=units.EventsPerSecond, width=12,
        ),
        Panel(
            title="Checkout labels",
            why="What became of the order system's labels. `unmatched` ones fit nobody: the visitor ids of shop and"
            " order system differ, or labels come after what is remembered.",
            queries=(query(f"sum by (outcome) (rate(intent_labels_total{_RATE})) * 60", "{{outcome}}"),),
            kind="stack", unit=units.Short, width=12, runbook="LabelsMissing",
        ),
        Panel(
            title="Since somebody told of a checkout",
            why="By source. Minutes in a busy shop; an order system that has fallen silent is seen here first.",
            queries=(query("time() - max by (source) (intent_last_checkout_time_seconds)", "{{source}}"),),
            kind="bars", unit=units.DurationSeconds, steps=((1_800, YELLOW), (7_200, RED)), width=12,
            runbook="LabelsMissing",
        ),
        Panel(
            title="From event to checkout",
            why="How long buyers need from an event to their checkout, in the shop's time: as long an offer has to wait"
            " for its proof.",
            queries=quantiles("intent_label_delay_seconds", 0.5, 0.9),
            unit=units.DurationSeconds, minimum=0, width=12,
        ),
    ),
)  # fmt: skip

_SESSIONS: Final = Row(
    "Sessions",
    (
        Panel(
            title="Begun and ended",
            why="By how they ended: by their `gap`, or at a `bound` (10,000 events, 24 hours, four at once), where bots"
            " do.",
            queries=(
                query(f"sum(rate(intent_sessions_opened_total{_RATE}))", "begun"),
                query(f"sum by (reason) (rate(intent_sessions_closed_total{_RATE}))", "ended: {{reason}}"),
            ),
            unit=units.CountsPerSecond, minimum=0,
        ),
        Panel(
            title="Events of a session",
            why="Of the sessions that ended: how many events they had. Most are short, and little is known of them.",
            queries=quantiles("intent_session_events", 0.5, 0.9, 0.99),
            unit=units.Short, minimum=0,
        ),
        Panel(
            title="Length of a session",
            why="Of the sessions that ended: from the first event to the last, in the shop's time.",
            queries=quantiles("intent_session_seconds", 0.5, 0.9, 0.99),
            unit=units.DurationSeconds, minimum=0,
        ),
        Panel(
            title="Open sessions by partition",
            why="About equal. One that is far above the others has a visitor id that many share.",
            queries=(query('sum by (partition) (intent_open_visitors{partition=~"$partition"})', "{{partition}}"),),
            kind="stack", unit=units.Short, width=12,
        ),
        Panel(
            title="Visitors in memory",
            why="States that the workers hold, open or not; those that are not are read from Redis when they come"
            " back.",
            queries=(query('sum by (partition) (intent_cached_visitors{partition=~"$partition"})', "{{partition}}"),),
            kind="stack", unit=units.Short, width=12,
        ),
    ),
)  # fmt: skip

_WHO_BUYS: Final = Row(
    "Who buys?",
    (
        Panel(
            title="Share that buys, by source",
            why="Of the closed sessions that a worker has read: the eight most frequent sources, and all others."
            " Sources of some hundred sessions can be compared; the live page has the intervals.",
            queries=(query("avg by (source) (intent_shop_bought_share)", "{{source}}"),),
            unit=units.PercentUnit, minimum=0, width=12,
        ),
        Panel(
            title="Sessions, by source",
            why="What the shares beside are of: closed sessions that were read, those of some hours before the"
            " workers began included.",
            queries=(query("max by (source) (intent_shop_sessions)", "{{source}}"),),
            kind="stack", unit=units.Short, width=12,
        ),
        Panel(
            title="Share that buys, by kind of journey",
            why="Kinds are numbered by their steps, the shortest first; the live page says what each is like. They are"
            " found anew when a worker begins.",
            queries=(query("avg by (kind) (intent_shop_journeys_bought_share)", "kind {{kind}}"),),
            unit=units.PercentUnit, minimum=0, width=12,
        ),
        Panel(
            title="Journeys, by kind",
            why="Of all journeys that were read, how many were of each kind. One that grows faster than the others"
            " says that visitors behave otherwise.",
            queries=(query("max by (kind) (intent_shop_journeys)", "kind {{kind}}"),),
            kind="stack", unit=units.Short, width=12,
        ),
    ),
)  # fmt: skip

_FEED: Final = Row(
    "Is the feed as it should be?",
    (
        Panel(
            title="Late, repeated, rejected",
            why="Events that came after their session was over, that came twice, or that could not be read.",
            queries=(
                query(f'sum(rate(intent_events_total{{outcome="late"}}{_RATE}))', "late"),
                query(f'sum(rate(intent_events_total{{outcome="duplicate"}}{_RATE}))', "duplicate"),
                query(f"sum(rate(intent_dead_letters_total{_RATE}))", "rejected"),
            ),
            unit=units.EventsPerSecond, minimum=0, width=12, runbook="DeadLettersGrowing",
        ),
        Panel(
            title="Clocks that are ahead",
            why="Events whose own time lay ahead of the broker's by more than the grace: a visitor's clock is wrong,"
            " or a producer's time zone is.",
            queries=(query("sum(intent_events_ahead_total)", "events"),),
            kind="stat", unit=units.Short, steps=((1, YELLOW),), width=6,
        ),
        Panel(
            title="Visitors on the wrong partition",
            why="Seen where the shop's partitioner does not put them, since the workers began: two producers differ,"
            " and these visitors' sessions are split.",
            queries=(query("sum(intent_stray_visitors_total)", "visitors"),),
            kind="stat", unit=units.Short, steps=((1, YELLOW),), width=6,
        ),
    ),
)  # fmt: skip

SHOP: Final = Board(
    uid="stream-app-shop",
    title="Stream-App: sessions and shop",
    description="Who is there, what do they do, what do they buy, and is the feed as it should be?",
    variables=("partition",),
    rows=(_NOW, _DOING, _WHO_BUYS, _SESSIONS, _FEED),
)  # fmt: skip
