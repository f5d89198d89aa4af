"""Markdown to titled text: front matter to metadata, headings to sections, links to their words."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

from pocket_colbert.ingest.decoding import readable
from pocket_colbert.ingest.extracted import Deadline, Extracted, TextBuilder
from pocket_colbert.ingest.inline_marks import InlineMarks

_FRONT_YAML = re.compile(r"\A\s*---[ \t]*\n(.{0,50000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_FRONT_TOML = re.compile(r"\A\s*\+\+\+[ \t]*\n(.{0,50000}?)\n\+\+\+[ \t]*(?:\n|\Z)", re.S)
_Change = str | Callable[[re.Match[str], InlineMarks], str]


def _linked(match: re.Match[str], marks: InlineMarks) -> str:
    """Return the words of a link, marked; an image is its words alone."""
    return match[1] if match[0].startswith("!") else marks.link(match[1], match[2])


def _stressed(match: re.Match[str], marks: InlineMarks) -> str:
    return marks.styled(match[2], "strong" if len(match[1]) == 2 else "em")


_INLINE: tuple[tuple[re.Pattern[str], _Change], ...] = (
    (re.compile(r"<!--.{0,2000}?-->", re.S), ""),
    (re.compile(r"!?\[([^\[\]]{0,500})\]\(([^()\s]{0,1000}(?:\([^()\s]{0,200}\)[^()\s]{0,200})?)"
                r"(?:[ \t]+[\"'][^\"'\n]{0,300}[\"'])?\)"), _linked),
    (re.compile(r"!?\[([^\[\]]{1,500})\]\[[^\[\]]{0,200}\]"), r"\1"),
    (re.compile(r"<((?:https?|mailto):[^<>\s]{1,500})>"),
     lambda m, marks: marks.link(m[1], m[1])),
    (re.compile(r"</?[a-zA-Z][^<>\n]{0,300}>"), ""),
    (re.compile(r"(?<![\w\\*])(\*{1,3}|_{2,3})(?=\S)([^*\n]{1,500}?)(?<=\S)\1(?![\w*])"),
     _stressed),
    (re.compile(r"(?<![\w\\_])_(?=\S)([^_\n]{1,300}?)(?<=\S)_(?!\w)"),
     lambda m, marks: marks.styled(m[1], "em")),
    (re.compile(r"(?<!`)(`{1,3})(?!`)([^`\n]{1,500})\1(?!`)"),
     lambda m, marks: marks.styled(m[2], "code")),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)  # fmt: skip
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_DEEPEST_QUOTES = 12


def read_markdown(source: str, deadline: Deadline) -> Extracted:
    """Return the readable text of Markdown, its title and what its front matter says."""
    metadata, body, first = front_matter(source)
    builder = TextBuilder(deadline)
    write_markdown(body, builder, first)
    title = metadata.pop("title", None)
    title = title if isinstance(title, str) and title.strip() else builder.first_heading
    return builder.result(title, metadata)


def write_markdown(body: str, builder: TextBuilder, first: int | None) -> None:
    """Add the blocks of Markdown to a text.

    Args:
        body: The Markdown, without front matter.
        builder: The text.
        first: Line of the file that it starts on; None when that says nothing.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    _Writer(builder, first).write(parser.parse(_bounded(body)))


def _bounded(body: str) -> str:
    """Cut the nesting of quotes, which the parser handles in quadratic time."""
    return re.sub(rf"^((?:[ \t]*>){{{_DEEPEST_QUOTES}}})[ \t>]+", r"\1 ", body, flags=re.M)


class _Writer:
    def __init__(self, builder: TextBuilder, first: int | None) -> None:
        self._builder = builder
        self._first = first
        self._lists: list[int | None] = []
        self._marker = ""
        self._labels: list[str] = []
        self._row: list[str] | None = None
        self._in_head = False
        self._heading = 0

    def write(self, tokens: list[Any]) -> None:
        line: int | None = None
        for token in tokens:
            if token.map and self._first is not None:
                line = token.map[0] + self._first
            kind = token.type
            if kind == "heading_open":
                self._heading = int(token.tag[1])
            elif kind == "heading_close":
                self._heading = 0
            elif kind in ("bullet_list_open", "ordered_list_open"):
                start = (token.attrs or {}).get("start", 1)
                self._lists.append(int(start) if kind[0] == "o" else None)
            elif kind in ("bullet_list_close", "ordered_list_close"):
                self._lists.pop()
            elif kind == "list_item_open":
                number = self._lists[-1]
                self._marker = "- " if number is None else f"{number}. "
                if number is not None:
                    self._lists[-1] = number + 1
            elif kind in ("fence", "code_block"):
                offset = 1 if kind == "fence" else 0
                self._builder.block(
                    token.content, line + offset if line else None, "code",
                    language=re.split(r"[\s{,]", token.info.strip() + " ")[0],
                )  # fmt: skip
            elif kind == "html_block":
                self._html(token.content, line)
            elif kind in ("thead_open", "thead_close"):
                self._in_head = kind == "thead_open"
            elif kind == "tr_open":
                self._row = []
            elif kind == "tr_close":
                self._end_row(line)
            elif kind == "inline":
                self._inline(token.content, line)

    def _inline(self, content: str, line: int | None) -> None:
        text = inline_text(content, self._builder.marks)
        if self._row is not None:
            self._row.append(" ".join(text.split()))
        elif self._heading:
            self._builder.heading(self._heading, text, line)
        elif self._lists:
            indent = "  " * (len(self._lists) - 1)
            marker = self._marker or "  "
            self._marker = ""
            lines = [part.strip() for part in text.split("\n")]
            self._builder.block(indent + marker + f"\n{indent}  ".join(lines), line, "item")
        else:
            self._builder.block("\n".join(part.strip() for part in text.split("\n")), line)

    def _end_row(self, line: int | None) -> None:
        row, self._row = self._row or [], None
        if self._in_head:
            self._labels = row
        elif len(self._labels) == len(row) > 1:
            row = [
                f"{label}: {cell}" if n and label and cell else cell
                for n, (label, cell) in enumerate(zip(self._labels, row, strict=True))
            ]
        self._builder.block(" | ".join(filter(None, row)), line, "row")

    def _html(self, content: str, line: int | None) -> None:
        from pocket_colbert.ingest.html_reader import read_html

        self._builder.block(read_html(content).text, line)


def inline_text(content: str, marks: InlineMarks) -> str:
    """Return what inline Markdown shows, with marks; links and images are their words."""
    content = marks.cleaned(content)
    if len(content) > 100_000:
        return content
    for pattern, shown in _INLINE:
        content = _substituted(pattern, shown, content, marks)
    return readable(content)


def _substituted(pattern: re.Pattern[str], shown: _Change, content: str, marks: InlineMarks) -> str:
    if isinstance(shown, str):
        return pattern.sub(shown, content)
    change = shown
    return pattern.sub(lambda match: change(match, marks), content)


def front_matter(source: str) -> tuple[dict[str, Any], str, int]:
    """Split front matter off.

    Args:
        source: The file.

    Returns:
        What it says, the rest, and the line on which the rest starts.
    """
    match = _FRONT_YAML.match(source)
    read = _simple_yaml
    if match is None:
        match, read = _FRONT_TOML.match(source), _simple_toml
    if match is None:
        return {}, source, 1
    found = read(match[1])
    if not found:
        return {}, source, 1
    return found, source[match.end() :], 1 + source.count("\n", 0, match.end())


def _simple_toml(text: str) -> dict[str, Any]:
    pairs = re.sub(r"^[ \t]*([\w-]{1,60})[ \t]*=", r"\1:", text, flags=re.M)
    return _simple_yaml(re.sub(r"^[ \t]*\[.*$", "", pairs, flags=re.M))


def _simple_yaml(text: str) -> dict[str, Any]:
    """Read what front matter mostly is: keys with values, lists of values, a level of nesting."""
    found: dict[str, Any] = {}
    key: str | None = None
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        item = re.match(r"[ \t]*-[ \t]+(.*)", line)
        pair = re.match(r"([ \t]*)([\w][\w .-]{0,60}?)[ \t]*:(?:[ \t]+(.*)|[ \t]*)$", line)
        if item and key is not None:
            if not isinstance(found.get(key), list):
                found[key] = []
            found[key].append(_scalar(item[1]))
        elif pair and not pair[1]:
            key = pair[2].strip()
            value = (pair[3] or "").strip()
            found[key] = "" if value in ("", "|", ">", "|-", ">-") else _scalar(value)
        elif pair and key is not None and isinstance(found.get(key), dict | str):
            inner = found[key] if isinstance(found[key], dict) else {}
            inner[pair[2].strip()] = _scalar((pair[3] or "").strip())
            found[key] = inner
        elif key is not None and isinstance(found.get(key), str):
            found[key] = f"{found[key]} {line.strip()}".strip()
    return {name: value for name, value in found.items() if value not in ("", None)}


def _scalar(value: str) -> Any:
    value = value.strip()
    if value[:1] in ('"', "'") and value[-1:] == value[:1] and len(value) > 1:
        return value[1:-1]
    if value.startswith("[") and value.endswith("]"):
        return [_scalar(item) for item in value[1:-1].split(",") if item.strip()]
    value = re.sub(r"\s+#.*$", "", value)
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if re.fullmatch(r"-?\d{1,15}", value) and not re.match(r"-?0\d", value):
        return int(value)
    if re.fullmatch(r"-?\d{1,12}\.\d{1,12}", value):
        return float(value)
    try:
        return datetime.date.fromisoformat(value).isoformat()
    except ValueError:
        return value
