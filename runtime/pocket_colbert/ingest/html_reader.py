"""HTML to titled text: main content in blocks, under headings, with their lines in the file.

The page is read twice. A pass of our own, linear whatever the page holds, drops what has no text,
keeps the few attributes that matter, notes the line of each tag and bounds the nesting, because a
browser's algorithm takes quadratic time on tags that are never closed. Then the parser of
selectolax builds the tree.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pocket_colbert.ingest.decoding import readable
from pocket_colbert.ingest.extracted import Deadline, Extracted, Limits, TextBuilder

_DEEPEST = 80
_LINK, _LINK_END, _BREAK = "\ue000", "\ue001", "\ue002"
_PRIVATE = re.compile(f"[{_LINK}{_LINK_END}{_BREAK}]")
_FLAT = {"script", "style", "textarea", "noscript", "iframe", "select", "button"}
"""Elements that do not nest."""
_RAW = {
    "script", "style", "template", "noscript", "textarea", "iframe", "object", "canvas", "svg",
    "select", "button", "audio", "video",
}  # fmt: skip
"""Elements that are skipped as a whole, if they are closed; only script and style otherwise."""
_INLINE = {
    "a",
    "abbr",
    "b",
    "code",
    "em",
    "i",
    "kbd",
    "label",
    "small",
    "span",
    "strong",
    "sup",
    "sub",
}
"""Elements that are skipped if they are hidden; their tags are dropped otherwise."""
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_IMPLIED = {"p", "li", "dt", "dd", "tr", "td", "th", "tbody", "thead", "tfoot", "caption"}
"""Elements that end by themselves where the next begins, so that they do not nest."""
_NESTING = {
    "address", "article", "aside", "blockquote", "body", "center", "details", "dialog", "dir",
    "div", "dl", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "html",
    "legend", "main", "menu", "nav", "ol", "pre", "search", "section", "summary", "table",
    "ul",
} | _HEADINGS  # fmt: skip
_KEPT = _NESTING | _IMPLIED
_NO_TITLE = _KEPT | _RAW | {"base", "head", "link", "meta"}
_SILENT = {"nav", "search"}
_HIDING_ROLES = {"navigation", "search", "menu", "menubar", "toolbar"}
_NAVIGATION = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|navheader|navfooter|sidebar|sphinxsidebar|toc|"
    r"breadcrumbs?|menu|footer|header|related|skip-?link|cookies?|advert|banner|pagination|pager|"
    r"prev|next|share|social|qv|quickview|toplang|bottomlang|linenos?|gutter)(?:[\s_-]|$)",
    re.I,
)
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight)-([\w+#]{1,30})(?:\s|$)")
_TAG_NAME = re.compile(r"[a-zA-Z][^\s/>]*")
_ATTRIBUTE = re.compile(r"""([^\s/>=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"'][^\s>]*)))?""")
_OPEN_QUOTE = re.compile(r"""\s*=\s*["']""")
_SPACES = re.compile(r"[\s/]*")


def read_html(source: str, deadline: Deadline | None = None) -> Extracted:
    """Return what is to be read on an HTML page, its title and its sections.

    Navigation, scripts, hidden parts, and head and foot of the page are left out, unless the page
    then has no text.

    Args:
        source: The page.
        deadline: When to give up.
    """
    from selectolax.lexbor import LexborHTMLParser

    deadline = deadline or Deadline(Limits().seconds)
    page = _Simplifier(source, deadline).run()
    body = LexborHTMLParser(f"<!doctype html><body>{page.markup}").body
    root = _tree(body, deadline)
    builder = TextBuilder(deadline)
    writer = _Writer(builder, deadline)
    writer.write(_main_content(root))
    if not builder.length:
        builder = TextBuilder(deadline)
        writer = _Writer(builder, deadline, everything=True)
        writer.write(root)
    return builder.result(page.title or writer.first_h1)


@dataclass
class _Page:
    title: str | None
    markup: str


class _Simplifier:
    """Writes a page again with only the tags and attributes that decide what its text is."""

    def __init__(self, source: str, deadline: Deadline) -> None:
        self._source = _PRIVATE.sub("", source)
        self._deadline = deadline
        self._out: list[str] = []
        self._title: list[str] | None = None
        self._titles: str | None = None
        self._open: list[str] = []
        self._dropped: list[str] = []
        self._unclosed: set[str] = set()
        self._line, self._counted = 1, 0

    def run(self) -> _Page:
        source, at = self._source, 0
        while True:
            start = source.find("<", at)
            if start < 0:
                self._text(source[at:])
                break
            if start > at:
                self._text(source[at:start])
            at = self._markup(start)
            if at >= len(source):
                break
        self._end_title()
        return _Page(self._titles, "".join(self._out))

    def _text(self, text: str) -> None:
        (self._out if self._title is None else self._title).append(text)

    def _end_title(self) -> None:
        if self._title is not None:
            title = " ".join(
                readable(html.unescape(_PRIVATE.sub("", "".join(self._title)))).split()
            )
            self._titles = self._titles or title or None
            self._title = None

    def _markup(self, start: int) -> int:
        """Handle what begins with "<"; return where it ends."""
        source = self._source
        after = source[start + 1 : start + 2]
        if source.startswith("<!--", start):
            end = source.find("-->", start + 2)
            return len(source) if end < 0 else end + 3
        if after in "!?" and after:
            end = source.find(">", start)
            return len(source) if end < 0 else end + 1
        closing = after == "/"
        name = _TAG_NAME.match(source, start + 1 + closing)
        if name is None:
            if closing:  # a comment, as browsers see it
                end = source.find(">", start)
                return len(source) if end < 0 else end + 1
            self._text("&lt;")
            return start + 1
        tag = name.group().lower()
        attributes, end = self._attributes(name.end())
        if end < 0:
            return len(source)
        self._deadline.check()
        if tag in _NO_TITLE:
            self._end_title()
        if closing:
            self._close(tag)
            return end
        return self._opened(tag, attributes, start, end)

    def _attributes(self, at: int) -> tuple[dict[str, str], int]:
        """Read attributes up to ">"; return them, and where the tag ends, -1 for nowhere."""
        source = self._source
        found: dict[str, str] = {}
        while True:
            at = _SPACES.match(source, at).end()  # type: ignore[union-attr]
            if at >= len(source):
                return found, -1
            if source[at] == ">":
                return found, at + 1
            match = _ATTRIBUTE.match(source, at)
            if match is None:  # a stray "="
                at += 1
                continue
            at = match.end()
            name = match[1].lower()
            if len(name) < 20 and name not in found and len(found) < 100:
                found[name] = match[2] or match[3] or match[4] or ""
            if _OPEN_QUOTE.match(source, at):  # and no end of it
                return found, -1

    def _opened(self, tag: str, attributes: dict[str, str], start: int, end: int) -> int:
        if tag == "title" and self._titles is None and self._title is None:
            self._title = []
        elif tag in _RAW:
            # A question that unfolds is a button in a heading.
            in_heading = bool(self._open) and self._open[-1] in (*_HEADINGS, "summary")
            return end if tag == "button" and in_heading else self._skip(tag, end)
        elif tag == "br":
            self._text(_BREAK)
        elif tag == "hr":
            self._out.append("<p></p>")
        elif tag == "a" and not _hidden(attributes):
            self._text(_LINK)
        elif tag in _KEPT:
            self._keep(tag, attributes, start)
        elif tag in _INLINE and _hidden(attributes):
            return self._skip(tag, end)
        return end

    def _skip(self, tag: str, end: int) -> int:
        """Return where an element without text ends."""
        if tag not in self._unclosed:
            pattern, depth, at = re.compile(rf"<(/?){tag}(?=[\s/>])", re.I), 1, end
            while found := pattern.search(self._source, at):
                at = found.end()
                depth += -1 if found[1] else tag not in _FLAT
                if not depth:
                    after = self._source.find(">", at)
                    return len(self._source) if after < 0 else after + 1
            self._unclosed.add(tag)
        return len(self._source) if tag in ("script", "style") else end

    def _keep(self, tag: str, attributes: dict[str, str], start: int) -> None:
        if tag in _NESTING:
            if len(self._open) >= _DEEPEST:
                self._dropped.append(tag)
                self._out.append("<p>")
                return
            self._open.append(tag)
        self._line += self._source.count("\n", self._counted, start)
        self._counted = start
        flags = "".join(
            f' {name}="{html.escape(attributes[name][:200])}"'
            for name in ("class", "id", "role", "start")
            if attributes.get(name)
        )
        hidden = " hidden" if _hidden(attributes) else ""
        self._out.append(f'<{tag} l="{self._line}"{flags}{hidden}>')

    def _close(self, tag: str) -> None:
        if tag == "title":
            self._end_title()
        elif tag == "a":
            self._text(_LINK_END)
        elif tag in _IMPLIED:
            self._out.append(f"</{tag}>")
        elif tag in _NESTING:
            if self._dropped and self._dropped[-1] == tag:
                self._dropped.pop()
                self._out.append("<p>")
            else:
                if tag in self._open:
                    del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]
                self._out.append(f"</{tag}>")


def _hidden(attributes: dict[str, str]) -> bool:
    return (
        ("hidden" in attributes and attributes["hidden"] != "until-found")
        or attributes.get("aria-hidden", "").lower() == "true"
        or _HIDDEN_STYLE.search(attributes.get("style", "")[:1000]) is not None
    )


@dataclass
class _Node:
    """An element, or a text if `tag` is ""."""

    tag: str
    text: str = ""
    line: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    children: list[_Node] = field(default_factory=list)
    length: int = 0
    """Characters below it without white space, about."""
    linked: int = 0
    """Those of them that are links."""
    has_h1: bool = False
    """Whether the heading of the page is below it."""


def _tree(body: Any, deadline: Deadline) -> _Node:
    """Copy the parser's tree, and count the text below each element."""
    root = _Node("body")
    if body is None:
        return root
    stack: list[tuple[_Node, Any]] = [(root, body.child)]
    in_link = False
    while stack:
        parent, current = stack.pop()
        if current is None:
            if stack:
                stack[-1][0].length += parent.length
                stack[-1][0].linked += parent.linked
                stack[-1][0].has_h1 |= parent.has_h1 or parent.tag == "h1"
            continue
        stack.append((parent, current.next))
        tag = current.tag
        if tag == "-text":
            raw = current.text_content or ""
            parts, linked = [], 0
            for piece in re.split(f"([{_LINK}{_LINK_END}])", raw):
                if piece in (_LINK, _LINK_END):
                    in_link = piece == _LINK
                elif piece and not (in_link and piece.strip() in ("¶", "#", "§", "Â¶")):
                    parts.append(piece)
                    linked += len(piece.strip()) * in_link
            text = readable("".join(parts))
            parent.children.append(_Node("", text))
            parent.length += len(text.strip())
            parent.linked += linked
        elif tag and not tag.startswith(("-", "_", "!")):
            deadline.check()
            attributes = dict(current.attributes)
            line = attributes.pop("l", None)
            in_link &= tag not in ("div", "table", "ul", "ol", "p", "td", "li", "dd", "dt")
            node = _Node(tag, "", int(line) if line else None, attributes)
            parent.children.append(node)
            stack.append((node, current.child))
    return root


def _all(node: _Node) -> Iterator[_Node]:
    stack = [node]
    while stack:
        found = stack.pop()
        yield found
        stack.extend(reversed(found.children))


def _main_content(root: _Node) -> _Node:
    """Return the element that holds the page's own text."""
    mains = [n for n in _all(root) if n.tag == "main" or n.attributes.get("role") == "main"]
    for node in mains:
        # Text outside is head, foot and sidebar, unless it is most of the page.
        outside = (root.length - root.linked) - (node.length - node.linked)
        if len(mains) == 1 and node.length - node.linked >= outside:
            return node
    return root


class _Writer:
    """Writes a tree as blocks."""

    def __init__(
        self, builder: TextBuilder, deadline: Deadline, *, everything: bool = False
    ) -> None:
        self._builder = builder
        self._deadline = deadline
        self._everything = everything
        self._buffer: list[str] = []
        self._line: int | None = None
        self._prefix = ""
        self._content = 0
        self.first_h1: str | None = None

    def write(self, root: _Node) -> None:
        self._children(root, "paragraph")
        self._flush("paragraph")

    def _flush(self, kind: Any) -> None:
        text = _folded("".join(self._buffer))
        self._buffer = []
        if text:
            indent = " " * len(self._prefix)
            text = self._prefix + text.replace("\n", "\n" + indent)
            self._prefix = " " * len(self._prefix)
            self._builder.block(text, self._line, kind)
        self._line = None

    def _children(self, node: _Node, kind: Any) -> None:
        for child in node.children:
            if not child.tag:
                self._buffer.append(child.text)
            else:
                self._element(child, kind)

    def _element(self, node: _Node, kind: Any) -> None:
        tag = node.tag
        if self._is_silent(node):
            self._flush(kind)
            return
        self._flush(kind)
        self._line = node.line
        inside = tag in ("main", "article")
        self._content += inside
        if tag in _HEADINGS:
            text = _folded(_text_of(node)).replace("\n", " ")
            if tag == "h1":
                self.first_h1 = self.first_h1 or text
            self._builder.heading(int(tag[1]), text, node.line)
        elif tag == "pre":
            lines = _text_of(node).replace(_BREAK, "\n").strip("\n").split("\n")
            self._builder.block(
                "\n".join(line.rstrip() for line in lines), node.line, "code",
                language=_language_of(node),
            )  # fmt: skip
        elif tag == "table":
            self._table(node)
        elif tag in ("ul", "ol", "menu", "dir"):
            self._list(node)
        elif tag in ("dt", "dd"):
            self._children(node, "item")
            self._flush("item")
        else:
            self._children(node, kind)
            self._flush(kind)
        self._content -= inside
        self._line = None

    def _is_silent(self, node: _Node) -> bool:
        if self._everything:
            return False
        attributes, tag = node.attributes, node.tag
        if "hidden" in attributes or tag in _SILENT:
            return True
        role = str(attributes.get("role") or "").lower()
        if role in _HIDING_ROLES:
            return True
        if node.has_h1:
            return False
        own = node.length - node.linked
        if tag == "aside" and not self._content:
            return own <= node.linked
        framing = tag in ("header", "footer") or role in ("banner", "contentinfo")
        if framing and not self._content:
            return own < 300
        if tag in _HEADINGS or tag in ("main", "article", "body"):
            return False
        names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
        if _NAVIGATION.search(names):
            return own < 200 if not self._content else own <= node.linked
        return False

    def _list(self, node: _Node) -> None:
        outer, self._prefix = self._prefix, " " * len(self._prefix)
        indent = self._prefix
        number = 0
        start = str(node.attributes.get("start") or "1")
        first = int(start) if start.isdecimal() and len(start) < 10 else 1
        for child in node.children:
            if not child.tag:
                self._buffer.append(child.text)
                continue
            self._flush("item")
            if child.tag == "li" and not self._is_silent(child):
                marker = f"{first + number}. " if node.tag == "ol" else "- "
                number += 1
                self._prefix, self._line = indent + marker, child.line
                self._children(child, "item")
                self._flush("item")
                self._prefix = indent
            else:
                self._element(child, "item")
        self._flush("item")
        self._prefix = " " * len(outer)

    def _table(self, node: _Node) -> None:
        rows, captions = _rows(node)
        for caption in captions:
            self._children(caption, "paragraph")
            self._flush("paragraph")
        if _is_layout(node, rows):
            for row, _ in rows:
                for cell in row:
                    self._line = cell.line
                    self._children(cell, "paragraph")
                    self._flush("paragraph")
            return
        labels: list[str] = []
        for number, (row, in_head) in enumerate(rows):
            self._deadline.check()
            cells = [_folded(_text_of(cell)).replace("\n", " ") for cell in row]
            line = row[0].line if row else None
            is_head = in_head or (number == 0 and len(row) > 1 and all(c.tag == "th" for c in row))
            if is_head:
                labels = cells
            elif len(labels) == len(cells) > 1:
                cells = [
                    f"{label}: {cell}" if label and cell and n else cell
                    for n, (label, cell) in enumerate(zip(labels, cells, strict=True))
                ]
            if any(cells):
                self._builder.block(" | ".join(filter(None, cells)), line, "row")


def _rows(table: _Node) -> tuple[list[tuple[list[_Node], bool]], list[_Node]]:
    """Return the rows of a table, each with whether it is in its head, and its captions."""
    rows: list[tuple[list[_Node], bool]] = []
    captions = []
    for part in table.children:
        if part.tag == "tr":
            rows.append(([c for c in part.children if c.tag in ("td", "th")], False))
        elif part.tag in ("thead", "tbody", "tfoot"):
            for row in part.children:
                cells = [c for c in row.children if c.tag in ("td", "th")]
                rows.append((cells, part.tag == "thead"))
        elif part.tag == "caption":
            captions.append(part)
    return rows, captions


def _is_layout(table: _Node, rows: list[tuple[list[_Node], bool]]) -> bool:
    """Return whether a table only puts parts of the page side by side."""
    if table.attributes.get("role") in ("presentation", "none"):
        return True
    blocks = {"pre", "table", "ul", "ol", "dl", "div", "p"} | _HEADINGS
    for row, _ in rows:
        for cell in row:
            tags = {child.tag for child in cell.children}
            if tags & {"table", "pre", *_HEADINGS} or (cell.length > 400 and tags & blocks):
                return True
    return False


def _language_of(node: _Node) -> str:
    """Return the language of code that its class names."""
    named = _LANGUAGE.search(str(node.attributes.get("class") or ""))
    return named[1] if named else ""


def _text_of(node: _Node) -> str:
    """Return the text below an element, blocks apart."""
    parts = []
    for found in _all(node):
        if not found.tag:
            parts.append(found.text)
        elif found is not node and node.tag != "pre":
            parts.append(" ")
    return "".join(parts)


def _folded(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.split(_BREAK)]
    return "\n".join(line for line in lines if line)
