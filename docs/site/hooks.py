"""Hooks for MkDocs: pages from outside docs/, and links to them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

COPIED = (
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "benchmarks/results/*.svg",
    "models/*/README.md",
    "examples/serverless/README.md",
)
"""Files outside docs/ that become pages or pictures of the site, under the same names."""

_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/ and the files that pages need."""
    for pattern in COPIED:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for name in ("iframe-worker.js", "style.css"):
        path = Path(__file__).with_name(name)
        files.append(File.generated(config, f"static/{name}", abs_src_path=str(path)))
    files.append(File.generated(config, "examples/README.md", content=_examples()))
    return files


def _examples() -> str:
    """Build the page that shows the scripts in examples/."""
    parts = [
        "# Examples",
        "The example for [a serverless function](serverless/README.md) has its own folder.",
    ]
    for path in sorted((ROOT / "examples").rglob("*.py")):
        name = path.relative_to(ROOT / "examples").as_posix()
        source = path.read_text(encoding="utf-8").rstrip()
        parts.append(f"## {name}\n\n```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links between files of the repository at the pages built from them."""
    here = posixpath.dirname(_repository_path(page.file.src_uri))

    def redirect(match: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", match[2]):
            return match[0]
        path = posixpath.normpath(posixpath.join(here, match[2]))
        if not (ROOT / path).exists():
            return match[0]  # not a link, or a broken one, which MkDocs reports
        start = posixpath.dirname(page.file.src_uri) or "."
        return match[1] + posixpath.relpath(_site_path(path), start)

    return _LINK.sub(redirect, markdown)


def _repository_path(name: str) -> str:
    """Return the repository path of a file of the site."""
    outside = {pattern.split("/")[0] for pattern in COPIED} | {"examples"}
    return name if name.split("/")[0] in outside else f"docs/{name}"


def _site_path(name: str) -> str:
    """Return the page of the site that is built from a file of the repository."""
    if name == "README.md":
        return "index.md"
    if name == "examples" or (name.startswith("examples/") and name.endswith(".py")):
        return "examples/README.md"
    return name.removeprefix("docs/")
