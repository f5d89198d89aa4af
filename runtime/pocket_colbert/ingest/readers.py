"""Documents from files: folders of text, JSON lines, BEIR folders; nothing is skipped."""

from __future__ import annotations

import html.parser
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pocket_colbert.checks import checked_document
from pocket_colbert.errors import CorpusError, InvalidInputError
from pocket_colbert.ingest.json_lines import is_json_lines, read_json_lines
from pocket_colbert.source_paths import source_name
from pocket_colbert.text_splitting import with_title
from pocket_colbert.types import Document

TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".rst", ".html", ".htm")
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
"""Tags within which text is read in another way, and what they are counted as."""
_END_OF_TITLE = _BLOCK_TAGS | _SILENT_TAGS | {"base", "body", "head", "html", "link", "meta"}
"""Tags, opening or closing, that are in no title: one that was not closed ends there."""


@dataclass(frozen=True)
class Fields:
    """Names of the keys of a JSON line.

    Attributes:
        document_id: Key of the id; a number is taken as its digits. With "" the id is the file's
            name, a colon and the number of the line.
        text: Key of the text.
        title: Key of the title, which may be absent.
    """

    document_id: str = "_id"
    text: str = "text"
    title: str = "title"


def read_documents(paths: Iterable[Path], fields: Fields | None = None) -> Iterator[Document]:
    """Read documents one after the other.

    Args:
        paths: Files, or folders that are searched for files of TEXT_SUFFIXES, .jsonl and
            .jsonl.gz in the order of their names; hidden files and folders are left out. Links
            are followed; a folder is read once, under its own name rather than a link's.
        fields: Names of the keys of JSON lines.

    Yields:
        The documents. A text file's id is its path below the folder given, with slashes, or its
        name; its title is that of an HTML page, else the words of the file's name. All other keys
        of a JSON line become metadata.

    Raises:
        CorpusError: A path is missing, empty of documents, unreadable, not UTF-8, of an unknown
            kind, or a link that leads nowhere, or a line is not as `fields` says; the message names
            file and line.
    """
    fields = fields or Fields()
    for path in paths:
        if path.is_dir():
            found = 0
            for file in filter(_is_read, files_below(path)):
                name = file.relative_to(path).as_posix()
                for document in _read_file(file, name, fields):
                    found += 1
                    yield document
            if not found:
                raise CorpusError(
                    f"{path} holds no documents; files of {', '.join(TEXT_SUFFIXES)}, .jsonl and "
                    ".jsonl.gz are read."
                )
        elif path.is_file():
            yield from _read_file(path, path.name, fields)
        else:
            raise CorpusError(f"there is no file or folder {path}.")


def read_sources(
    paths: Iterable[Path],
    index_folder: Path,
    fields: Fields | None = None,
    *,
    id_prefix: str = "",
) -> Iterator[Document]:
    """Read documents for an index that is kept in step with them; see `sync.sync`.

    Args:
        paths: See `read_documents`.
        index_folder: Where the index is.
        fields: See `read_documents`.
        id_prefix: What is put in front of all ids.

    Yields:
        Documents with the `source_name` of their path as source.

    Raises:
        CorpusError: See `read_documents`, or a path has no documents.
    """
    for path in paths:
        source, document = source_name(path, index_folder), None
        for document in read_documents([path], fields):
            document_id = id_prefix + document.document_id
            yield replace(document, document_id=document_id, source=source)
        if document is None:  # rather than delete all that came from there
            raise CorpusError(f"there are no documents in {path}.")


def files_below(folder: Path) -> Iterator[Path]:
    """Iterate over the files in a folder and those below it, hidden ones left out.

    Links are followed, to folders at the end. Each folder is read once, so that links may go in
    circles.

    Raises:
        CorpusError: A folder cannot be read, or a link leads nowhere.
    """
    read: set[Path] = set()
    waiting = deque([folder])
    while waiting:
        yield from _walk(waiting.popleft(), read, waiting)


def _walk(folder: Path, read: set[Path], linked: deque[Path]) -> Iterator[Path]:
    """Iterate over the files in a folder and those below it; note what they are and link to."""
    place = folder.resolve()
    if place in read:
        return
    read.add(place)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise CorpusError(f"{folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        if entry.is_symlink() and not os.path.exists(path):
            raise CorpusError(f"{path} is a link that leads nowhere; mend or remove it.")
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, read, linked)
        elif entry.is_dir():
            linked.append(path)
        elif entry.is_file():
            yield path


def _is_read(path: Path) -> bool:
    return path.suffix.lower() in TEXT_SUFFIXES or is_json_lines(path)


def _read_file(path: Path, name: str, fields: Fields) -> Iterator[Document]:
    if is_json_lines(path):
        for number, row in read_json_lines(path):
            yield document_of(row, fields, f"{path}, line {number}", f"{name}:{number}")
        return
    if path.suffix.lower() not in TEXT_SUFFIXES:
        raise CorpusError(
            f"{path} is of an unknown kind; files of {', '.join(TEXT_SUFFIXES)}, .jsonl and "
            ".jsonl.gz are read."
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 (byte {error.start}).") from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}.") from error
    title = None
    if path.suffix.lower() in (".html", ".htm"):
        title, text = html_text(text)
    # A passage says what it is about, but often not of what document it is; its name does.
    title = title or " ".join(re.split(r"[\W_]+", path.stem)).strip() or None
    yield Document(name, text.strip(), title)


def document_of(row: Mapping[str, Any], fields: Fields, place: str, default_id: str) -> Document:
    """Return the document that a JSON object, or the row of a table, is.

    Args:
        row: Keys and values.
        fields: Names of the keys.
        place: Where it was read, for the message.
        default_id: The id when `fields` names no key for it.

    Raises:
        CorpusError: The row is not as `fields` says.
    """
    if not fields.document_id:
        row = {**row, "": default_id}
    for key in (fields.document_id, fields.text):
        if key not in row:
            raise CorpusError(
                f"{place}: no key {key!r}, got {sorted(row)}; name the keys with --id-field and "
                "--text-field."
            )
    document_id, text, title = row[fields.document_id], row[fields.text], row.get(fields.title)
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        document_id = str(document_id)
    for key, value in ((fields.document_id, document_id), (fields.text, text)):
        if not isinstance(value, str):
            raise CorpusError(f"{place}: {key!r} must be a text, got {value!r}.")
    if not document_id:
        raise CorpusError(f"{place}: {fields.document_id!r} must not be empty.")
    if title is not None and not isinstance(title, str):
        raise CorpusError(f"{place}: {fields.title!r} must be a text, got {title!r}.")
    known = {fields.document_id, fields.text, fields.title}
    metadata = {k: v for k, v in row.items() if k not in known}
    try:
        return checked_document(Document(document_id, text, title or None, metadata))
    except InvalidInputError as error:
        raise CorpusError(f"{place}: {error}") from error


class _TextOf(html.parser.HTMLParser):
    """Gathers title and text; all that a head may hold is silent by itself or has no text."""

    # Not "title": one that is never closed would swallow the page.
    RCDATA_CONTENT_ELEMENTS = ("textarea",)  # type: ignore[misc, unused-ignore]

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.parts: list[tuple[bool, list[str]]] = [(False, [])]
        """Whether a part keeps its white space, as `<pre>` does, and its text."""
        self._depths = {"silent": 0, "svg": 0, "pre": 0}
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self._at_tag(tag, 1)
        # Titles of drawings are text, and so are all but the page's first.
        self._in_title |= tag == "title" and not self._depths["svg"] and not self.title

    def handle_endtag(self, tag: str) -> None:
        self._at_tag(tag, -1)

    def _at_tag(self, tag: str, step: int) -> None:
        self._in_title &= tag not in _END_OF_TITLE
        if tag in _BLOCK_TAGS:
            self.parts[-1][1].append("\n")
        kind = _COUNTED.get(tag)
        if kind is not None:
            self._depths[kind] = max(self._depths[kind] + step, 0)
        if self.parts[-1][0] != bool(self._depths["pre"]):
            self.parts.append((bool(self._depths["pre"]), []))

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._depths["silent"]:
            self.parts[-1][1].append(data)


def html_text(source: str) -> tuple[str | None, str]:
    """Return title, None when there is none, and readable text of an HTML page.

    White space is kept inside `<pre>`; elsewhere lines are stripped and empty ones left out.
    """
    reader = _TextOf()
    reader.feed(source)
    reader.close()
    parts = []
    for keeps_space, pieces in reader.parts:
        lines = "".join(pieces).split("\n")
        if not keeps_space:
            lines = [re.sub(r"[^\S\n]+", " ", line).strip() for line in lines]
            lines = [line for line in lines if line]
        parts.append("\n".join(line.rstrip() for line in lines).strip("\n"))
    title = " ".join("".join(reader.title).split())
    return title or None, "\n".join(part for part in parts if part)


def text_to_encode(document: Document) -> str:
    """Return what the encoder gets for a document: title, a space, text, as BEIR does."""
    return with_title(document.text or "", document.title)
