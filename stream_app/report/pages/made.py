"""How the report was made."""

from __future__ import annotations

from stream_app.report.figures.figures import Figures
from stream_app.report.pages.section import Section, Table
from stream_app.report.pages.words import count


def section(figures: Figures) -> Section:
    """What was asked, so that it can be asked again."""
    setting, quality = figures.setting, figures.quality
    rows = [
        ("files", ", ".join(setting.files)),
        ("format", setting.format),
        ("a session or an episode is over after a pause of", f"{setting.session_gap_s / 60:.4g} min"),
        ("events may come later than others by", f"{setting.grace_s:.4g} s"),
        ("the shop's time", f"UTC {setting.utc_offset_minutes:+d} min"),
        ("rules for pages", count(setting.page_rules)),
        ("events for the evaluation at most", count(quality.events_max)),
        ("shape of the figures (--json)", f"version {figures.version}"),
    ]
    return Section(
        "made",
        "How this was made",
        "settings; intervals are 95 % everywhere",
        [Table("stream-app report", ("setting", "value"), [list(row) for row in rows])],
    )
