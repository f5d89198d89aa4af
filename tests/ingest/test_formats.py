"""Each kind of file is read, or named with the reason why not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pocket_colbert import Document
from pocket_colbert.ingest.extracted import Limits, mapped_line, place_in_file
from pocket_colbert.ingest.left_out import summary
from pocket_colbert.ingest.readers import PART_CHARACTERS, Reading, in_parts, read_sources
from pocket_colbert.types import Section
from tests.support import files
from tests.support.files import GOOD, write_files
from tests.support.hostile_texts import HTML, OTHERS, repeated


def read(folder: Path, reading: Reading | None = None) -> tuple[dict[str, Document], Reading]:
    """Read a folder; return its documents by id, and what was left out."""
    reading = reading or Reading()
    found = list(read_sources([folder], folder.parent / "index", reading))
    return {document.document_id: document for document in found}, reading


def only(folder: Path, name: str, data: bytes | str) -> Document:
    """Return the document of one file."""
    data = data.encode() if isinstance(data, str) else data
    (found,) = read(write_files(folder / "only", {name: data}))[0].values()
    return found


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Document], Reading]:
    folder = tmp_path_factory.mktemp("files") / "all"
    write_files(folder, files.base_files() | files.extra_files() | files.broken_files())
    return read(folder)


@pytest.mark.parametrize("name", [*files.base_files(), *files.extra_files()])
def test_each_kind_is_read(everything: tuple[dict[str, Document], Reading], name: str) -> None:
    found = [item for item in everything[0].values() if item.metadata["path"] == name]
    assert found, name
    for document in found:
        text = document.text or ""
        assert GOOD in text
        assert not re.search("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]", text)
        assert {"path", "kind", "modified", "size"} <= document.metadata.keys()
        assert [s.start for s in document.sections] == sorted(s.start for s in document.sections)
        assert "Café" in text or "Caf" not in text  # in whatever encoding


def test_each_broken_file_is_named_and_nothing_else(
    everything: tuple[dict[str, Document], Reading],
) -> None:
    left_out = {Path(item.path).name: item for item in everything[1].left_out}
    assert left_out.keys() == files.broken_files().keys()
    assert all(item.detail for item in left_out.values())
    assert all(item.advice for item in left_out.values() if item.reason == "unreadable")
    assert "encrypted" in left_out["old.doc"].detail and "MB" in left_out["bomb.docx"].detail
    assert summary(everything[1].left_out) == (
        "14 files left out: 10 cannot be read, 2 binary, 1 archive, 1 empty"
    )


EXTRA = files.extra_files()


@pytest.mark.parametrize("name", EXTRA)
def test_without_the_extra_its_files_are_named_with_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pypdfium2", "docx", "docx.table", "pptx", "openpyxl", "defusedxml",
                   "defusedxml.ElementTree", "striprtf", "striprtf.striprtf"):  # fmt: skip
        monkeypatch.setitem(sys.modules, module, None)
    folder = write_files(tmp_path / "f", {name: EXTRA[name], "a.txt": b"Text."})
    found, reading = read(folder)
    if name == "really-text.pdf":
        assert GOOD in (found[name].text or "")
        return
    (item,) = reading.left_out
    assert item.reason == "needs extra" and "pip install 'pocket-colbert[files]'" in item.advice
    assert "1 need pocket-colbert[files]" in summary(reading.left_out)


def test_assumed_encodings_are_said(everything: tuple[dict[str, Document], Reading]) -> None:
    assert any("latin.txt: read as cp1252" in note for note in everything[1].notes)
    assert not any("bom.txt" in note or "latin.html" in note for note in everything[1].notes)


def test_front_matter_tables_and_headings_of_markdown(tmp_path: Path) -> None:
    document = only(
        tmp_path,
        "a.md",
        "---\ntitle: 'Bees'\ntags:\n  - sea\n  - air\ndraft: false\n---\n\nIntro.\n\n# One\n\n"
        'A [link](http://x.y "t") and **bold** `code`.\n\n## Two\n\n| a | b |\n|---|---|\n'
        "| 1 | 2 |\n\n```py\nx = 1\n```\n\n- one\n  - two\n",
    )
    assert document.title == "Bees"
    assert document.metadata["tags"] == ["sea", "air"] and document.metadata["draft"] is False
    assert document.text == (
        "Intro.\n\nOne\n\nA link and bold code.\n\nTwo\n\na | b\n1 | b: 2\n\nx = 1\n\n"
        "- one\n  - two"
    )
    assert [s.headings for s in document.sections] == [("One",), ("One", "Two")]
    offset = document.text.index("x = 1")
    assert mapped_line(document.text, document.metadata["lines"], offset) == 22


def test_lines_of_html_are_those_of_the_file(tmp_path: Path) -> None:
    page = "<title>T</title>\n<!-- -->\n<p>one</p>\n\n<div>\n<pre>a\nb</pre><p>two"
    document = only(tmp_path, "a.html", page)
    text, lines = document.text or "", document.metadata["lines"]
    assert [mapped_line(text, lines, text.index(word)) for word in ("one", "b", "two")] == [3, 7, 7]


def test_pages_of_a_pdf_are_sections(everything: tuple[dict[str, Document], Reading]) -> None:
    document = everything[0]["page.pdf"]
    text = document.text or ""
    second = text.index("Second page.")
    assert document.metadata["page_count"] == 2 and f"{second}:2" in document.metadata["pages"]
    assert [section.start for section in document.sections] == [0, second]


def test_a_very_long_text_becomes_several_documents() -> None:
    text = "\n\n".join(f"Paragraph {n} is about herons." for n in range(20_000))
    sections = (Section(0, ("A",)), Section(text.index("Paragraph 9000"), ("B",)))
    whole = Document("a.txt", text, "A", {"path": "a.txt"}, "s", sections)
    parts = list(in_parts(whole))
    assert [part.document_id for part in parts[:2]] == ["a.txt", "a.txt#2"]
    assert all(len(part.text or "") <= PART_CHARACTERS for part in parts)
    assert "".join("".join(part.text or "" for part in parts).split()) == "".join(text.split())
    assert {part.sections[0].headings for part in parts} == {("A",), ("B",)}
    for part in parts:
        line = mapped_line(part.text or "", part.metadata["lines"], 0)
        assert text.split("\n")[line - 1] == (part.text or "").split("\n")[0]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", HTML)
def test_html_takes_linear_time(pattern: str) -> None:
    assert_linear("html", pattern)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "pattern"), OTHERS)
def test_other_readers_take_linear_time(kind: str, pattern: str) -> None:
    assert_linear(kind, pattern)


def assert_linear(kind: str, pattern: str) -> None:
    """Read ten times as much; fail if that takes far more than ten times as long."""
    small, large = (
        min(seconds(kind, pattern, size) for _ in range(2)) for size in (30_000, 300_000)
    )
    assert large < 30 * max(small, 0.02), f"{small:.3f} s for 30 kB, {large:.3f} s for 300 kB"


def seconds(kind: str, pattern: str, size: int) -> float:
    """Return the processor time that a text of many patterns takes."""
    import time

    from pocket_colbert.ingest.extracted import Deadline, UnreadableFileError
    from pocket_colbert.ingest.formats import READERS, Content

    content = Content("a", repeated(pattern, size).encode(), Limits(), Deadline(600))
    start = time.process_time()
    try:
        list(READERS[kind](content))
    except (UnreadableFileError, RecursionError):
        pass
    return time.process_time() - start


def test_a_place_in_a_document_is_named_as_editors_and_readers_know_it() -> None:
    text = "One\ntwo\nthree"
    assert place_in_file("a", text, {}, 5) == "a"
    assert place_in_file("a", text, {"path": "x", "year": 1}, 5) == "a"  # metadata of the user's
    read = {"path": "notes/a.txt", "kind": "text"}
    assert place_in_file("row 7", text, read, 5) == "row 7"  # an id that the file gives
    for document_id in ("notes/a.txt", "notes/a.txt#2", "home/notes/a.txt"):
        assert place_in_file(document_id, text, read, 5) == "notes/a.txt:2"
    lines, pages = read | {"lines": "0:7 8:20"}, read | {"pages": "0:1 8:2"}
    assert place_in_file("notes/a.txt", text, lines, 9) == "notes/a.txt:20"
    assert place_in_file("notes/a.txt", text, pages, 9) == "notes/a.txt, page 2"
