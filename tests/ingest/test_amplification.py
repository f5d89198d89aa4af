"""A short file makes no long text, no long lists, and no long wait: what it repeats is bounded."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator

import pytest

from pocket_colbert.ingest import extracted
from pocket_colbert.ingest.extracted import (
    Deadline,
    Extracted,
    Limits,
    TextBuilder,
    UnreadableFileError,
)
from pocket_colbert.ingest.formats import READERS, Content

SIZE = 100_000
MOST = 150
"""Characters of a text and its heading paths for each byte of a file, at most."""


def read(kind: str, data: bytes) -> list[Extracted]:
    return list(READERS[kind](Content("a", data, Limits(), Deadline(600))))


def characters(documents: list[Extracted]) -> int:
    """Return how long texts and heading paths are: as sections are stored, each with its path."""
    return sum(
        len(document.text) + sum(len("".join(section.headings)) for section in document.sections)
        for document in documents
    )


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Bytes of Python objects at most since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


LONG = b"a" * SIZE
TEXTS = {
    "the label of a column": ("csv", LONG + b",b\n" + b"1,2\n" * (SIZE // 4)),
    "the labels of many columns": (
        "csv", b",".join([b"a" * 150] * 600) + b"\n" + (b"1," * 599 + b"1\n") * 80,
    ),
    "a key": ("json", b'{"' + LONG + b'":[' + b"1," * (SIZE // 2) + b"1]}"),
    "keys in keys": (
        "json", b'{"%s":' % (b"a" * 2000) * 50 + b"[" + b"1," * (SIZE // 2) + b"1]" + b"}" * 50,
    ),
    "a heading of Markdown": ("markdown", b"# " + LONG + b"\n\n" + b"## b\n\nx\n\n" * (SIZE // 9)),
    "headings in headings": (
        "markdown", b"".join(b"#" * n + b" " + LONG[:9000] + b"\n\n" for n in range(1, 6))
        + b"###### b\n\nx\n\n" * (SIZE // 13),
    ),
    "a heading of HTML": ("html", b"<h1>" + LONG + b"</h1>" + b"<h2>b</h2>x" * (SIZE // 11)),
    "ever deeper headings": ("org", b"".join(b"*" * n + b" a\n" for n in range(1, 450))),
    "a part of TeX": ("latex", b"\\part{" + LONG + b"}\n\n" + b"\\section{b}\n\nx\n\n" * 5000),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_repeated_is_short(name: str) -> None:
    kind, data = TEXTS[name]
    documents = read(kind, data)
    assert documents[0].text
    assert characters(documents) < MOST * len(data)


def test_headings_of_usual_length_stay_whole() -> None:
    source = b"# Bees\n\n" + b"## Swarms\n\n### In May\n\nx\n\n" * 300
    (document,) = read("markdown", source)
    paths = {section.headings for section in document.sections}
    assert ("Swarms", "In May") in paths and len(paths) <= 3


def test_labels_of_usual_length_stay() -> None:
    (document,) = read("csv", b"name,year\nAda,1815\n")
    assert document.text.endswith("name: Ada | year: 1815")
    (document,) = read("json", b'{"author": {"name": "Ada"}}')
    assert document.text == "author.name: Ada"


def test_keys_that_are_written_in_another_way_take_linear_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each was searched for in the next 100 000 characters, and never met."""
    from pocket_colbert.ingest import data_readers

    looked = 0

    class Source(str):
        def find(self, *arguments: object) -> int:  # type: ignore[override]
            nonlocal looked
            start, end = arguments[1:]
            assert isinstance(start, int) and isinstance(end, int)
            looked += min(end, len(self)) - start
            return str.find(self, *arguments)  # type: ignore[arg-type]

    source = "[" + ",".join(['{"\\u0061": 1}'] * 50_000) + "]"
    document = data_readers.read_json(Source(source), Deadline(600))
    assert document.text.count("a: 1") == 50_000
    assert 0 < looked < 6 * len(source)


def test_a_text_is_not_longer_than_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracted, "_MOST_TEXT", 1000)
    builder = TextBuilder(Deadline(600))
    builder.block("a" * 998)
    with pytest.raises(UnreadableFileError, match=r"longer than 1,000 characters"):
        builder.block("b")


def zipped(original: bytes, *, replaced: dict[str, tuple[bytes, bytes]], **added: bytes) -> bytes:
    """Return a zip file with parts in which something is replaced, and more parts."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(original)) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as changed,
    ):
        for name in source.namelist():
            content = source.read(name)
            for old, new in [replaced[name]] if name in replaced else []:
                assert old in content, (name, content[:300])
                content = content.replace(old, new)
            changed.writestr(name, content)
        for name, content in added.items():
            changed.writestr(name, content)
    return target.getvalue()


def test_a_cell_of_word_is_not_as_wide_as_it_says(peak: Callable[[], int]) -> None:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    table = document.add_table(2, 3)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"cell {number}"
    table.cell(0, 0).merge(table.cell(1, 0))
    table.rows[0].cells[1]._tc.grid_span = 2_000_000
    saved = io.BytesIO()
    document.save(saved)
    (read_back,) = read("docx", saved.getvalue())
    # The merged cell's text counts for both of its rows.
    head, row = read_back.text.split("\n")
    assert head.startswith("cell 0") and head.endswith("cell 1 | cell 2")
    assert row.startswith("cell 0") and row.endswith("cell 1: cell 4 | cell 2: cell 5")
    assert peak() < 12_000_000


def test_rows_that_are_merged_over_and_over_are_read() -> None:
    """Following each merged cell to its first row took a call for every row between."""
    docx = pytest.importorskip("docx")
    document = docx.Document()
    table = document.add_table(1200, 2)
    table.rows[0].cells[0].text = "merged"
    for row in table._tbl.tr_lst:
        row.tc_lst[0].vMerge = "continue"
    table._tbl.tr_lst[0].tc_lst[0].vMerge = "restart"
    table._tbl.tr_lst[1199].tc_lst[1].p_lst[0].add_r().text = "last"
    saved = io.BytesIO()
    document.save(saved)
    (read_back,) = read("docx", saved.getvalue())
    assert read_back.text.splitlines()[-1] == "merged | last"


def test_pictures_that_unpack_to_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries unpack all parts of a document, also pictures that nobody looks at."""
    docx = pytest.importorskip("docx")
    from pocket_colbert.ingest import archives

    monkeypatch.setattr(archives, "_MEDIA_BYTES", 1_000_000)
    document = docx.Document()
    document.add_paragraph("Bees swarm.")
    saved = io.BytesIO()
    document.save(saved)
    small = zipped(saved.getvalue(), replaced={}, **{"word/media/a.PNG": bytes(900_000)})
    assert "Bees swarm." in read("docx", small)[0].text
    large = zipped(saved.getvalue(), replaced={}, **{"word/media/a.PNG": bytes(1_100_000)})
    with pytest.raises(UnreadableFileError, match=r"1 MB of media, more than 1"):
        read("docx", large)


def workbook(fill: Callable[[object], None]) -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    fill(book.active)
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue()


def test_a_text_that_many_cells_name_is_not_kept_many_times(peak: Callable[[], int]) -> None:
    def fill(sheet: object) -> None:
        for _ in range(3):
            sheet.append(["mark"] * 500)  # type: ignore[attr-defined]

    name = "xl/sharedStrings.xml"
    data = zipped(workbook(fill), replaced={name: (b"mark", b"m" * 3_000_000)})
    assert len(data) < 30_000
    (document,) = read("xlsx", data)
    assert len(document.text) < 3 * 500 * 33_000
    assert peak() < 300_000_000


def test_a_sheet_is_as_large_as_its_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from pocket_colbert.ingest import office_readers

    def fill(sheet: object) -> None:
        sheet.append(["first", "second"])  # type: ignore[attr-defined]
        sheet.append(["a", "b"])  # type: ignore[attr-defined]

    name = "xl/worksheets/sheet1.xml"
    large = zipped(workbook(fill), replaced={name: (b'ref="A1:B2"', b'ref="A1:XFD1048576"')})
    monkeypatch.setattr(office_readers, "_EMPTY_ROWS", 1000)
    assert read("xlsx", large)[0].text.endswith("first: a | second: b")
    far = zipped(workbook(fill), replaced={name: (b'r="2"', b'r="99999999999"')})
    with pytest.raises(UnreadableFileError, match=r"more than 1,000 empty rows"):
        read("xlsx", far)


def test_headings_of_open_documents_are_not_ever_deeper() -> None:
    pytest.importorskip("defusedxml")
    names = "urn:oasis:names:tc:opendocument:xmlns:"
    headings = "".join(f'<t:h t:outline-level="{n}">a</t:h>' for n in range(1, 3000))
    content = (
        f'<o:document-content xmlns:o="{names}office:1.0" xmlns:t="{names}text:1.0">'
        f"<o:body><o:text>{headings}</o:text></o:body></o:document-content>"
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("content.xml", content)
    (document,) = read("odt", target.getvalue())
    assert len(document.sections) == 2999
    # The ninth is the title.
    assert max(len(section.headings) for section in document.sections) == 8
