"""Office documents, books and PDF: what the extra `files` brings.

The libraries are imported where they are used; without them a file is named with the command that
installs them.
"""

from __future__ import annotations

import io
import posixpath
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pocket_colbert.ingest.archives import Archive
from pocket_colbert.ingest.data_readers import column_labels, labelled_row
from pocket_colbert.ingest.decoding import clean, declared_encoding, decode, readable
from pocket_colbert.ingest.extracted import (
    Deadline,
    Extracted,
    Limits,
    MissingExtraError,
    TextBuilder,
    UnreadableFileError,
)
from pocket_colbert.ingest.html_reader import read_html

_MOST_PAGES = 20_000
_COLUMNS, _CELL = 1_000, 32_767
"""Columns of a sheet that are read, and characters of a cell, which are as many as there can be."""
_EMPTY_ROWS = 2_000_000
_TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"
_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"


@contextmanager
def _parsing(what: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one error."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError from error
    except (UnreadableFileError, MemoryError):
        raise
    except Exception as error:  # libraries for untrusted formats raise anything
        message = " ".join(str(error).split())[:120] or type(error).__name__
        raise UnreadableFileError(
            f"it is no {what} or damaged ({message})", "save it again"
        ) from error


def read_pdf(data: bytes, deadline: Deadline) -> Extracted:
    """Return the text of a PDF, a section for each page; `pages` says where pages start."""
    with _parsing("PDF"):
        import pypdfium2

        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if "assword" in str(error):
                raise UnreadableFileError(
                    "it is encrypted", "save it without a password"
                ) from error
            raise
        try:
            return _pdf_text(document, deadline)
        finally:
            document.close()


def _pdf_text(document: Any, deadline: Deadline) -> Extracted:
    builder = TextBuilder(deadline)
    pages = []
    for number in range(min(len(document), _MOST_PAGES)):
        deadline.check()
        page = document[number]
        text_page = page.get_textpage()
        raw = text_page.get_text_bounded()
        text_page.close()
        page.close()
        text = _pdf_lines(raw)
        if text:
            builder.border()
            pages.append((builder.length + (2 if builder.length else 0), number + 1))
            builder.block(text)
    if not builder.length:
        raise UnreadableFileError(
            "it has no text: its pages are images", "run OCR on it, for example ocrmypdf"
        )
    found = document.get_metadata_dict() if hasattr(document, "get_metadata_dict") else {}
    title = " ".join(clean(found.get("Title") or "").split()) or None
    metadata: dict[str, Any] = {"page_count": len(document)}
    if found.get("Author"):
        metadata["author"] = clean(found["Author"])
    metadata["pages"] = " ".join(f"{start}:{number}" for start, number in pages)
    return builder.result(title, metadata)


def _pdf_lines(raw: str) -> str:
    # U+FFFE and U+0002 stand for the hyphen of a word that goes on in the next line.
    text = re.sub("[\ufffe\x02](?:\r?\n)?", "", raw.replace("\r\n", "\n"))
    lines = [" ".join(line.split()) for line in readable(clean(text)).split("\n")]
    return re.sub(r"(?<=[a-z]{2})-\n(?=[a-z]{2})", "", "\n".join(lines)).strip()


def read_docx(data: bytes, deadline: Deadline, limits: Limits) -> Extracted:
    """Return the text of a Word document."""
    Archive(data, limits)
    with _parsing("Word document"):
        import docx
        from docx.table import Table

        document = docx.Document(io.BytesIO(data))
        builder = TextBuilder(deadline)
        title = ""
        for item in document.iter_inner_content():
            deadline.check()
            if isinstance(item, Table):
                _docx_table(item, builder, deadline, 0)
                continue
            style = str(item.style.name if item.style is not None else "")
            text = readable(clean(item.text)).strip()
            level = re.fullmatch(r"[Hh]eading (\d)", style)
            if style == "Title":
                title = title or " ".join(text.split())
                builder.heading(1, text)
            elif level:
                builder.heading(int(level[1]), text)
            elif style.startswith("List") and text:
                builder.block(f"- {text}", None, "item")
            else:
                builder.block(text)
        for part in _notes(document):
            builder.block(readable(clean(part)))
        core = document.core_properties
        return builder.result(
            title or clean(core.title or "").strip() or builder.first_heading,
            {"author": clean(core.author)} if core.author else {},
        )


def _notes(document: Any) -> Iterator[str]:
    """Iterate over the texts of footnotes and endnotes."""
    for relation in document.part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes", "/comments")):
            blob = getattr(relation.target_part, "blob", b"")
            for note in re.findall(
                rb"<w:(?:foot|end)note .{0,100000}?</w:(?:foot|end)note>", blob, re.S
            ):
                texts = re.findall(rb"<w:t(?: [^>]{0,100})?>([^<]{0,10000})</w:t>", note)
                import html

                yield html.unescape(b"".join(texts).decode("utf-8", "replace"))


def _docx_table(table: Any, builder: TextBuilder, deadline: Deadline, depth: int) -> None:
    from docx.table import _Cell

    labels: list[str] = []
    above: dict[int, str] = {}
    for number, row in enumerate(table.rows):
        deadline.check()
        cells: list[str] = []
        inner: list[Any] = []
        column = 0
        # Not `row.cells`: it has a cell as often as the file says that it is wide.
        for element in row._tr.tc_lst:
            cell = _Cell(element, table)
            merged = element.vMerge == "continue"
            text = above.get(column, "") if merged else _one_line(cell.text)
            above[column] = text
            cells.append(text)
            inner += [] if merged else cell.tables
            column += element.grid_span
        builder.block(labelled_row(labels, cells), None, "row")
        if number == 0 and all(cells):
            labels = column_labels(cells)
        for table_inside in inner if depth < 5 else ():
            _docx_table(table_inside, builder, deadline, depth + 1)


def _one_line(text: str) -> str:
    return " ".join(readable(clean(text)).split())


def read_pptx(data: bytes, deadline: Deadline, limits: Limits) -> Extracted:
    """Return the text of slides and their notes, a section for each slide."""
    Archive(data, limits)
    with _parsing("presentation"):
        import pptx

        builder = TextBuilder(deadline)
        show = pptx.Presentation(io.BytesIO(data))
        starts = []
        for number, slide in enumerate(show.slides, 1):
            deadline.check()
            head = slide.shapes.title
            text = " ".join(clean(head.text_frame.text).split()) if head is not None else ""
            starts.append((builder.length + (2 if builder.length else 0), number))
            builder.heading(1, text) if text else builder.border()
            _write_shapes(slide.shapes, head, builder, deadline, 0)
            if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
                builder.block(readable(clean(slide.notes_slide.notes_text_frame.text)))
        title = clean(show.core_properties.title or "").strip()
        pages = " ".join(f"{start}:{number}" for start, number in starts)
        return builder.result(
            title if title and title != "PowerPoint Presentation" else builder.first_heading,
            {"page_count": len(starts), "pages": pages},
        )


def _write_shapes(
    shapes: Any, head: Any, builder: TextBuilder, deadline: Deadline, depth: int
) -> None:
    for shape in shapes:
        deadline.check()
        if head is not None and shape.shape_id == head.shape_id:
            continue
        if getattr(shape, "has_table", False) and shape.has_table:
            labels: list[str] = []
            for row in shape.table.rows:
                cells = [_one_line(cell.text) for cell in row.cells]
                builder.block(labelled_row(labels, cells), None, "row")
                labels = labels or column_labels(cells)
        elif getattr(shape, "has_text_frame", False) and shape.has_text_frame:
            lines = [readable(clean(p.text)).strip() for p in shape.text_frame.paragraphs]
            builder.block("\n".join(filter(None, lines)))
        elif hasattr(shape, "shapes") and depth < 20:
            _write_shapes(shape.shapes, head, builder, deadline, depth + 1)


def read_xlsx(data: bytes, deadline: Deadline, limits: Limits) -> Extracted:
    """Return the rows of a workbook, a section for each sheet."""
    Archive(data, limits)
    with _parsing("workbook"):
        import openpyxl

        book = openpyxl.load_workbook(
            io.BytesIO(data), read_only=True, data_only=True, keep_links=False
        )
        builder = TextBuilder(deadline)
        empty = 0
        for sheet in book.worksheets:
            builder.heading(1, clean(sheet.title))
            # What a sheet says of its size is often a million rows that are not there.
            sheet.reset_dimensions()
            labels: list[str] = []
            first = True
            for row in sheet.iter_rows(values_only=True):
                deadline.check()
                cells = [_cell(value) for value in row[:_COLUMNS]]
                while cells and not cells[-1]:
                    cells.pop()
                if not cells:
                    empty += 1
                    if empty > _EMPTY_ROWS:
                        raise UnreadableFileError(
                            f"it has more than {_EMPTY_ROWS:,} empty rows", "delete them"
                        )
                    continue
                is_head = (
                    first
                    and len(cells) > 1
                    and all(isinstance(value, str) for value in row[: len(cells)])
                )
                cells += [""] * (len(labels) - len(cells))
                builder.block(labelled_row([] if is_head else labels, cells), None, "row")
                labels = column_labels(cells) if is_head else labels
                first = False
        title = clean(book.properties.title or "").strip() or None
        book.close()
        return builder.result(title)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).removesuffix("T00:00:00")
    return _one_line(str(value)[:_CELL])


def read_odt(data: bytes, deadline: Deadline, limits: Limits) -> Extracted:
    """Return the text of an OpenDocument text, sheet or presentation."""
    archive = Archive(data, limits)
    content = archive.read("content.xml")
    with _parsing("OpenDocument file"):
        from defusedxml.ElementTree import fromstring

        body = fromstring(content).find(f"{{{_OFFICE}}}body")
        builder = TextBuilder(deadline)
        for element in body if body is not None else ():
            _write_odt(element, builder, deadline, 0)
        title = None
        if "meta.xml" in archive.names:
            found = fromstring(archive.read("meta.xml")).find(
                ".//{http://purl.org/dc/elements/1.1/}title"
            )
            title = clean(found.text or "").strip() or None if found is not None else None
        return builder.result(title or builder.first_heading)


def _write_odt(element: Any, builder: TextBuilder, deadline: Deadline, depth: int) -> None:
    deadline.check()
    if depth > 100:
        raise UnreadableFileError("it is nested deeper than 100", "save it again")
    for child in element:
        tag = child.tag
        if tag == f"{{{_TEXT}}}h":
            level = str(child.get(f"{{{_TEXT}}}outline-level") or "1")
            builder.heading(int(level) if level.isdecimal() else 1, _odt_text(child))
        elif tag == f"{{{_TEXT}}}p":
            builder.block(_odt_text(child))
        elif tag == f"{{{_TEXT}}}list-item":
            builder.block("- " + " ".join(_odt_text(child).split()), None, "item")
        elif tag == f"{{{_TABLE}}}table-row":
            cells = [
                " ".join(" ".join(map(_odt_text, cell)).split())
                for cell in child
                if cell.tag == f"{{{_TABLE}}}table-cell"
            ]
            builder.block(" | ".join(filter(None, cells)), None, "row")
        elif tag.rpartition("}")[2] not in ("tracked-changes", "table-of-content"):
            _write_odt(child, builder, deadline, depth + 1)


def _odt_text(element: Any) -> str:
    parts = []
    stack = [(element, False)]
    while stack:
        node, is_tail = stack.pop()
        if is_tail:
            parts.append(node.tail or "")
            continue
        if node is not element:
            stack.append((node, True))
        name = node.tag.rpartition("}")[2]
        if name == "line-break":
            parts.append("\n")
        elif name in ("s", "tab"):
            parts.append(" ")
        elif name in ("p", "h"):
            parts.append(" ")
        parts.append(node.text or "")
        stack.extend((child, False) for child in reversed(list(node)))
    return readable(clean("".join(parts))).strip()


def read_epub(data: bytes, deadline: Deadline, limits: Limits) -> Extracted:
    """Return the text of a book in the order of its spine."""
    archive = Archive(data, limits)
    container = archive.read("META-INF/container.xml")
    with _parsing("book"):
        from defusedxml.ElementTree import fromstring

        found = fromstring(container).find(".//{*}rootfile")
        package_name = found.get("full-path") if found is not None else ""
        package = fromstring(archive.read(str(package_name)))
        folder = posixpath.dirname(str(package_name))
        items = {item.get("id"): item.get("href") or "" for item in package.iterfind(".//{*}item")}
        title = package.find(".//{http://purl.org/dc/elements/1.1/}title")
        author = package.find(".//{http://purl.org/dc/elements/1.1/}creator")
        builder = TextBuilder(deadline)
        for itemref in package.iterfind(".//{*}itemref"):
            deadline.check()
            href = urllib.parse.unquote(items.get(itemref.get("idref")) or "").partition("#")[0]
            name = posixpath.normpath(posixpath.join(folder, href))
            if name not in archive.names:
                continue
            page = archive.read(name)
            _append(builder, read_html(decode(page, declared_encoding(page)).text, deadline))
        metadata = {"author": clean(author.text)} if author is not None and author.text else {}
        return builder.result(
            clean(title.text or "").strip() or None if title is not None else None, metadata
        )


def _append(builder: TextBuilder, chapter: Extracted) -> None:
    """Add a chapter with its sections to a book."""
    builder.border()
    starts = [section.start for section in chapter.sections]
    if not starts or starts[0] > 0:
        builder.block(chapter.text[: starts[0] if starts else None])
    for section, end in zip(chapter.sections, [*starts[1:], len(chapter.text)], strict=True):
        text = chapter.text[section.start : end]
        head, _, rest = text.partition("\n")
        if section.headings and head.strip() == section.headings[-1]:
            builder.heading(len(section.headings), head)
            text = rest
        builder.block(text)


def read_rtf(data: bytes, deadline: Deadline) -> Extracted:
    """Return the text of a Rich Text file."""
    with _parsing("Rich Text file"):
        from striprtf.striprtf import rtf_to_text

        text = rtf_to_text(data.decode("latin-1"), errors="replace")
        deadline.check()
        builder = TextBuilder(deadline)
        for paragraph in re.split(r"\n+", readable(clean(text))):
            builder.block(paragraph)
        return builder.result()
