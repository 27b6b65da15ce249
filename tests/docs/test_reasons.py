"""docs/reasons.md: its table is the code's, its record and its output have the forms that the program gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

from stream_app.core.plan import Rules
from stream_app.core.reason_catalogue import REASON_IDS, REASONS, REASONS_MAX, documentation
from stream_app.core.records import ScoreRecord
from stream_app.core.zoo.catalogue import ZOO
from stream_app.settings import Settings

_PAGE = (Path(__file__).parents[2] / "docs" / "reasons.md").read_text()


def test_the_table_of_reasons_is_the_one_made_from_the_code() -> None:
    (table,) = re.findall(r"<!-- reasons: .*? -->\n(.*?)\n<!-- end -->", _PAGE, re.DOTALL)
    assert table == documentation(), "run stream_app.core.reason_catalogue.documentation() and put in what it returns"


def test_the_score_shown_is_one_that_is_written() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)
    score = json.loads(shown)
    # `bot` is left out of a person's.
    assert [*score, "bot"] == list(ScoreRecord.__struct_fields__)
    assert score["band"] == "on_the_fence"
    strengths = [abs(contribution) for _, contribution in score["reasons"]]
    assert len(strengths) == REASONS_MAX
    assert strengths == sorted(strengths, reverse=True)
    assert {reason for reason, _ in score["reasons"]} <= set(REASON_IDS)


def test_the_explanation_shown_is_in_words_of_the_code() -> None:
    (shown,) = re.findall(r"```console\n\$ stream-app explain (.*?)```", _PAGE, re.DOTALL)
    rows = [line for line in shown.splitlines() if line.startswith("×") and "everything else" not in line]
    assert len(rows) == REASONS_MAX
    for row in rows:
        assert any(reason.title in row and (reason.up in row or reason.down in row) for reason in REASONS), row


def test_every_value_of_the_setting_and_every_model_is_on_the_page() -> None:
    values = Settings.model_fields["reasons"].annotation.__args__  # type: ignore[union-attr]
    assert [value for value in values if f"| `{value}`" not in _PAGE] == []
    assert Settings.model_fields["reasons"].default == "fence"
    assert set(values) == {"off", "fence", "sampled", "all"}
    assert Rules.__dataclass_fields__["reasons"].default == "off"
    assert [name for name in ZOO if f"| {name} |" not in _PAGE] == []
