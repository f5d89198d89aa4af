"""Manual pages to titled text: the macros of man(7) and mdoc(7), and tables of tbl(1)."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from pocket_colbert.ingest.extracted import Deadline, Extracted, Limits, TextBuilder
from pocket_colbert.ingest.mdoc import CALLABLE, Mdoc
from pocket_colbert.ingest.roff_escapes import STRINGS, plain

_REQUEST = re.compile(r"[.'][ \t]*([^\s\\]{1,40}|\\[{}])?[ \t]*(.*)", re.S)
_ARGUMENT = re.compile(r'[ ]*(?:"((?:[^"]|"")*)(?:"|$)|((?:[^\s\\]|\\.|\\$)+)|(\t+))')
_FONTS = {"B", "I", "SM", "SB", "R", "CW"}
_ALTERNATING = {"BR", "RB", "BI", "IB", "IR", "RI"}
_PARAGRAPHS = {"PP", "P", "LP", "HP", "sp", "br", "RS", "RE", "bp", "YS", "Pp"}
_EXPANDED = 2_000_000
"""Characters that the macros of a page may write at most."""
_IS_ROFF = re.compile(r"^[.'][ \t]*(?:TH|Dd|SH|Sh)[ \t\"]", re.M)


def looks_like_roff(head: str) -> bool:
    """Return whether the first lines of a text are those of a manual page."""
    return _IS_ROFF.search(head) is not None


def read_roff(source: str, deadline: Deadline | None = None) -> Extracted:
    """Return the text of a manual page as a terminal shows it, unfilled and without fonts.

    Args:
        source: The page.
        deadline: When to give up.
    """
    deadline = deadline or Deadline(Limits().seconds)
    page = _Page(TextBuilder(deadline), deadline)
    page.read(source)
    return page.builder.result(page.title)


class _Page:
    """Reads a page line by line."""

    def __init__(self, builder: TextBuilder, deadline: Deadline) -> None:
        self.builder = builder
        self.title: str | None = None
        self._deadline = deadline
        self._strings = dict(STRINGS)
        self._macros: dict[str, list[str]] = {}
        self._expanded = 0
        self._unended = False
        self._waiting: deque[tuple[str, int, int]] = deque()
        self._line = 0
        self._words: list[str] = []
        self._start: int | None = None
        self._glue = False
        self._verbatim = False
        self._kind: Any = "paragraph"
        self._tag_next = False
        self._condition = True
        self._mdoc = Mdoc(self)

    def read(self, source: str) -> None:
        lines = deque(enumerate(source.split("\n"), 1))
        while lines or self._waiting:
            self._deadline.check()
            depth = 0
            if self._waiting:
                text, self._line, depth = self._waiting.popleft()
            else:
                self._line, text = lines.popleft()
                parts = [text]
                while _continues(parts[-1]) and lines:
                    parts[-1] = parts[-1][:-1]
                    parts.append(lines.popleft()[1])
                text = "".join(parts)
            self._take(text, lines, depth)
        self.flush()

    def _take(self, text: str, lines: deque[tuple[int, str]], depth: int) -> None:
        uncommented = _without_comment(text)
        if uncommented is None:
            return
        text = uncommented
        if text.startswith((".", "'")) and len(text) > 1:
            match = _REQUEST.match(text)
            name, rest = (match[1] or "", match[2]) if match else ("", "")
            if name:
                self._request(name, rest, lines, depth)
            return
        text = text.replace("\\}", "")
        if self._verbatim:
            self._words.append(plain(text, self._strings).rstrip())
            self._start = self._start or self._line
        elif not text.strip():
            self.flush()
        else:
            self.text(plain(text, self._strings).strip(), continued=text.endswith("\\c"))
            self._end_tag()

    # What mdoc uses, too.

    def text(self, text: str, *, continued: bool = False) -> None:
        """Add words to the paragraph."""
        if text:
            if self._words and not self._glue:
                self._words.append(" ")
            self._words.append(text)
            self._start = self._start or self._line
        self._glue = continued

    def plain(self, text: str) -> str:
        """Return a text without escapes."""
        return plain(text, self._strings)

    def flush(self, kind: Any = None) -> None:
        """End the paragraph."""
        separator = "\n" if self._verbatim else ""
        text = separator.join(self._words)
        if not self._verbatim:
            text = " ".join(text.split())
        self.builder.block(text, self._start, kind or ("code" if self._verbatim else self._kind))
        self._words, self._start, self._glue = [], None, False

    def heading(self, level: int, text: str) -> None:
        """Start a section."""
        self.flush()
        self._kind, self._verbatim = "paragraph", False
        self.builder.heading(level, text, self._line)

    def verbatim(self, on: bool) -> None:
        """Keep the lines as they are from here on, or no longer."""
        self.flush()
        self._verbatim = on

    @property
    def kept_lines(self) -> bool:
        """Whether lines are kept as they are."""
        return self._verbatim

    def add_line(self, text: str) -> None:
        """Add a whole line to text that is kept as it is."""
        self._words.append(text)
        self._start = self._start or self._line

    def item(self) -> None:
        """What follows belongs to an item of a list."""
        self._kind = "item"

    def paragraph(self) -> None:
        """What follows is text again."""
        self.flush()
        self._kind = "paragraph"

    def _end_tag(self) -> None:
        if self._tag_next:
            self._tag_next = False
            self.flush("item")

    # Requests.

    def _request(self, name: str, rest: str, lines: deque[tuple[int, str]], depth: int) -> None:
        if name in self._macros:
            self._expand(name, rest, depth)
        elif name in ("if", "ie", "el", "while"):
            self._conditional(name, rest, lines, depth)
        elif name in ("de", "de1", "am", "dei", "ig"):
            self._define(name, rest, lines)
        elif name in ("ds", "as", "ds1"):
            key, _, value = rest.partition(" ")
            value = value.lstrip().removeprefix('"')
            before = self._strings.get(key, "") if name == "as" else ""
            if len(before) + len(value) < 10_000:
                self._strings[key] = before + value
        elif name == "TS":
            self._table(lines)
        elif self._man(name, rest):
            pass
        elif name in CALLABLE or name in Mdoc.BLOCKS:
            self._mdoc.request(name, arguments(rest))
            if self._tag_next and name not in Mdoc.BLOCKS:
                self._end_tag()

    def _man(self, name: str, rest: str) -> bool:
        """Handle a macro of man(7); return whether it is one."""
        if name == "TH":
            values = self._plain_arguments(rest)
            if values:
                self.title = values[0].lower() if values[0].isupper() else values[0]
                if len(values) > 1 and values[1]:
                    self.title += f"({values[1]})"
        elif name in ("SH", "SS"):
            text = " ".join(self._plain_arguments(rest))
            self._tag_next = False
            if text:
                self.heading(1 if name == "SH" else 2, text)
        elif name in _PARAGRAPHS:
            self._paragraph(name)
        elif name in ("TP", "TQ"):
            self.flush()
            self._kind, self._tag_next = "item", True
        elif name == "IP":
            self.flush()
            self._kind = "item"
            values = self._plain_arguments(rest)
            tag = values[0].strip() if values else ""
            if tag in ("•", "*", "-", "o", "·", "+", "—"):
                self.text("- ", continued=True)
            elif tag.rstrip(".)").isdigit():
                self.text(tag)
            elif tag:
                self.text(tag)
                self.flush("item")
        elif name in _FONTS:
            self.text(" ".join(self._plain_arguments(rest)), continued=rest.endswith("\\c"))
            self._line_ends()
        elif name in _ALTERNATING:
            self.text("".join(self._plain_arguments(rest)), continued=rest.endswith("\\c"))
            self._line_ends()
        elif name in ("nf", "EX", "fi", "EE"):
            self.verbatim(name in ("nf", "EX"))
        elif name in ("UR", "MT"):
            self._address = self.plain(rest).strip()
        elif name in ("UE", "ME"):
            address, self._address = getattr(self, "_address", ""), ""
            self.text(f"<{address}>" if address else "")
            self._words.append(self.plain(rest).strip())
            self._line_ends()
        elif name == "SY":
            self.flush()
            self.text(self.plain(rest).strip())
        elif name == "OP":
            self.text("[" + " ".join(self._plain_arguments(rest)) + "]")
        else:
            return False
        return True

    def _paragraph(self, name: str) -> None:
        if self._verbatim:
            if name == "sp":
                self._words.append("")
            elif name != "br":
                self.flush()
            return
        if not self._tag_next or name not in ("br", "sp"):
            self.flush()
        if name in ("PP", "P", "LP", "HP"):
            self._kind, self._tag_next = "paragraph", False

    def _line_ends(self) -> None:
        self._end_tag()
        if self._verbatim and len(self._words) > 1:
            # Words of one line were added apart.
            tail = self._words.pop()
            if self._words[-1] == " ":
                self._words.pop()
            self._words.append(tail)

    def _plain_arguments(self, rest: str) -> list[str]:
        return [self.plain(item) for item in arguments(rest)]

    def _expand(self, name: str, rest: str, depth: int) -> None:
        body = self._macros[name]
        values = arguments(rest)
        self._expanded += sum(map(len, body)) + 10 + len(rest)
        if depth > 8 or self._expanded > _EXPANDED:
            return
        lines = []
        for line in body:
            line = re.sub(r"\\\\?\$[@*]", lambda _: rest, line)
            line = re.sub(
                r"\\\\?\$(\d)",
                lambda m: values[int(m[1]) - 1] if 0 < int(m[1]) <= len(values) else "",
                line,
            )
            self._expanded += len(line)
            lines.append((line.replace("\\\\", "\\"), self._line, depth + 1))
        if self._expanded <= _EXPANDED:
            self._waiting.extendleft(reversed(lines))

    def _define(self, name: str, rest: str, lines: deque[tuple[int, str]]) -> None:
        key, _, end = rest.strip().partition(" ")
        if name == "ig":
            key, end = "", key
        is_end = re.compile(rf"[.'][ \t]*{re.escape(end.strip() or '.')}[ \t]*")
        body, ended = [], False
        while not ended and (lines or self._waiting):
            text = self._waiting.popleft()[0] if self._waiting else lines.popleft()[1]
            ended = is_end.fullmatch(text) is not None
            body.append(text)
        if ended:
            body.pop()
        elif not self._unended:  # text, then
            self._unended = True
            self._waiting.extend((text, self._line, 0) for text in body)
            return
        if key and key not in _BUILT_IN:
            if not name.startswith("am"):
                self._macros[key] = []
            self._macros.setdefault(key, []).extend(body)

    def _conditional(self, name: str, rest: str, lines: deque[tuple[int, str]], depth: int) -> None:
        if name == "el":
            holds, rest = not self._condition, rest
        else:
            holds, rest = _condition(rest)
            self._condition = holds
        rest = rest.lstrip()
        if rest.startswith("\\{"):
            body = [rest[2:]]
            level = 1 + rest.count("\\{") - 1 - rest.count("\\}")
            while level > 0 and (self._waiting or lines):
                text = self._waiting.popleft()[0] if self._waiting else lines.popleft()[1]
                level += text.count("\\{") - text.count("\\}")
                body.append(text)
            body[-1] = "".join(body[-1].rsplit("\\}", 1))
            found = [text for text in body if text.strip() and text.strip() != "\\"]
        else:
            found = [rest] if rest else []
        self._expanded += sum(map(len, found))
        if holds and depth < 20 and self._expanded <= 20 * _EXPANDED:
            self._waiting.extendleft((text, self._line, depth + 1) for text in reversed(found))

    def _table(self, lines: deque[tuple[int, str]]) -> None:
        self.flush()
        separator, in_format, rows = "\t", True, []
        cell: list[str] | None = None
        row: list[str] = []
        while lines:
            number, text = lines.popleft()
            self._deadline.check()
            if text.startswith(".TE"):
                break
            if in_format:
                found = re.search(r"tab\s?\((.)\)", text)
                separator = found[1] if found and text.rstrip().endswith(";") else separator
                in_format = not text.rstrip().endswith(".")
                continue
            if cell is not None:
                if not text.startswith("T}"):
                    if not text.startswith((".sp", ".br", ".nf", ".fi", '.\\"')):
                        request = _REQUEST.match(text) if text.startswith(".") else None
                        cell.append(
                            " ".join(arguments(request[2]))
                            if request and request[2]
                            else ""
                            if request
                            else text
                        )
                    continue
                row.append(" ".join(cell))
                cell, text = None, text[2:].removeprefix(separator)
                if not text:
                    rows.append((number, row))
                    row = []
                    continue
            elif text.startswith(".T&"):
                in_format = True
                continue
            elif text.startswith(".") or text.strip() in ("_", "="):
                continue
            parts = text.split(separator)
            if parts[-1].strip() == "T{":
                row += parts[:-1]
                cell = []
            else:
                rows.append((number, row + parts))
                row = []
        for number, row in rows:
            cells = [" ".join(self.plain(item).split()) for item in row]
            self.builder.block(" | ".join(item for item in cells if item), number, "row")


def arguments(rest: str) -> list[str]:
    """Split what follows the name of a macro; a quoted argument may hold spaces."""
    found = []
    for match in _ARGUMENT.finditer(rest):
        quoted, bare, tab = match.groups()
        if quoted is not None:
            found.append(quoted.replace('""', '"'))
        elif bare is not None:
            found.append(bare)
        else:
            found.append(tab)
    return found


_BUILT_IN = {
    "SH", "SS", "TH", "PP", "TP", "IP", "B", "I", "BR", "RB", "BI", "IB", "IR", "RI", "nf", "fi",
}  # fmt: skip
"""Macros that pages define again only for old systems."""


def _condition(rest: str) -> tuple[bool, str]:
    """Return whether a condition holds on a terminal, and what follows it."""
    rest = rest.lstrip()
    negated = rest.startswith("!")
    rest = rest[negated:].lstrip()
    if rest[:1] in ("n", "t", "o", "e", "v") and rest[1:2] in ("", " ", "\\", "."):
        holds, rest = rest[0] in "no", rest[1:]
    elif rest.startswith(("'", '"')):
        parts = rest.split(rest[0], 3)
        if len(parts) < 4:
            return False, ""
        holds, rest = parts[1] == parts[2], parts[3]
    else:
        match = re.match(r"(?:\\.\(..|\\.\[[^\]]*\]|\\.[^\s(\[]|[^\s\\])+", rest)
        expression = match[0] if match else ""
        rest = rest[len(expression) :]
        # In GNU troff, `.g` is 1.
        holds = expression in ("\\n(.g", "\\n[.g]", "1") or expression.startswith("\\n(.g")
    return holds != negated, rest


def _continues(text: str) -> bool:
    stripped = len(text) - len(text.rstrip("\\"))
    return stripped % 2 == 1


def _without_comment(text: str) -> str | None:
    """Return a line without its comment, None if it is nothing else."""
    if "\\" in text:
        match = re.search(r'(?<!\\)(?:\\\\)*(\\["#])', text)
        if match:
            text = text[: match.start(1)]
            if not text.strip(" .'\t"):
                return None
            return text.rstrip(" \t") if text.startswith((".", "'")) else text
    return None if text.startswith(("'''", '.\\"')) else text
