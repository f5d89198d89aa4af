"""The title and the readable text of an HTML page, however carelessly it is written."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Sequence

_SILENT_TAGS = {"script", "style", "template", "noscript"}
_BLOCK_TAGS = {
    "address", "article", "aside", "audio", "blockquote", "br", "button", "caption", "center",
    "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "iframe",
    "input", "legend", "li", "main", "menu", "nav", "object", "ol", "optgroup", "option", "p",
    "pre", "search", "section", "select", "summary", "table", "td", "textarea", "th", "title",
    "tr", "ul", "video",
}  # fmt: skip
_COUNTED = {**dict.fromkeys(_SILENT_TAGS, "silent"), "svg": "svg", "pre": "pre"}
"""Tags whose content is read in a special way, and the name of the counter of each."""
_END_OF_TITLE = _BLOCK_TAGS | _SILENT_TAGS | {"base", "body", "head", "html", "link", "meta"}
"""Tags that no title contains: one of them ends a title that was never closed."""


def read_html(source: str) -> tuple[str | None, str]:
    """Return the title of an HTML page, or None, and its readable text.

    White space is kept inside `<pre>`; elsewhere lines are stripped and empty ones left out.
    """
    parser = _TextParser()
    parser.feed(source)
    parser.close()
    parts = []
    for keeps_space, pieces in parser.parts:
        lines = "".join(pieces).split("\n")
        if not keeps_space:
            lines = [re.sub(r"[^\S\n]+", " ", line).strip() for line in lines]
            lines = [line for line in lines if line]
        parts.append("\n".join(line.rstrip() for line in lines).strip("\n"))
    title = " ".join("".join(parser.title).split())
    return title or None, "\n".join(part for part in parts if part)


class _TextParser(html.parser.HTMLParser):
    """Collects title and text. Nothing in a head but its title and silent tags has text."""

    # Without "title": a title that is never closed would swallow the page.
    RCDATA_CONTENT_ELEMENTS = ("textarea",)  # type: ignore[misc, unused-ignore]

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.parts: list[tuple[bool, list[str]]] = [(False, [])]
        """Whether a part keeps its white space, as in `<pre>`, and its text."""
        self._depths = {"silent": 0, "svg": 0, "pre": 0}
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self._handle_tag(tag, 1)
        # The title of a drawing is text, and so is every title after the page's first.
        self._in_title |= tag == "title" and not self._depths["svg"] and not self.title

    def handle_endtag(self, tag: str) -> None:
        self._handle_tag(tag, -1)

    def _handle_tag(self, tag: str, step: int) -> None:
        self._in_title &= tag not in _END_OF_TITLE
        if tag in _BLOCK_TAGS:
            self.parts[-1][1].append("\n")
        counter = _COUNTED.get(tag)
        if counter is not None:
            self._depths[counter] = max(self._depths[counter] + step, 0)
        if self.parts[-1][0] != bool(self._depths["pre"]):
            self.parts.append((bool(self._depths["pre"]), []))

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._depths["silent"]:
            self.parts[-1][1].append(data)
