"""Markup by lines: reStructuredText, AsciiDoc, Org and LaTeX, in blocks under headings."""

from __future__ import annotations

import re
from typing import Any

from pocket_colbert.ingest.extracted import Deadline, Extracted, TextBuilder

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*$")
_RST_ROLE = re.compile(r"(?::[\w:+.-]{1,60}:)?`([^`<\n]{1,300}?)(?:\s*<[^<>`\n]{0,300}>)?`_{0,2}")
_RST_SKIPPED = re.compile(
    r"\.\. (?:_[^\n]*:|\|[^|\n]*\|[^\n]*|(?:highlight|index|contents|toctree|module|py:module|"
    r"currentmodule|py:currentmodule|meta|image|include|raw|default-domain)::)"
)
_DIRECTIVE = re.compile(r"\.\. ([\w:-]{1,60})::\s*(.*)")
_OPTION = re.compile(r"\s+:[\w-]{1,60}:(?:\s.*)?$")
_ADOC_DELIMITER = re.compile(r"(?:-{4,}|={4,}|\.{4,}|\*{4,}|_{4,}|\+{4,}|\|={3,}|--|```\w*)\s*$")
_ADOC_MARKUP = (
    (
        re.compile(r"(?:link:|https?://[^\s\[]{1,500}(?=\[))[^\s\[]{0,500}\[([^\]\n]{1,300})\]"),
        r"\1",
    ),
    (re.compile(r"<<[^,<>\n]{1,200}(?:,\s*([^<>\n]{1,300}))?>>"), r"\1"),
    (re.compile(r"(?<!\w)([*_`])(?=\S)([^*_`\n]{1,300}?)(?<=\S)\1(?!\w)"), r"\2"),
)
_ORG_LINK = re.compile(r"\[\[([^\[\]\n]{1,500})\](?:\[([^\[\]\n]{1,500})\])?\]")
_ORG_TAGS = re.compile(r"\s+:([\w@:]{1,200}):\s*$")
_TEX_LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4,
               "paragraph": 5}  # fmt: skip
_TEX_HEADING = re.compile(
    r"\\(part|chapter|section|subsection|subsubsection|paragraph)\*?(?:\[[^\]\n]{0,200}\])?"
    r"\{([^{}\n]{0,200}(?:\{[^{}\n]{0,200}\}[^{}\n]{0,200}){0,5})\}"
)
_TEX_TITLE = re.compile(
    r"\\title(?:\[[^\]\n]{0,200}\])?\{([^{}]{1,300}(?:\{[^{}]{0,100}\}[^{}]{0,200}){0,4})\}"
)
_TEX_DROPPED = re.compile(
    r"\\(?:label|cite[tp]?|ref|eqref|pageref|index|vspace|hspace|usepackage|documentclass|"
    r"bibliographystyle|bibliography|input|include|includegraphics|newcommand|renewcommand|"
    r"setlength|pagestyle|author|date|begin|end)\*?(?:\[[^\]\n]{0,300}\])?(?:\{[^{}\n]{0,300}\}){0,3}"
)
_TEX_COMMENT = re.compile(r"(?<!\\)%.*$", re.M)
_TEX_COMMAND = re.compile(r"\\[a-zA-Z]{1,40}\*?(?:\[[^\]\n]{0,200}\])?")


def read_rst(source: str, deadline: Deadline) -> Extracted:
    """Return the text of reStructuredText; headings are known by the lines under them."""
    page = _Lines(deadline)
    lines = source.split("\n")
    levels: list[str] = []
    at = 0
    while at < len(lines):
        deadline.check()
        line = lines[at]
        over = _is_adornment(line) and at + 2 < len(lines) and _is_adornment(lines[at + 2])
        if over and lines[at + 1].strip() and line.strip()[:1] == lines[at + 2].strip()[:1]:
            page.heading(_level(levels, line[0] * 2), lines[at + 1].strip(), at + 2)
            at += 3
            continue
        following = lines[at + 1] if at + 1 < len(lines) else ""
        if (
            line.strip() and not line[0].isspace() and _is_adornment(following)
            and not _is_adornment(line) and len(following.rstrip()) >= min(len(line.rstrip()), 4)
        ):  # fmt: skip
            page.heading(_level(levels, following[0]), _rst_inline(line.strip()), at + 1)
            at += 2
            continue
        at += 1
        directive = _DIRECTIVE.match(line.strip())
        if (
            line.strip() == ".."
            or _RST_SKIPPED.match(line)
            or (line.startswith(".. ") and not directive)
        ):
            while at < len(lines) and lines[at][:1].isspace() and lines[at].strip():
                at += 1
            page.end()
        elif directive:
            page.end()
            if directive[2]:
                page.add(_rst_inline(directive[2]), at)
            while at < len(lines) and _OPTION.match(lines[at]):
                at += 1
        elif not _OPTION.match(line) or page.open:
            page.add(_rst_inline(line.rstrip()).replace("::", ":") if line.endswith("::")
                     else _rst_inline(line.rstrip()), at)  # fmt: skip
    return page.result()


def _is_adornment(line: str) -> bool:
    return _ADORNMENT.match(line) is not None


def _level(levels: list[str], mark: str) -> int:
    if mark not in levels:
        levels.append(mark)
    return levels.index(mark) + 1


def _rst_inline(text: str) -> str:
    return _RST_ROLE.sub(r"\1", text).replace("``", "") if "`" in text else text


def read_asciidoc(source: str, deadline: Deadline) -> Extracted:
    """Return the text of AsciiDoc."""
    page = _Lines(deadline)
    title: str | None = None
    metadata: dict[str, Any] = {}
    in_comment = False
    for number, line in enumerate(source.split("\n"), 1):
        deadline.check()
        heading = re.match(r"(={1,6}|#{1,6})[ \t]+(\S.*)", line)
        attribute = re.match(r":([\w-]{1,60}):[ \t]*(.*)", line)
        if line.startswith("////"):
            in_comment = not in_comment
        elif in_comment or (line.startswith("//") and not line.startswith("///")):
            continue
        elif heading:
            if len(heading[1]) == 1 and title is None:
                title = heading[2].strip()
            page.heading(len(heading[1]), _adoc_inline(heading[2]), number)
        elif attribute:
            if attribute[1] in ("author", "date", "revdate", "keywords", "description"):
                metadata[attribute[1]] = attribute[2].strip()
        elif _ADOC_DELIMITER.match(line) or re.match(r"\[[^\]\n]*\]\s*$", line):
            page.end()
        else:
            text = re.sub(r"^\.(?=[A-Z])", "", line)
            if text.startswith("|"):
                text = " | ".join(part.strip() for part in text.split("|") if part.strip())
            page.add(_adoc_inline(text.rstrip()), number)
    return page.result(title, metadata)


def _adoc_inline(text: str) -> str:
    for pattern, shown in _ADOC_MARKUP:
        text = pattern.sub(shown, text)
    return text


def read_org(source: str, deadline: Deadline) -> Extracted:
    """Return the text of an Org file; its keywords and tags are metadata."""
    page = _Lines(deadline)
    title: str | None = None
    metadata: dict[str, Any] = {}
    tags: dict[str, None] = {}
    in_drawer = False
    for number, line in enumerate(source.split("\n"), 1):
        deadline.check()
        heading = re.match(r"(\*+)[ \t]+(\S.*)", line)
        keyword = re.match(r"[ \t]*#\+(\w{1,40}):[ \t]*(.*)", line)
        if heading:
            text = re.sub(r"^(?:TODO|DONE|NEXT|WAITING)[ \t]+|\[#[A-Z]\][ \t]*", "", heading[2])
            found = _ORG_TAGS.search(text)
            if found:
                tags.update(dict.fromkeys(found[1].split(":")))
                text = text[: found.start()]
            page.heading(len(heading[1]), _org_inline(text), number)
        elif in_drawer or re.match(r"[ \t]*:PROPERTIES:[ \t]*$", line):
            in_drawer = not re.match(r"[ \t]*:END:[ \t]*$", line)
        elif keyword:
            if keyword[1].lower() == "title":
                title = keyword[2].strip() or None
            elif keyword[1].lower() in ("author", "date", "description", "filetags"):
                metadata[keyword[1].lower()] = keyword[2].strip()
        elif re.match(r"[ \t]*#\+|[ \t]*# |[ \t]*\|[-+]+\|?[ \t]*$", line):
            page.end()
        else:
            page.add(_org_inline(line.rstrip()), number)
    if tags:
        metadata["tags"] = list(tags)
    return page.result(title, metadata)


def _org_inline(text: str) -> str:
    return _ORG_LINK.sub(lambda match: match[2] or match[1], text)


def read_latex(source: str, deadline: Deadline) -> Extracted:
    """Return the text of LaTeX without its commands; formulas stay."""
    page = _Lines(deadline)
    source = _TEX_COMMENT.sub("", source)
    found = _TEX_TITLE.search(source)
    title = _tex_inline(found[1]).strip() if found else None
    body = source.find("\\begin{document}")
    skipped = source.count("\n", 0, body) if body >= 0 else 0
    verbatim = False
    for number, line in enumerate(source[max(body, 0) :].split("\n"), skipped + 1):
        deadline.check()
        if re.match(r"\s*\\(?:begin|end)\{(?:verbatim|lstlisting|minted)\*?\}", line):
            verbatim = "\\begin" in line
            page.end()
            continue
        heading = None if verbatim else _TEX_HEADING.search(line)
        if heading:
            page.heading(_TEX_LEVELS[heading[1]], _tex_inline(heading[2]), number)
            line = line[heading.end() :]
            if not line.strip():
                continue
        if verbatim:
            page.add(line.rstrip(), number)
        elif line.strip():
            text = _tex_inline(line).strip()
            if text:
                page.add(text, number)
        else:
            page.end()
    return page.result(title)


def _tex_inline(text: str) -> str:
    text = re.sub(r"^\s*\\item(?:\[([^\]\n]{0,200})\])?\s*", lambda m: f"- {m[1] or ''}", text)
    text = _TEX_DROPPED.sub("", text)
    text = re.sub(r"\\([%&#_{}$])", r"\1", text.replace("\\\\", " "))
    text = re.sub(r"\\href\{[^{}\n]{0,500}\}", "", text)
    text = (
        _TEX_COMMAND.sub("", text)
        if "$" not in text
        else re.sub(r"\\(?:text|math)[a-z]{1,4}(?=\{)|\\emph(?=\{)", "", text)
    )
    text = text.replace("``", "“").replace("''", "”").replace("~", " ")
    return re.sub(r"[{}]", "", text) if "$" not in text else text


class _Lines:
    """Collects lines to blocks, which blank lines part."""

    def __init__(self, deadline: Deadline) -> None:
        self._builder = TextBuilder(deadline)
        self._lines: list[str] = []
        self._start = 1

    @property
    def open(self) -> bool:
        """Whether a block has begun."""
        return bool(self._lines)

    def add(self, text: str, number: int) -> None:
        if not text.strip():
            self.end()
            return
        if not self._lines:
            self._start = number
        self._lines.append(text)

    def end(self) -> None:
        self._builder.block("\n".join(self._lines), self._start)
        self._lines = []

    def heading(self, level: int, text: str, number: int) -> None:
        self.end()
        self._builder.heading(level, text, number)

    def result(self, title: str | None = None, metadata: dict[str, Any] | None = None) -> Extracted:
        self.end()
        return self._builder.result(title or self._builder.first_heading, metadata)
