"""A process imports the parts of River that its own model is made of: all of them take a second, and 70 MB."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from hashlib import sha256
from pathlib import Path

import pytest

from tests.zoo.material import NAMES, to_the_bit, trained

ROOT = Path(__file__).parents[2]
#: Between them they keep everything that the snapshot format knows: vectors, windows of drift detectors, methods, and
#: dicts that make a distribution of what is missing.
KEEPING_MOST = ("newton", "bagging", "hoeffding_adaptive_tree")


def _said(code: str, given: bytes = b"") -> str:
    """What a new process prints that runs the code and reads what is given."""
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, input=given, check=True, capture_output=True,
        timeout=120,
    )  # fmt: skip
    return found.stdout.decode()


def test_worker_and_trainer_with_the_default_model_start_without_scipys_statistics() -> None:
    code = """
        import json, sys
        import stream_app.bootstrap
        from stream_app.core.model import IntentModel
        from stream_app.settings import Settings
        IntentModel(Settings().model, base_rate=0.1)
        print(json.dumps([name for name in ("scipy.stats", "river.drift", "sklearn") if name in sys.modules]))
    """
    assert json.loads(_said(code)) == []


@pytest.mark.parametrize("name", KEEPING_MOST)
def test_a_process_that_reads_a_snapshot_knows_all_that_is_in_it(name: str) -> None:
    assert name in NAMES
    model = trained(name, 200)
    code = f"""
        import pickle, sys
        from hashlib import sha256
        from stream_app.core.model import IntentModel
        model = IntentModel({name!r}, base_rate=0.1)
        model.restore(pickle.load(sys.stdin.buffer))
        from tests.zoo.material import to_the_bit
        print(sha256(to_the_bit(model)).hexdigest())
    """
    assert _said(code, pickle.dumps(model.export())).strip() == sha256(to_the_bit(model)).hexdigest()
