"""What MkDocs is told beside mkdocs.yml, so that pages stay plain Markdown that reads as well in the repository.

The README is the site's first page. Links that lead out of docs/, to code, become its name: the site has no code. Lists
may follow a paragraph at once, as everywhere else in Markdown.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

_REPOSITORY: Final = Path(__file__).parents[2]
_DOCS: Final = _REPOSITORY / "docs"
#: Made here.
_DECISIONS: Final = "adr/index.md"
#: A page of the repository's root, as it is called there and on the site.
_FROM_THE_ROOT: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
_LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?://|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")
_ITEM: Final = re.compile(r"(\*|-|\d+\.) ")
_FENCE: Final = re.compile(r"\s*(```|~~~)")


def on_files(files: Files, config: Any) -> Files:
    """Take in the pages of the repository's root."""
    for name, page in _FROM_THE_ROOT.items():
        if (_REPOSITORY / name).exists():
            files.append(File.generated(config, page, content=(_REPOSITORY / name).read_text(encoding="utf-8")))
    files.append(File.generated(config, _DECISIONS, content=_decisions()))
    return files


def _decisions() -> str:
    """A page that lists all decisions by the line that each begins with."""
    titles = [(path.name, path.read_text(encoding="utf-8").partition("\n")[0]) for path in _DOCS.glob("adr/0*.md")]
    lines = [f"* [{title.removeprefix('# ')}]({name})" for name, title in sorted(titles)]
    return "\n".join(("# Decisions", "", "Each with what was rejected, and why.", "", *lines, ""))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """A page's text as MkDocs wants it."""
    source = page.file.src_uri
    if source == _DECISIONS:
        return markdown
    root = {site: name for name, site in _FROM_THE_ROOT.items()}
    # Where the file is in the repository, as its links count from there.
    here = _REPOSITORY / root[source] if source in root else _DOCS / source
    return _with_room_for_lists(_LINK.sub(lambda link: _link(link, here, source), markdown))


def _link(link: re.Match[str], here: Path, source: str) -> str:
    image, text, target, anchor = link.groups()
    path = (here.parent / target).resolve()
    if not path.exists():
        raise PluginError(f"{here.relative_to(_REPOSITORY)} links to {target}, which is not there")
    site = _on_the_site(path)
    if site is None:
        return str(text)
    up = "../" * (len(PurePosixPath(source).parts) - 1)
    return f"{image}[{text}]({up}{site}{anchor or ''})"


def _on_the_site(path: Path) -> str | None:
    """Where a file is on the site; None for one that is not. A directory of docs/ is its first page, if it has one."""
    if path.parent == _REPOSITORY and path.name in _FROM_THE_ROOT:
        return _FROM_THE_ROOT[path.name]
    if not path.is_relative_to(_DOCS):
        return None
    if path == _DOCS / "adr":
        return _DECISIONS
    return path.relative_to(_DOCS).as_posix() if path.is_file() else None


def _with_room_for_lists(markdown: str) -> str:
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= bool(_FENCE.match(line))
        before = lines[-1] if lines else ""
        begins = not fenced and _ITEM.match(line) and before.strip() and not before.startswith((" ", "#", "|"))
        if begins and not _ITEM.match(before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"
