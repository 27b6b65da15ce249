"""Schemathesis asks the running collector all that its own OpenAPI document allows, and what it forbids."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collect.collector import KEY, Collector, deployed
from tests.support.fixtures import Names, Servers

#: Of each operation in the phase that draws at random; the phase of boundary cases makes as many as there are.
EXAMPLES = 10

#: The same operations as those with whole words, by the same code.
SHORT = "^/v1/[a-z]$"

# A document cannot say how late it is: a time beyond tomorrow is of the right form, and rejected (422).
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 422]
[phases.stateful]
enabled = false
"""


@pytest.fixture(scope="module")
def collector(embedded_servers: Servers) -> Iterator[Collector]:
    name = f"schemathesis-{uuid.uuid4().hex[:8]}"
    with deployed(embedded_servers, Names(f"{name}.", name)) as deployment:
        yield Collector(deployment, collect_address_rate=0, collect_key_rate=0).until_ready()


def test_every_answer_is_as_the_document_says(collector: Collector, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{collector.url}/openapi.json",
        "--header", f"Authorization: Bearer {KEY}", "--max-examples", str(EXAMPLES), "--seed", "1",
        "--exclude-path-regex", SHORT, "--report", "har", "--report-dir", str(tmp_path), "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (report,) = tmp_path.glob("har-*.json")
    entries = json.loads(report.read_text())["log"]["entries"]
    statuses = Counter(entry["response"]["status"] for entry in entries)
    print(f"\n{len(entries)} requests: {dict(statuses)}")
    # Not only refusals: what it looked at got as far as Kafka.
    assert statuses[200] > 50
    assert {401, 405, 422} <= set(statuses)
    assert not [status for status in statuses if status >= 500]
    assert not re.search(r"Traceback|ERROR", collector.process.said())
