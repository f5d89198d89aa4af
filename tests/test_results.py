"""`Results` in a terminal of any width and in a notebook, whatever the texts are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Collection, Encoder, Hit, Results

HOSTILE = [
    "<script>alert(1)</script>", "</td></table><img src=x onerror=alert(1)>", "<mark>", "&lt;b&gt;",
    "\"'><svg/onload=alert(1)>", "$\\href{javascript:alert(1)}{x}$", "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.exe", "line\nline\r\n\tline", "\x00", "x" * 5000, "🙂" * 500, "漢字" * 500,
]  # fmt: skip
TAGS = {"table", "thead", "tbody", "tr", "th", "td", "b", "br", "mark", "p", "q"}


class Seen(HTMLParser):
    """Notes the tags, attributes and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(page: str) -> Seen:
    """Return what a browser sees."""
    found = Seen()
    found.feed(page)
    found.close()
    return found


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("marked", [False, True])
def test_html_has_no_tags_of_its_texts(text: str, marked: bool) -> None:
    hits = [Hit(text, 1.5, text, text, {"x": text}, relevance=0.5)]
    span = (0, min(len(text), 240))
    marks = [(0, 3), (2, 7), (span[1], span[1] + 9)] if marked else []
    found = Results(text, hits, find_snippets=lambda _: [(span, marks)])
    for page in (found._repr_html_(), Results(text)._repr_html_()):
        parsed = seen(page)
        assert set(parsed.tags) <= TAGS
        assert parsed.attributes <= {"class", "dir", "style"}
        assert len(page) < 4000
    assert parsed_text(found) == text[: span[1]].replace("\r\n", "\n")
    assert "mathjax_ignore" in found.to_html(), "notebooks would set formulas"


def parsed_text(found: Results) -> str:
    """Return the text of the last cell, without its title."""
    cell = found.to_html().rpartition("<br>")[2]
    return seen(cell.partition("</td>")[0]).text.replace("\r\n", "\n")


@pytest.mark.parametrize("columns", ["1", "40", "73", "200"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_lines_fit_the_terminal(text: str, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = repr(Results(text, [Hit(text, 1.5, text, text), Hit(text, 12.5, text)]))
    lines = shown.split("\n")
    assert len(lines) == 5
    for line in lines:
        assert line.isprintable()
        assert cells(line) <= max(int(columns), 40)


def cells(line: str) -> int:
    """Return how wide rich takes a line to be."""
    from rich.cells import cell_len

    return cell_len(line)


def test_short_lines_are_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = repr(Results("roof", [Hit("a", 1.5, "The landlord repairs the roof.")]))
    assert shown == "1 hit for 'roof'\n  1    1.50  a\n     The landlord repairs the roof."


def test_highlights_passages_and_places(tmp_path: Path, encoder: Encoder) -> None:
    pets = "Dogs need consent. " * 100
    rules = f"# House\n\n{pets}\n\n## Roof\n\nThe landlord repairs the roof.\n\n## Pets\n\n{pets}"
    (tmp_path / "rules.md").write_text(rules)
    collection = Collection(model=encoder)
    collection.add_files(tmp_path / "rules.md")
    collection.add("A roof of straw.", ids="straw")
    found = collection.search("who repairs the roof?", k=2)
    assert dict(zip(found.ids, found.places, strict=True)) == {
        "rules.md": "rules.md:7", "straw": "straw",
    }  # fmt: skip
    best = found.ids.index("rules.md")
    assert "**repairs** the **roof**" in found.highlighted()[best]
    assert "[roof]" in found.highlighted("[", "]")[best]
    assert found.snippets[best] in found.passages[best]
    assert len(found.passages[best]) < len(rules)
    assert found.passages[1 - best] == "A roof of straw."
    assert Results("x", [Hit("a", 1.0)]).passages == [""]


def test_searching_leaves_the_event_loop_free(
    encoder: Encoder, beside_the_loop: Callable[[Callable[[], Awaitable[Any]]], Any]
) -> None:
    collection = Collection(model=encoder)
    collection.add(["The landlord repairs the roof.", "Rent is due."], ids=["roof", "rent"])
    found = beside_the_loop(
        lambda: collection.asearch("who mends the roof?", 1, where=None, hybrid=False)
    )
    assert found.ids == ["roof"]
