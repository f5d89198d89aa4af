"""Documents from files and folders: what is read, what is left out, and what is said about it."""

from __future__ import annotations

import datetime
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pocket_colbert.errors import CorpusError
from pocket_colbert.ingest.extracted import (
    BinaryFileError,
    Extracted,
    Limits,
    MissingExtraError,
    UnreadableFileError,
)
from pocket_colbert.ingest.folder_walk import FileRules, walk
from pocket_colbert.ingest.json_lines import is_json_lines, read_json_lines
from pocket_colbert.ingest.left_out import LeftOut, Reason, printable_path
from pocket_colbert.ingest.rows import Fields, document_from_row
from pocket_colbert.source_paths import source_name
from pocket_colbert.text_splitting import with_title
from pocket_colbert.types import Document, Section

PART_CHARACTERS = 200_000
"""A longer text becomes several documents, so that its token vectors fit into memory."""


@dataclass
class Reading:
    """How files are read, and what was left out of the index while they were.

    Attributes:
        fields: Names of the keys of rows.
        rules: Which files of folders are read.
        limits: How much work one file may cost.
        strict: Whether a file that cannot be read is an error.
        small_first: Whether the smallest files of a folder come first.
        known: Names of files that the index may have documents of, and whether each is unchanged,
            so that it is not read again. See `knows`.
        left_out: What was left out so far.
        notes: What was assumed about files that were read, a line each.
    """

    fields: Fields = field(default_factory=Fields)
    rules: FileRules = field(default_factory=FileRules)
    limits: Limits = field(default_factory=Limits)
    strict: bool = False
    small_first: bool = False
    known: Mapping[str, bool] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, item: LeftOut) -> None:
        """Note what is left out; raise CorpusError if it is a failure and the reading strict."""
        if self.strict and item.reason == "unreadable":
            raise CorpusError(f"{item}.")
        self.left_out.append(item)

    def knows(self, document: Document) -> bool:
        """Return whether a document of the index is from a file that is not read again.

        The id of such a document begins with the name of its file; what follows may be part of
        the name of another one.
        """
        document_id = document.document_id
        if not self.known or document.metadata.get("kind") == "rows":
            return False
        for end in range(len(document_id), 0, -1):
            unchanged = self.known.get(document_id[:end])
            if unchanged is not None:
                return unchanged
        return False

    @property
    def unreadable(self) -> list[LeftOut]:
        """What could not be read."""
        return [item for item in self.left_out if item.reason == "unreadable"]


def read_documents(paths: Iterable[Path], fields: Fields | None = None) -> Iterator[Document]:
    """Read documents, one after the other.

    Args:
        paths: Files, or folders, whose files are read in the order of their names. Hidden files,
            and those that .gitignore names, are left out. Links are followed; each folder is read
            once, by its own name rather than that of a link.
        fields: Names of the keys of rows.

    Yields:
        The documents. The id of a file is its path below the given folder, with slashes, or its
        name if the file itself was given. Its title is the one it has, or else the words of its
        name. In JSON lines all keys that `fields` does not name become metadata.

    Raises:
        CorpusError: A path does not exist, a folder has no documents, a file cannot be read, a
            link is broken, or a line is not what `fields` says. The message names the file.
    """
    reading = Reading(fields or Fields(), strict=True)
    for path in paths:
        for document, _ in _documents_of(path, reading):
            yield document


def read_sources(
    paths: Iterable[Path],
    index_folder: Path,
    reading: Reading | None = None,
    *,
    id_prefix: str = "",
) -> Iterator[Document]:
    """Read documents for an index that is kept up to date with them; see `incremental.sync`.

    Args:
        paths: See `read_documents`.
        index_folder: The folder of the index.
        reading: How to read; it collects what was left out.
        id_prefix: Goes in front of every id.

    Yields:
        Documents; their source is the `source_name` of the path they were read from, and their
        metadata says which file they are from.

    Raises:
        CorpusError: A path does not exist or has no documents, or see `Reading.strict`.
    """
    reading = reading or Reading()
    for path in paths:
        source = source_name(path, index_folder)
        for document, file_metadata in _documents_of(path, reading):
            row = document.document_id != file_metadata["path"] and document.metadata
            metadata = {**file_metadata, **document.metadata} if row else {
                **document.metadata, **file_metadata,
            }  # fmt: skip
            whole = replace(
                document, document_id=id_prefix + document.document_id, source=source,
                metadata=metadata,
            )  # fmt: skip
            yield from in_parts(whole)


def _documents_of(path: Path, reading: Reading) -> Iterator[tuple[Document, dict[str, Any]]]:
    """Read a file or folder; raise CorpusError if it has no documents."""
    before = len(reading.left_out)
    found = False
    for file, name in files_of(path, reading):
        if reading.known.get(name) and not is_json_lines(file):  # rows have ids of their own
            found = True
            continue
        try:
            for item in _read_file(file, name, reading):
                found = True
                yield item
        except UnreadableFileError as error:
            reading.leave_out(
                LeftOut(printable_path(file), _reason(error), str(error), error.advice)
            )
        except CorpusError as error:  # of JSON lines, with the name and the line
            if reading.strict:
                raise
            detail = str(error).removeprefix(f"{file}").lstrip(":, ").rstrip(".")
            reading.leave_out(LeftOut(printable_path(file), "unreadable", detail, "repair it"))
    if not found:  # an error, or all documents of that path would be deleted
        raise CorpusError(_nothing_in(path, reading.left_out[before:]))


def _reason(error: UnreadableFileError) -> Reason:
    if isinstance(error, MissingExtraError):
        return "needs extra"
    if isinstance(error, BinaryFileError):
        return "binary"
    if str(error) == "it is an archive":
        return "archive"
    return "empty" if str(error) == "it is empty" else "unreadable"


def _nothing_in(path: Path, left_out: list[LeftOut]) -> str:
    where = printable_path(path)
    if path.is_dir():
        reasons = "".join(f" {item}." for item in left_out[:3])
        return f"{where} has no documents that can be read.{reasons}"
    if left_out:
        return f"there are no documents in {where}: {left_out[0].detail}; {left_out[0].advice}."
    return f"there are no documents in {where}."


def files_of(path: Path, reading: Reading) -> Iterator[tuple[Path, str]]:
    """Iterate over the files of a path, with the name that documents of each go by.

    Raises:
        CorpusError: There is nothing at the path.
    """
    if path.is_dir():
        files: Iterable[Path] = walk(path, reading.rules, reading.leave_out)
        if reading.small_first:
            files = sorted(files, key=_size)
        for file in files:
            yield file, file.relative_to(path).as_posix()
    elif path.is_file():
        yield path, printable_path(path.name)
    else:
        raise CorpusError(f"there is no file or folder {printable_path(path)}.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def count_documents(path: Path, reading: Reading) -> int:
    """Return about how many documents a path has: its files, and the lines of JSON lines."""
    count = 0
    for file, _ in files_of(path, reading):
        if file.name.lower().endswith(".jsonl"):
            try:
                with file.open("rb") as stream:
                    count += sum(bool(line.strip()) for line in stream)
            except OSError:
                continue
        else:
            count += 1
    return count


def _read_file(
    path: Path, name: str, reading: Reading
) -> Iterator[tuple[Document, dict[str, Any]]]:
    from pocket_colbert.ingest.formats import READERS, is_generated, read_content

    try:
        state = path.stat()
    except OSError as error:
        raise UnreadableFileError(f"it cannot be read ({error.strerror})", "check it") from error
    metadata: dict[str, Any] = {"path": name, "modified": _day(state), "size": state.st_size}
    if is_json_lines(path):
        yield from _rows(path, name, reading, {**metadata, "kind": "rows"})
        return
    if is_generated(path.name):
        reading.leave_out(LeftOut(printable_path(path), "generated", "programs write it", ""))
        return
    data = _bytes_of(path, reading.limits)
    if not data.strip():
        raise UnreadableFileError("it is empty", "")
    kind, content = read_content(path, data, reading.limits)
    del data
    try:
        found = False
        for extracted in READERS[kind](content):
            if not extracted.text.strip() and not extracted.title:
                continue
            found = True
            yield _document(extracted, name, path), {
                **metadata, **_said(extracted), "kind": kind
            }  # fmt: skip
        if not found:
            raise UnreadableFileError("it is empty", "")
    except RecursionError:
        raise UnreadableFileError("it is nested too deeply", "flatten it") from None
    finally:
        reading.notes += [f"{printable_path(path)}: {note}." for note in content.notes]


def _said(extracted: Extracted) -> dict[str, Any]:
    said = {"lines": extracted.lines, "layout": extracted.layout}
    return {name: value for name, value in said.items() if value}


def _document(extracted: Extracted, name: str, path: Path) -> Document:
    from pocket_colbert.ingest.decoding import clean

    title = " ".join(clean(extracted.title or "").split()) or _title_from_name(path)
    metadata = {clean(str(key)): _clean_value(value) for key, value in extracted.metadata.items()}
    return Document(
        name + extracted.key, extracted.text, title, metadata, sections=extracted.sections
    )


def _clean_value(value: Any) -> Any:
    from pocket_colbert.ingest.decoding import clean

    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_clean_value(item) for item in value]
    if isinstance(value, dict):
        return {clean(str(key)): _clean_value(item) for key, item in value.items()}
    return value


def _day(state: os.stat_result) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(state.st_mtime, datetime.timezone.utc)
    except (OverflowError, ValueError, OSError):
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _bytes_of(path: Path, limits: Limits) -> bytes:
    """Read a regular file that is no larger than the limits allow."""
    try:
        with path.open("rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UnreadableFileError("it is no regular file", "leave it out with --exclude")
            data = stream.read(limits.file_bytes + 1)
    except OSError as error:
        raise UnreadableFileError(
            f"it cannot be read ({error.strerror})", "check that it is there and its permissions"
        ) from error
    if len(data) > limits.file_bytes:
        raise UnreadableFileError(
            f"it is larger than {limits.file_bytes // 1_000_000} MB", "split it"
        )
    return data


def _rows(
    path: Path, name: str, reading: Reading, metadata: dict[str, Any]
) -> Iterator[tuple[Document, dict[str, Any]]]:
    bad: list[CorpusError] = []
    try:
        for number, row in read_json_lines(path, None if reading.strict else bad.append):
            try:
                document = document_from_row(
                    row, reading.fields, f"{path}, line {number}", f"{name}:{number}"
                )
            except CorpusError as error:
                if reading.strict:
                    raise
                bad.append(error)
                continue
            if not (document.text or "").strip() and not document.title and not reading.strict:
                bad.append(CorpusError(f"{path}, line {number}: it has no text."))
                continue
            yield document, metadata
    finally:
        if bad:
            detail = str(bad[0]).removeprefix(str(path)).lstrip(":, ").rstrip(".")
            more = f", and {len(bad) - 1} more lines" if len(bad) > 1 else ""
            reading.leave_out(
                LeftOut(printable_path(path), "unreadable", detail + more, "repair it")
            )


def in_parts(document: Document, limit: int = PART_CHARACTERS) -> Iterator[Document]:
    """Cut a document into several if its text is very long, at sections or lines.

    Args:
        document: The document. The first part keeps its id, and the others add "#2", "#3" and so
            on to it; `part` in their metadata is that number.
        limit: Characters of a part at most.
    """
    text = document.text or ""
    if len(text) <= limit:
        yield document
        return
    lines = str(document.metadata.get("lines", ""))
    pages = str(document.metadata.get("pages", ""))
    layout = str(document.metadata.get("layout", ""))
    start, number = 0, 1
    while start < len(text):
        end = min(start + limit, len(text))
        if end < len(text):
            borders = [s.start for s in document.sections if start + limit // 2 < s.start <= end]
            end = borders[-1] if borders else _line_end(text, start + limit // 2, end)
        inside = [s for s in document.sections if start <= s.start < end]
        before = [s for s in document.sections if s.start < start]
        if before and (not inside or inside[0].start > start):
            inside.insert(0, Section(start, before[-1].headings))
        metadata = {
            **document.metadata,
            "part": number,
            "lines": _shifted(lines, start, end, text, by_line=True),
        }
        if pages:
            metadata["pages"] = _shifted(pages, start, end, text, by_line=False)
        if layout:
            metadata["layout"] = _layout_inside(layout, start, end)
        yield replace(
            document,
            document_id=document.document_id + (f"#{number}" if number > 1 else ""),
            text=text[start:end].rstrip(),
            metadata=metadata,
            sections=tuple(Section(max(s.start - start, 0), s.headings) for s in inside),
        )
        start, number = end, number + 1


def _line_end(text: str, low: int, high: int) -> int:
    for mark in ("\n\n", "\n", " "):
        at = text.rfind(mark, low, high)
        if at >= 0:
            return at + len(mark)
    return high


def _shifted(marks: str, start: int, end: int, text: str, *, by_line: bool) -> str:
    """Return the part of a line or page map that is about a part of a text."""
    from pocket_colbert.ingest.extracted import mapped_line

    first = mapped_line(text, marks, start)
    if not by_line:
        found = [m for m in re.findall(r"(\d+):(\d+)", marks) if int(m[0]) <= start]
        first = int(found[-1][1]) if found else 1
    inside = [
        (int(a) - start, b) for a, b in re.findall(r"(\d+):(\d+)", marks) if start < int(a) < end
    ]
    return " ".join([f"0:{first}", *(f"{offset}:{value}" for offset, value in inside)])


def _layout_inside(layout: str, start: int, end: int) -> str:
    """Return the parts of a layout that lie in a part of a text, cut off at its ends."""
    inside = []
    for first, length, kind in re.findall(r"(\d+)\+(\d+):(\S+)", layout):
        low, high = max(int(first), start), min(int(first) + int(length), end)
        if low < high:
            inside.append(f"{low - start}+{high - low}:{kind}")
    return " ".join(inside)


def text_to_encode(document: Document) -> str:
    """Return what the encoder gets for a document: title, a space, text, as in BEIR."""
    return with_title(document.text or "", document.title)


def _title_from_name(path: Path) -> str | None:
    # A passage says what it is about, but often not which document it is from; the name does.
    return " ".join(re.split(r"[\W_]+", path.stem)).strip() or None
