"""Whether a known flaw is in anything that is installed with stream-app: `python -m ops.audit.advisories`.

`pip-audit` asks PyPI's advisories. Where they cannot be reached it finds nothing and ends with 0, which would look like
a clean bill: here, what was not looked at is counted, and is a failure. With `--in-ci` it is told and no failure, and
neither is a flaw that no version mends yet: a build must not fail for what nobody can do anything about.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ops.audit.installed import needed
from ops.audit.licences import EXTRAS

#: For one answer, in seconds.
_TIMEOUT_S: Final = "15"


class Verdict(NamedTuple):
    """How many packages were looked at, the known flaws, and the packages of which nothing is known."""

    looked_at: int
    #: that a version mends
    flaws: list[str]
    unmended: list[str]
    unknown: list[str]

    def clean(self, *, in_ci: bool) -> bool:
        """Whether there is nothing to do; in CI nothing that could be done."""
        return not self.flaws and (in_ci or not (self.unmended or self.unknown))


def verdict(report: dict[str, Any]) -> Verdict:
    """Of a report of `pip-audit --format json`."""
    packages = report["dependencies"]
    unknown = [f"{package['name']}: {package['skip_reason']}" for package in packages if "skip_reason" in package]
    return Verdict(
        len(packages) - len(unknown), list(_flaws(packages, mended=True)), list(_flaws(packages, mended=False)), unknown
    )


def _flaws(packages: list[dict[str, Any]], *, mended: bool) -> Iterator[str]:
    for package in packages:
        for flaw in package.get("vulns", ()):
            if bool(flaw["fix_versions"]) == mended:
                where = ", ".join(flaw["fix_versions"]) or "no version yet"
                yield f"{package['name']} {package['version']}: {flaw['id']}, mended in {where}"


def main(*, in_ci: bool) -> int:
    """Ask; the exit code: 1 for a flaw, or for a package of which nothing is known."""
    packages = [package for package in needed("stream-app", EXTRAS) if package.metadata["Name"] != "stream-app"]
    with tempfile.TemporaryDirectory() as directory:
        pinned = Path(directory) / "installed.txt"
        pinned.write_text("".join(f"{package.metadata['Name']}=={package.version}\n" for package in packages))
        done = subprocess.run(
            [
                sys.executable, "-m", "pip_audit", "--requirement", str(pinned), "--disable-pip", "--no-deps",
                "--format", "json", "--progress-spinner", "off", "--timeout", _TIMEOUT_S,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    try:
        found = verdict(msgspec.json.decode(done.stdout))
    except (msgspec.DecodeError, KeyError, TypeError):
        print(f"pip-audit gave no report: {done.stderr.strip()[-500:]}", file=sys.stderr)
        return 0 if in_ci else 1
    for line in found.flaws + found.unmended:
        print(line, file=sys.stderr)
    if found.unknown:
        print(f"of {len(found.unknown)} packages nothing is known, the first: {found.unknown[0]}", file=sys.stderr)
    print(f"{found.looked_at} packages looked at, {len(found.flaws) + len(found.unmended)} known flaws")
    return 0 if found.clean(in_ci=in_ci) else 1


if __name__ == "__main__":
    sys.exit(main(in_ci="--in-ci" in sys.argv[1:]))
