"""Policies for tests of the application: simple enough to say beforehand who is exposed."""

from __future__ import annotations

from pathlib import Path

_TEXT = """
format = 1
enabled = {enabled}
[experiment]
id = "{experiment}"
salt = "pepper"
holdout = {holdout}
[moments]
kinds = {kinds}
clock = "quiet"
earliest = {earliest}
latest = 3600
[levels]
percents = [5.0, 10.0, 15.0]
rule = "{rule}"
fixed = {fixed}
explore = 0.5
[money]
currency = "EUR"
margin = 0.40
order_value = 40.0
[offer]
valid_s = 1800
cool_down_s = {cool_down_s}
[budget]
per_hour = {per_hour}
per_day = {per_day}
lift = 1.0
"""


def policy_text(
    *,
    enabled: bool = True,
    experiment: str = "first",
    holdout: float = 0.2,
    kinds: tuple[str, ...] = ("band", "quiet", "hesitates"),
    earliest: float | str = 0.0,
    rule: str = "fixed",
    fixed: float = 10.0,
    cool_down_s: float = 0.0,
    per_hour: float = 1e6,
    per_day: float = 1e6,
) -> str:
    """Everybody on the fence is eligible at once; an offer of ten percent on 50 with a score of 0.2 costs 1.00."""
    listed = "[" + ", ".join(f'"{kind}"' for kind in kinds) + "]"
    return _TEXT.format(
        enabled=str(enabled).lower(), experiment=experiment, holdout=holdout, kinds=listed, earliest=earliest,
        rule=rule, fixed=fixed, cool_down_s=cool_down_s, per_hour=per_hour, per_day=per_day,
    )  # fmt: skip


def policy_file(folder: Path, **said: object) -> str:
    """The same as a file; its path."""
    file = folder / "policy.toml"
    file.write_text(policy_text(**said))  # type: ignore[arg-type]
    return str(file)
