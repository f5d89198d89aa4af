"""A folder with a file of every kind that is read, and of those that cannot be."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zipfile
from pathlib import Path

GOOD = "The lighthouse keeper counts seventeen herons at dusk."
"""A sentence that every good file holds."""


def _docx() -> bytes:
    import docx

    document = docx.Document()
    document.add_heading("Herons", 1)
    document.add_paragraph(GOOD)
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["Bird", "Count", "heron", "17"], strict=True):
        cell.text = text
    return _saved(document)


def _pptx() -> bytes:
    import pptx

    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Herons"
    slide.placeholders[1].text = GOOD
    slide.notes_slide.notes_text_frame.text = "Speak slowly."
    return _saved(show)


def _xlsx() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["Bird", "Note"], ["heron", GOOD], ["gull", 3]):
        book.active.append(row)
    return _saved(book)


def _saved(document: object) -> bytes:
    stream = io.BytesIO()
    document.save(stream)  # type: ignore[attr-defined]
    return stream.getvalue()


def _zip(parts: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return stream.getvalue()


def _odt() -> bytes:
    names = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "table")
    )
    return _zip(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": f"<office:document-content{names}><office:body><office:text>"
            f'<text:h text:outline-level="1">Herons</text:h><text:p>{GOOD}</text:p>'
            "</office:text></office:body></office:document-content>",
        }
    )


def _epub() -> bytes:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book/p.opf"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<metadata><dc:title>Birds</dc:title></metadata>"
        '<manifest><item id="a" href="one.xhtml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    return _zip(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "book/p.opf": package,
            "book/one.xhtml": f"<html><body><h1>Herons</h1><p>{GOOD}</p></body></html>",
        }
    )


def pdf(*pages: str) -> bytes:
    """Return a PDF with a line of text on each page."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>", ""]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET"
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 500 200]/Contents {len(objects) + 2} 0 R"
            "/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>"
        )
        objects.append(f"<</Length {len(stream)}>>stream\n{stream}\nendstream")
    objects[1] = f"<</Type/Pages/Kids[{' '.join(kids)}]/Count {len(kids)}>>"
    body, offsets = "%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj{text}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    return (
        f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
        f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF\n"
    ).encode("latin-1")


def base_files() -> dict[str, bytes]:
    """Return a file of each kind that the base install reads, by its name."""
    message = (
        "From: Ada <a@x.org>\nTo: b@x.org\nSubject: Herons\n"
        f"Date: Mon, 1 Jan 2024 10:00:00 +0000\n\n{GOOD}\n"
    )
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Herons\n", GOOD]},
            {"cell_type": "code", "source": "count = 17", "outputs": []},
        ]
    }
    texts = {
        "plain.txt": GOOD,
        "README": GOOD,
        "unknown.xyz": GOOD,
        "notes.md": "---\ntitle: Herons\ntags: [birds, sea]\ndate: 2024-05-01\n---\n"
        f"# One\n\n{GOOD}\n",
        "page.html": f"<title>Herons</title><nav>Home</nav><main><p>{GOOD}</main>",
        "page.htm": f"<title>Herons</title><p>{GOOD}",
        "data.json": json.dumps({"bird": {"note": GOOD}}),
        "table.csv": f'bird,note\nheron,"{GOOD}"\n',
        "table.tsv": f"bird\tnote\nheron\t{GOOD}\n",
        "code.py": f'def count():\n    """{GOOD}"""\n    return 17\n',
        "code.js": f"// {GOOD}\nfunction count() {{ return 17 }}\n",
        "code.rs": f"/// {GOOD}\npub fn count() -> u32 {{ 17 }}\n",
        "script": f"#!/bin/sh\n# {GOOD}\n",
        "Makefile": f"all:\n\t@echo {GOOD}\n",
        "book.ipynb": json.dumps(notebook),
        "page.rst": f"Herons\n======\n\n{GOOD}\n",
        "page.adoc": f"= Herons\n\n== At dusk\n\n{GOOD}\n",
        "page.org": f"#+TITLE: Herons\n* At dusk :birds:\n{GOOD}\n",
        "page.tex": "\\title{Herons}\\begin{document}\n\\section{Dusk}\n"
        f"{GOOD}\n\\end{{document}}",
        "heron.1": f".TH HERON 1\n.SH NAME\nheron \\- a bird\n.SH DESCRIPTION\n.PP\n{GOOD}\n",
        "heron.8": ".Dd May 1\n.Dt HERON 8\n.Os\n.Sh NAME\n.Nm heron\n.Nd a bird\n"
        f".Sh USE\n{GOOD}\n",
        "film.srt": f"1\n00:00:01,000 --> 00:00:04,000\n<i>{GOOD}</i>\n",
        "film.vtt": f"WEBVTT\n\n00:01.000 --> 00:04.000\n{GOOD}\n",
        "mail.eml": message,
        "all.mbox": f"From a@x.org Mon Jan  1 10:00:00 2024\n{message}\n"
        f"From b@x.org Mon Jan  1 10:00:00 2024\n{message}",
        "set.yaml": f"note: {GOOD}\n",
        "set.toml": f'note = "{GOOD}"\n',
        "set.xml": f"<notes><note>{GOOD}</note></notes>",
        "run.log": f"2024-01-01 INFO \x1b[31m{GOOD}\x1b[0m\n",
        "rows.jsonl": json.dumps({"_id": "row", "text": GOOD}) + "\n",
    }
    files = {name: text.encode() for name, text in texts.items()}
    wide = GOOD + " Café, naïve, Zürich."
    return files | {
        "plain.txt.gz": gzip.compress(GOOD.encode()),
        "heron.3.gz": gzip.compress(files["heron.1"]),
        "bom.txt": codecs.BOM_UTF8 + wide.encode(),
        "utf16.txt": wide.encode("utf-16"),
        "utf16le.txt": wide.encode("utf-16-le"),
        "utf16be.txt": wide.encode("utf-16-be"),
        "utf32.txt": wide.encode("utf-32"),
        "latin.txt": wide.encode("latin-1"),
        "latin.html": f"<meta charset=iso-8859-1><p>{wide}".encode("latin-1"),
        "equiv.html": (
            "<meta http-equiv=Content-Type content='text/html; charset=windows-1252'>"
            f"<p>{wide} €5".encode("cp1252")
        ),
        "latin.xml": f'<?xml version="1.0" encoding="iso-8859-1"?><a>{wide}</a>'.encode("latin-1"),
        "nuls.log": b"x" * 40 + f"\n{GOOD}\n".encode(),
    }


def extra_files() -> dict[str, bytes]:
    """Return a file of each kind that the extra `files` reads, by its name."""
    return {
        "page.pdf": pdf(GOOD, "Second page."),
        "letter.docx": _docx(),
        "show.pptx": _pptx(),
        "sheet.xlsx": _xlsx(),
        "letter.odt": _odt(),
        "book.epub": _epub(),
        "letter.rtf": b"{\\rtf1\\ansi " + GOOD.encode() + b"\\par Caf\\'e9}",
        "really-a-pdf.txt": pdf(GOOD),
        "really-text.pdf": GOOD.encode(),
    }


def broken_files() -> dict[str, bytes]:
    """Return files that must be named rather than indexed, by their names."""
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * 150_000_000)
    return {
        "cut.pdf": pdf(GOOD)[:60],
        "cut.docx": _docx()[:3000],
        "cut.txt.gz": gzip.compress(GOOD.encode() * 100)[:-20],
        "false.gz": b"no gzip at all",
        "bomb.docx": bomb.getvalue(),
        "old.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
        "broken.json": b'{"a": [1, 2',
        "deep.json": b"[" * 100_000,
        "broken.ipynb": b'{"nbformat": 4}',
        "broken.jsonl": b'{"_id": "x", "text": "y"\n',
        "image.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        "image.txt": b"\x00\x01\x02\x03" * 300,
        "empty.txt": b"",
        "archive.zip": _zip({"a.txt": GOOD}),
    }


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder, which is made, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
