"""The files of the page, by the path that each is served at."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_KINDS = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_WITHOUT_SUFFIX = {"/index.html": "/", "/docs.html": "/docs"}


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: Its bytes.
        kind: Its media type.
    """

    content: bytes
    kind: str


def page_files() -> dict[str, PageFile]:
    """Read all files of the page; keys are paths such as "/app.js"."""
    found: dict[str, PageFile] = {}
    _read(files("pocket_colbert.server") / "page", "/", found)
    return found


def _read(folder: Traversable, path: str, found: dict[str, PageFile]) -> None:
    for item in folder.iterdir():
        if item.is_dir():
            _read(item, f"{path}{item.name}/", found)
            continue
        kind = _KINDS.get(item.name.rpartition(".")[2])
        if kind is not None:
            name = path + item.name
            found[_WITHOUT_SUFFIX.get(name, name)] = PageFile(item.read_bytes(), kind)
