"""`stream-app produce synthetic`: what the visitors of a made-up shop do, and beside it what could be known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from producers.cli_options import POSITIVE_OR_MAX, SHARE, as_json_option, one_line, print_summary, run, with_kafka
from producers.offer_reading import OfferReading
from producers.progress import RunProgress
from producers.shop_parts import ShopOrder, ShopParts
from producers.sink import KafkaSink
from producers.summary import Summary, in_words
from producers.synthetic.answering import Answering
from producers.synthetic.calendar import Requests, Stretch
from producers.synthetic.feed import feed
from producers.synthetic.noise import Delivery, Noise, disturb
from producers.synthetic.shop import Shop
from producers.synthetic.witness import TruthFile, witnessed
from stream_app.settings import Settings

#: Where the shop's own time begins. Fixed, so that a seed alone fixes the stream; in the past, so that event time may
#: run faster than the clock for years before it catches up.
_START: Final = "2025-01-01"


def _time_ms(text: str) -> int:
    """A date or a date and time, UTC unless it says otherwise."""
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


class _StretchType(click.ParamType):
    """`FROM..TO`, two times."""

    name = "FROM..TO"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Stretch:
        start, dots, end = str(value).partition("..")
        try:
            stretch = Stretch(_time_ms(start), _time_ms(end))
        except ValueError:
            dots = ""
        if not dots or stretch.end_ms <= stretch.start_ms:
            self.fail(f"got {value!r}, expected FROM..TO such as 2025-01-02..2025-01-03T12:00, TO later", param, ctx)
        return stretch


class _ChangeType(click.ParamType):
    """A number of events, or a time; becomes the arguments that `Requests` takes for it."""

    name = "TIME|EVENTS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        text = str(value)
        if text.isdecimal() and int(text) > 0:
            return {"change_events": int(text)}
        try:
            return {"change_ms": _time_ms(text)}
        except ValueError:
            self.fail(f"got {value!r}, expected a time such as 2025-01-03T12:00, or a number of events", param, ctx)


_STRETCH: Final = _StretchType()


@click.command("synthetic")
@click.option(
    "--rate",
    type=POSITIVE_OR_MAX,
    metavar="N|max",
    default="1000",
    show_default=True,
    help="Events per second of wall-clock time; max is as fast as Kafka takes them.",
)
@click.option("--events", type=click.IntRange(min=1), metavar="N", help="Stop after this many [default: at Ctrl-C].")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of everything random: the same seed sends the same events, another one is another shop.",
)
@click.option(
    "--sessions-per-hour",
    type=click.FloatRange(min=1.0),
    default=2_000.0,
    show_default=True,
    help="Visits in an average hour of the shop's own time, with about 4.5 events each.",
)
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    default=_START,
    show_default=True,
    metavar="DATE",
    help="Where the shop's own time begins (UTC).",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what could be known after each event there, as JSON lines: event_id, event_time, session_id, p.",
)
@click.option(
    "--drift-days",
    type=click.FloatRange(min=0.0),
    default=0.0,
    metavar="DAYS",
    help="Let behaviour move to another one within so many days, and back in as many.",
)
@click.option(
    "--change-at", type=_ChangeType(), help="Let behaviour jump to another one at this time, or after so many events."
)
@click.option(
    "--sale", "sales", type=_STRETCH, multiple=True, help="A sale: more buyers, lower prices. May be given again."
)
@click.option("--bots", type=SHARE, default=0.0, help="Share of the visits that are crawlers: they never buy.")
@click.option(
    "--labels", type=SHARE, default=0.0, help="Share of checkouts that come as labels, from the order system."
)
@click.option(
    "--unlabelled",
    type=_STRETCH,
    multiple=True,
    help="Of visits that begin in it no purchase is reported. May be given again.",
)
@click.option(
    "--backlog/--no-backlog",
    default=True,
    show_default=True,
    help="Whether the order system tells what happened in an unlabelled stretch when that is over.",
)
@click.option("--duplicates", type=SHARE, default=0.0, help="Share of events that are sent twice.")
@click.option("--late", type=SHARE, default=0.0, help="Share of events that arrive up to two minutes late.")
@click.option("--broken", type=SHARE, default=0.0, help="Share of events followed by a broken record.")
@click.option("--session-ids/--no-session-ids", default=True, help="Leave sessions to the inactivity gap with --no-….")
@click.option(
    "--answer-offers",
    is_flag=True,
    help="Make each offer of discount.offers.v1 to whoever it is for, if still there. The shop's time should pass "
    "about as fast as yours: give --sessions-per-hour 800 times the --rate.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Let so many processes make the events, each those of its own visitors: for load tests that one cannot feed.",
)
@as_json_option
@with_kafka
def synthetic_command(
    *,
    rate: float | None,
    events: int | None,
    truth: Path | None,
    answer_offers: bool,
    processes: int,
    as_json: bool,
    settings: Settings,
    **asked: Any,
) -> None:
    """Send what the visitors of a made-up shop do: 3 to 4 % of the visits buy.

    The shop lives in its own time, which runs as fast as --rate needs: at 2,000 visits an hour (9,000 events) and
    1,000 events a second, an hour passes in 9 seconds, so that sessions end and labels arrive while you watch. Times of
    a change, a sale or an unlabelled stretch are the shop's own, UTC.

    \b
    Examples:
      stream-app produce synthetic
      stream-app produce synthetic --rate max --events 1000000 --seed 7 --truth truth.jsonl
      stream-app produce synthetic --duplicates 0.02 --late 0.05 --broken 0.01 --labels 0.3
      stream-app produce synthetic --change-at 500000 --sale 2025-01-03..2025-01-05 --bots 0.05
      stream-app produce synthetic --rate 200 --sessions-per-hour 160000 --answer-offers
      stream-app produce synthetic --rate 100000 --sessions-per-hour 1000000 --processes 4
    """
    if answer_offers:
        _require_answerable(rate, truth)
    if processes > 1 and (answer_offers or truth is not None):
        raise click.UsageError("--processes is for load: leave it, or --truth and --answer-offers out")
    order = _order(**asked)
    shop = Shop(**order.arguments)

    with one_line(), RunProgress(quiet=as_json) as progress, ExitStack() as opened:
        facts = shop if truth is None else witnessed(shop, opened.enter_context(TruthFile(truth)).tell)

        async def send(
            deliveries: Iterable[Delivery], sink: KafkaSink, stop: asyncio.Event, note: Callable[[], str]
        ) -> Summary:
            def show(sent: int, event_time: int) -> None:
                reached = datetime.fromtimestamp(event_time / 1000, UTC).strftime("%Y-%m-%d %H:%M")
                progress.show("events", sent, events, f"(shop's time {reached}{note()})")

            return await feed(deliveries, sink, rate=rate, events=events, stop=stop, progress=show)

        async def job(sink: KafkaSink, stop: asyncio.Event) -> Summary:
            if processes > 1:
                made = opened.enter_context(ShopParts(order, parts=processes))
                return await send(made, sink, stop, lambda: "")
            if not answer_offers:
                return await send(disturb(facts, order.noise, seed=shop.seed), sink, stop, lambda: "")
            async with OfferReading(settings) as reading:
                answering = Answering(shop, reading.newest)
                deliveries = disturb(answering, order.noise, seed=shop.seed)
                summary = await send(deliveries, sink, stop, lambda: f"; offers: {in_words(answering.counts)}")
            summary.offers = answering.counts
            summary.notes += _of_the_offers(answering, reading, shop, summary.seconds)
            return summary

        summary = run(job, settings)
    print_summary(summary, as_json=as_json)


def _require_answerable(rate: float | None, truth: Path | None) -> None:
    """Refuse what --answer-offers makes no sense with."""
    if truth is not None:
        raise click.UsageError("--truth is of a shop that makes no offers: leave it or --answer-offers out")
    if rate is None:
        raise click.UsageError("--answer-offers needs a --rate: at full speed all have left before an offer is decided")


def _of_the_offers(answering: Answering, reading: OfferReading, shop: Shop, seconds: float) -> Iterator[str]:
    """What a person should be told of them beside the counts."""
    if answering.missed > answering.made and seconds:
        speed = (shop.now_ms - shop.start_ms) / 1000 / seconds
        yield (
            f"most offers found nobody: the shop's time ran {speed:,.0f} times as fast as the clock, so an offer that "
            "takes a second comes that many seconds late; more --sessions-per-hour slow it down"
        )
    if reading.unreadable:
        yield f"{reading.unreadable:,} records of discount.offers.v1 were no offers"


def _order(
    *, seed: int, start: datetime, sessions_per_hour: float, session_ids: bool, labels: float, drift_days: float,
    change_at: dict[str, int] | None, sales: tuple[Stretch, ...], bots: float, unlabelled: tuple[Stretch, ...],
    backlog: bool, duplicates: float, late: float, broken: float,
) -> ShopOrder:  # fmt: skip
    requests = Requests(
        drift_days=drift_days, sales=sales, bots=bots, unlabelled=unlabelled, backlog=backlog, **(change_at or {})
    )
    arguments = {
        "seed": seed,
        "start_ms": int(start.replace(tzinfo=UTC).timestamp()) * 1000,
        "sessions_per_hour": sessions_per_hour,
        "session_ids": session_ids,
        "label_share": labels,
        "requests": requests,
    }
    return ShopOrder(arguments, Noise(duplicates=duplicates, late=late, broken=broken))
