"""What the catalogue says of each model beside its behaviour: its cost, and that its snapshot fits into Kafka."""

from __future__ import annotations

from pathlib import Path

import cramjam
import pytest

from stream_app.backends.clients import BATCH_BYTES_MAX, REQUEST_BYTES_MAX
from stream_app.core.zoo.catalogue import ZOO
from stream_app.core.zoo.entry import Cost
from tests.zoo.material import NAMES, to_the_bit, trained

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_catalogue_has_the_models_of_the_issue() -> None:
    assert list(ZOO) == [
        "newton", "bins", "blend", "sgd", "hashed", "page_sequence", "bagging",
        "naive_bayes", "hoeffding_tree", "hoeffding_adaptive_tree", "adaptive_forest", "mondrian_forest",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_model_says_what_it_is_and_what_it_was_measured_to_cost_as_the_page_does(name: str) -> None:
    entry = ZOO[name]
    assert 20 < len(entry.about) <= 120
    assert all(number > 0 for number in entry.cost)
    (row,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {name} | ")]
    cells = [cell.strip().split(" ")[0].replace(",", "") for cell in row.strip("| ").split("|")[1:7]]
    assert Cost(*map(float, cells)) == entry.cost


def test_the_interval_lets_snapshots_take_a_twentieth_of_a_trainers_and_a_scorers_time() -> None:
    cost = Cost(1.0, 1.0, 1.0, 1.0, snapshot_ms=90.0, restore_ms=1.0)
    assert cost.snapshot_interval_ms == 1_800
    assert cost._replace(restore_ms=101.0).snapshot_interval_ms == 2_100
    assert cost._replace(snapshot_ms=5.0).snapshot_interval_ms == 500


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_of_a_model_that_has_grown_fits_into_a_request_and_compressed_into_a_batch(name: str) -> None:
    value = to_the_bit(trained(name, 1_500))
    assert len(value) < REQUEST_BYTES_MAX
    assert len(bytes(cramjam.zstd.compress(value))) < BATCH_BYTES_MAX / 2
