"""The run on a terminal: one picture of a status, fit for 80 × 24."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream_app.demo.plain import milliseconds, number
from stream_app.demo.status import Status
from stream_app.demo.tally import LAST_SCORES

_BAND_STYLES: Final = {"unlikely": "dim", "on_the_fence": "yellow", "likely": "bold green"}
_BARS: Final = "▁▂▃▄▅▆▇█"
#: The curve's axis: a coin, and about the best a shop allows.
_AUC_LOW, _AUC_HIGH = 0.5, 0.8
_SCORE_BAR_WIDTH: Final = 16
#: "0.123 on_the_fence" and "0.123 (base rate)".
_SCORE_WIDTH: Final = 18


def picture(status: Status, *, title: str, url: str, beside: str, note: str) -> Group:
    """Everything there is to see; `beside` is for another terminal, `note` the last log line, empty for none."""
    body = Table.grid(expand=True, padding=(0, 1))
    body.add_column(ratio=1)
    body.add_column(ratio=1)
    body.add_row(Panel(_flow(status), title="stream", height=10), Panel(_learning(status), title="model", height=10))
    foot = Text(f" {url}/metrics   {url}/readyz   ", style="dim")
    foot.append("Ctrl-C ends it", style="bold")
    foot.append(f"\n for another terminal: {beside}", style="dim")
    return Group(_head(status, title), body, _scores(status), foot, Text(note[:200], style="yellow", no_wrap=True))


def _head(status: Status, title: str) -> Table:
    head = Table.grid(expand=True, padding=(0, 1))
    head.add_column(no_wrap=True)
    head.add_column(ratio=1)
    head.add_column(justify="right", no_wrap=True)
    text = Text(title, style="bold")
    if status.event_time:
        text.append(datetime.fromtimestamp(status.event_time / 1000, UTC).strftime("  %Y-%m-%d %H:%M"), style="dim")
    bar = ProgressBar(total=status.wanted, completed=status.scored, pulse=status.wanted is None)
    head.add_row(text, bar, f"{status.phase}, {status.seconds:.0f} s")
    return head


def _flow(status: Status) -> Table:
    rejected = sum(status.rejected.values())
    of = f" of {status.wanted:,}" if status.wanted is not None else ""
    offers = status.offers
    labels = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(status.labels.items()))
    return _pairs(
        ("events", f"{status.scored:,}{of} scored"),
        ("rate", f"{status.per_second:,.0f} events/s"),
        ("latency", f"p50 {milliseconds(status.latency_p50)}, p99 {milliseconds(status.latency_p99)}"),
        ("sessions", f"{status.sessions_opened - status.sessions_closed:,} open, {status.sessions_closed:,} closed"),
        ("purchases", f"{status.examples.get('purchase', 0):,} examples"),
        ("order labels", labels or "none yet"),
        ("offers", f"{offers['made']:,} made, {offers['taken']:,} taken" if offers else "none"),
        ("rejected", f"{rejected:,}" + (f", {status.repeated:,} repeated" if status.repeated else "")),
    )


def _learning(status: Status) -> Table:
    quality, recent = status.quality, status.recent
    state = "cold" if status.cold else "warm"
    return _pairs(
        ("snapshot", f"{status.version}, {status.model}, {state}"),
        ("learned", f"{status.learned:,} examples"),
        ("of them", f"{status.checkouts_learned:,} before a checkout"),
        ("ROC AUC", f"{number(quality.roc_auc, 3)}, recent {number(recent.roc_auc, 3)}"),
        ("its course", curve(status.curve) or "–"),
        ("third event", number(status.third.roc_auc, 3)),
        ("log-loss", f"{number(quality.log_loss, 4)}, recent {number(recent.log_loss, 4)}"),
        ("constant's", f"{number(quality.log_loss_constant, 4)}, recent {number(recent.log_loss_constant, 4)}"),
    )


def _pairs(*rows: tuple[str, str]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    for name, value in rows:
        table.add_row(name, value)
    return table


def _scores(status: Status) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(ratio=3, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    table.add_column(ratio=3, no_wrap=True)
    table.add_column(width=_SCORE_WIDTH, no_wrap=True)
    table.add_column(width=_SCORE_BAR_WIDTH, no_wrap=True)
    for shown in reversed(status.last):
        style = _BAND_STYLES.get(shown.band, "")
        table.add_row(
            shown.event_type,
            f"n° {shown.events}",
            shown.item,
            Text(f"{shown.score:.3f} " + ("(base rate)" if shown.cold else shown.band), style=style),
            Text("█" * max(1, round(shown.score * _SCORE_BAR_WIDTH)), style=style),
        )
    for _ in range(LAST_SCORES - len(status.last)):
        table.add_row("")
    return Panel(table, title="last scores: event, its number in the session, item, score")


def curve(points: list[float]) -> str:
    """ROC AUC over the run as a row of bars, from 0.5 to 0.8."""
    share = [(point - _AUC_LOW) / (_AUC_HIGH - _AUC_LOW) for point in points]
    return "".join(_BARS[min(len(_BARS) - 1, max(0, int(each * len(_BARS))))] for each in share)
