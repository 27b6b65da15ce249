"""A real Prometheus (Debian's) with our rules, on a free loopback port: asked as a dashboard asks, stopped by pid."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import yaml

from stream_app.backends.child_process import ChildProcess, ServerError, free_port
from tests.support.servers import program

#: The rules as they are shipped.
RULES: Final = Path(__file__).parents[2] / "ops" / "prometheus"

#: How far alerts look back that remember a single event.
_MEMORY: Final = re.compile(r"(\[|offset )(15m|1h)\b")

_START_S: Final = 30.0
_ANSWER_S: Final = 5.0
#: Two free ports, taken one after the other: a third party may be quicker.
_PORT_ATTEMPTS: Final = 3


class Series(NamedTuple):
    """One series of an answer: its labels and its newest value."""

    labels: dict[str, str]
    value: float


class Alert(NamedTuple):
    """An alert that is `pending` or `firing`; one that is neither is not there."""

    name: str
    state: str
    labels: dict[str, str]
    annotations: dict[str, str]


class RealPrometheus:
    """Scrapes and evaluates every second what target files in `targets` name, as `--web-targets` writes them.

    Raises UnavailableError from `start` when prometheus is not installed, ServerError when it does not come up.

    Parameters
    ----------
    targets
        Directory of `file_sd` target files; may fill later.
    rules
        Rule files. Copies are read, `for` (and `keep_firing_for`) of each alert cut to `for_s`: the same expressions,
        without the patience.
    for_s
        Seconds that an alert stays pending.
    memory_s
        Seconds that those alerts look back which look back for a quarter of an hour or an hour, so that their end is
        seen; None leaves them as they are.
    """

    def __init__(
        self,
        targets: Path,
        *,
        rules: Sequence[Path] = (RULES / "rules.yml", RULES / "alerts.yml"),
        for_s: int = 2,
        memory_s: int | None = None,
    ) -> None:
        self._targets, self._rules, self._for_s, self._memory_s = targets, rules, for_s, memory_s
        self._child: ChildProcess | None = None
        self._directory: Path | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, for a Grafana or a person."""
        return f"http://127.0.0.1:{self.port}"

    # ---- what is asked ----------------------------------------------------------------------------------------------

    def query(self, expression: str) -> list[Series]:
        """The instant answer: one entry per series, a scalar as one without labels. ValueError for a wrong query."""
        found = self._get("/api/v1/query", query=expression)
        if found["resultType"] == "scalar":
            return [Series({}, float(found["result"][1]))]
        return [Series(entry["metric"], float(entry["value"][1])) for entry in found["result"]]

    def value(self, expression: str) -> float:
        """The value of the only series of an answer; NaN without one, AssertionError with several."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression}: got {len(found)} series"
        return found[0].value if found else float("nan")

    def query_range(self, expression: str, *, seconds: float, step_s: float = 1.0) -> list[list[float]]:
        """The values of each series over the last seconds, as a dashboard's panel draws them."""
        now = time.time()
        found = self._get("/api/v1/query_range", query=expression, start=now - seconds, end=now, step=step_s)
        return [[float(value) for _, value in entry["values"]] for entry in found["result"]]

    def alerts(self) -> list[Alert]:
        """All alerts that are pending or firing."""
        return [
            Alert(entry["labels"]["alertname"], entry["state"], entry["labels"], entry["annotations"])
            for entry in self._get("/api/v1/alerts")["alerts"]
        ]

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {alert.name for alert in self.alerts() if alert.state == "firing"}

    def up(self) -> dict[str, bool]:
        """Instance → whether its last scrape worked."""
        return {series.labels["instance"]: series.value == 1 for series in self.query("up")}

    def until(self, what: str, condition: Callable[[], object], *, seconds: float) -> float:
        """Wait until the condition holds; the seconds that took. Blocks: call it in a thread beside an event loop."""
        started = time.monotonic()
        while not condition():
            waited = time.monotonic() - started
            assert waited < seconds, f"waited {waited:.0f} s for {what}; alerts: {self.alerts()}"
            time.sleep(0.25)
        return time.monotonic() - started

    # ---- life -------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Run it until it answers."""
        binary = program("prometheus", "apt-get install prometheus")
        self._directory = Path(tempfile.mkdtemp(prefix="stream-app-prometheus-"))
        config = self._write_config(self._directory)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self.port = free_port()
            command = [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={self._directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ]
            self._child = ChildProcess("Prometheus", command)
            try:
                self._child.start(self._answers, timeout_s=_START_S)
                return self
            except ServerError:
                if attempt == _PORT_ATTEMPTS:
                    self.stop()
                    raise
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """End it and remove its files; harmless when already stopped."""
        child, self._child = self._child, None
        directory, self._directory = self._directory, None
        try:
            if child is not None:
                child.stop()
        finally:
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _write_config(self, directory: Path) -> Path:
        rules = []
        for source in self._rules:
            copy = directory / source.name
            found = yaml.safe_load(source.read_text())
            copy.write_text(yaml.safe_dump(quickened(found, for_s=self._for_s, memory_s=self._memory_s)))
            rules.append(str(copy))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": [
                {
                    "job_name": "stream-app",
                    "file_sd_configs": [{"files": [f"{self._targets}/*.json"], "refresh_interval": "1s"}],
                }
            ],
        }
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        return file

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=_ANSWER_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **parameters: Any) -> Any:
        address = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=_ANSWER_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{parameters.get('query', path)}: {error.read().decode()}") from None


def quickened(rules: dict[str, Any], *, for_s: int, memory_s: int | None) -> dict[str, Any]:
    """The rule file with every alert's patience cut to so many seconds, and groups evaluated as often as asked."""
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule.pop("keep_firing_for", None)
            if "for" in rule:
                rule["for"] = f"{for_s}s"
            if "alert" in rule and memory_s is not None:
                rule["expr"] = _MEMORY.sub(rf"\g<1>{memory_s}s", rule["expr"])
    return rules


def write_target(targets: Path, port: int, **labels: str) -> None:
    """Name a loopback port as a target, for a process that was started without `--web-targets`."""
    file = targets / f"port-{port}.json"
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": labels}]))
    fresh.rename(file)
