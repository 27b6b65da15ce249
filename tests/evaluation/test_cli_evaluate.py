"""`stream-app evaluate` as a person or a program uses it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from producers.formats import FORMATS
from stream_app.cli import main
from tests.evaluation.histories import shop, written

MODELS = "newton,sgd,batch-logistic"


def evaluate(*arguments: str | Path) -> Result:
    return told_by_itself(*arguments, "--format", "canonical")


def told_by_itself(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module", name="path")
def a_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # An item and a visitor that would be markup, were they not data.
    events = shop(450)
    for one in events[::7]:
        one.category = "<b>[red]&"
    return written(events, tmp_path_factory.mktemp("evaluate") / "history.jsonl")


@pytest.fixture(scope="module", name="done")
def an_evaluation(path: Path) -> tuple[Result, dict[str, object], str]:
    done = evaluate(
        path, "--models", MODELS, "--draws", "10", "--folds", "2",
        "--json", path.with_suffix(".json"), "--html", path.with_suffix(".html"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return done, json.loads(path.with_suffix(".json").read_text()), path.with_suffix(".html").read_text()


def test_tables_tell_each_model_and_what_to_compare_it_with(done: tuple[Result, dict[str, object], str]) -> None:
    output = done[0].stdout
    for name in MODELS.split(","):
        assert re.search(rf"^{name} +0\.\d{{4}} +0\.\d+ … 0\.\d+ +[+-]0\.\d+ … [+-]0\.\d+", output, re.MULTILINE)
    for told in ("log-loss of the base rate", "F1 of calling all positive", "third event", "label delay", "by fold"):
        assert told in output
    assert "<b>[red]&" in output


def test_the_json_has_every_figure_by_model_part_and_fold(done: tuple[Result, dict[str, object], str]) -> None:
    report = done[1]
    figures = report["models"]
    assert isinstance(figures, dict)
    assert list(figures) == MODELS.split(",")
    for name, found in figures.items():
        low, high = found["interval"]["roc_auc"]
        assert low < found["roc_auc"] < high, name
        assert {"log_loss", "log_loss_constant", "pr_auc", "base_rate", "f1", "f1_all_positive", "ece", "brier"} <= set(
            found
        )
    assert set(figures["newton"]["less_first"]["roc_auc"]) == {0.0}
    slices, folds = report["slices"], report["folds"]
    assert isinstance(slices, dict)
    assert isinstance(folds, list)
    assert {"event 1", "event 3", "event 10 on", "before the first cart", "before checkout pages"} <= set(slices)
    assert sum(fold["models"]["newton"]["rows"] for fold in folds) == figures["newton"]["rows"]
    assert "NaN" not in json.dumps(report)


def test_the_page_is_one_file_with_charts_that_asks_nobody(done: tuple[Result, dict[str, object], str]) -> None:
    page = done[2]
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 7
    for drawn in charts:
        ElementTree.fromstring(drawn)
        assert "newton" in drawn
        assert "nan" not in drawn
    addresses = set(re.findall(r"https?://[^\"' ]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "<script" not in page
    assert "<b>[red]" not in page
    assert "&lt;b&gt;[red]&amp;" in page


def test_json_to_stdout_is_nothing_but_json(path: Path) -> None:
    done = evaluate(path, "--models", "sgd", "--draws", "0", "--folds", "1", "--json", "-")
    assert list(json.loads(done.stdout)["models"]) == ["sgd"]
    assert done.stderr == ""


def test_each_file_tells_its_format_by_itself(tmp_path: Path) -> None:
    events = shop(300)
    half = len(events) // 2
    ours = written(events[:half], tmp_path / "ours.jsonl")
    theirs = tmp_path / "theirs.csv"
    names = {"view_item": "view", "purchase": "transaction"}
    rows = [f"{e.event_time},{e.visitor_id},{names[e.event_type]},{e.item_id},{n}" for n, e in enumerate(events)]
    theirs.write_text("\n".join([",".join(FORMATS["retailrocket"].columns), *rows[half:]]))
    asked = ("--models", "sgd", "--draws", "0", "--folds", "1", "--json", "-")
    done = told_by_itself(ours, theirs, *asked)
    assert done.exit_code == 0, done.output
    history = json.loads(done.stdout)["history"]
    assert (history["events"], history["rejected"]) == (len(events), {})
    assert done.stderr.splitlines() == [
        "ours.jsonl is canonical: 100 of 100 records have event_id, event_type, event_time, visitor_id",
        "theirs.csv is retailrocket: the header has timestamp, visitorid, event, itemid, transactionid",
    ]


def test_a_mapping_says_where_the_fields_are(tmp_path: Path) -> None:
    events = shop(300)
    mine, mapping = tmp_path / "mine.csv", tmp_path / "mine.toml"
    rows = [f"{e.event_id},{e.event_type},{e.event_time},{e.visitor_id},{e.item_id}" for e in events]
    mine.write_text("\n".join(["nr,what,at,who,sku", *rows]))
    mapping.write_text(
        'event_id = "nr"\nevent_type = "what"\nevent_time = "at"\nvisitor_id = "who"\nitem_id = "sku"\n'
        'time = { unit = "milliseconds" }\n'
    )
    asked = ("--models", "sgd", "--draws", "0", "--folds", "1", "--json", "-")
    done = told_by_itself(mine, *asked, "--mapping", mapping)
    assert (done.exit_code, done.stderr) == (0, "")
    for event in events:
        event.category = event.brand = None
    same = evaluate(written(events, tmp_path / "same.jsonl"), *asked)
    assert json.loads(done.stdout)["models"] == json.loads(same.stdout)["models"]


def test_a_page_that_cannot_be_written_does_not_lose_the_tables(path: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "page.html"
    done = evaluate(path, "--models", "sgd", "--draws", "0", "--folds", "1", "--html", nowhere)
    assert done.exit_code == 2
    assert "ROC AUC" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("Error: [Errno 2] No such file or directory")
    assert "Traceback" not in done.stderr


def test_a_split_by_date_sets_frozen_twins_beside_those_that_go_on(path: Path) -> None:
    done = evaluate(path, "--models", "newton", "--draws", "0", "--train-until", "2023-11-15T02:00:00", "--json", "-")
    report = json.loads(done.stdout)
    assert list(report["models"]) == ["newton", "newton (frozen)"]
    assert [fold["start"] for fold in report["folds"]] == ["2023-11-15 02:00:00"]


def test_the_other_target_has_another_base_rate(path: Path, tmp_path: Path) -> None:
    events = shop(500)
    for one in events[::3]:
        if one.event_type == "view_item":
            one.event_type = "add_to_cart"
    carts = written(events, tmp_path / "carts.jsonl")
    rates = []
    for target in ("purchase", "cart-or-purchase"):
        asked = ("--models", "sgd", "--draws", "0", "--folds", "1", "--json", "-", "--target", target)
        rates.append(json.loads(evaluate(carts, *asked).stdout)["models"]["sgd"]["base_rate"])
    assert rates[1] > 2 * rates[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        ("", "got no event from"),
        ("{}\n", "rejected: missing_field ×1"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_told_in_one_line(
    content: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.jsonl"
    if content is not None:
        path.write_text(content)
    done = evaluate(path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_wrong_header_is_told_as_the_replay_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("time,what\n1,view\n")
    told = [
        CliRunner().invoke(main, [*command, str(path), "--format", "retailrocket"])
        for command in (["evaluate"], ["produce", "replay"])
    ]
    assert [done.exit_code for done in told] == [2, 2]
    assert told[0].stderr == told[1].stderr
    assert "the header lacks timestamp" in told[0].stderr


def test_without_scikit_learn_batch_models_are_left_out_or_refused_with_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    done = evaluate(path, "--models", "newton,batch-tree")
    assert done.exit_code == 2
    assert "pip install '.[evaluate]'" in done.stderr
    usual = evaluate(path, "--draws", "0", "--folds", "1", "--json", "-")
    assert usual.exit_code == 0, usual.output
    assert usual.stderr.startswith("without batch models, which need scikit-learn: pip install '.[evaluate]'\n")
    assert set(json.loads(usual.stdout)["models"]) == {"newton", "sgd"}
