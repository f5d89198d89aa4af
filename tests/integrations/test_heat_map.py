"""Heat maps show what matched, and text stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert import (
    Encoder,
    Explanation,
    Hit,
    InvalidInputError,
    Retriever,
    TokenMatch,
)
from pocket_colbert.integrations.heat_map import HeatMap
from tests.support.library import LIBRARY

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</div></span></style><svg/onload=alert(1)>",
    "&lt;b&gt; &amp; &#60;script&#62; <!-- --> <![CDATA[ ]]> javascript:alert(1)",
]


class Page(HTMLParser):
    """Reads a page: its text, its elements, and the backgrounds of what is painted."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.elements, self.painted, self.open = "", [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, [name for name, _ in attrs]))
        if tag != "br":
            self.open.append((tag, dict(attrs).get("style") or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        for _, style in self.open[-1:]:
            if found := re.fullmatch(r"background: rgba\(255, 140, 0, ([\d.]+)\)", style):
                self.painted.append((data, float(found[1])))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    unknown_decl = handle_pi = handle_decl


def checked(html: str) -> Page:
    """Read a page that may have none but the elements and attributes we write."""
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag in ("div", "span", "b", "br") and set(attributes) <= {"style"}
    return page


def made_up(query: str, text: str, name: str, title: str | None) -> HeatMap:
    """A heat map in which the whole query matched the whole text."""
    spans = (0, len(query)), (0, len(text))
    match = TokenMatch(query, spans[0], text, spans[1], 1.0, 1.0)
    hit = Hit(name, 1.0, text, title)
    return HeatMap(query, [hit], [Explanation(name, 1.0, 0, len(text), (match,))])


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_stays_text(encoder: Encoder, hostile: str) -> None:
    retriever = Retriever(encoder)
    query, text = f"what do bees do with {hostile}?", f"Bees. {hostile} Bees."
    (hit,) = retriever.rerank(query, {hostile: text})
    hit = Hit(hit.document_id, hit.score, hit.text, hostile, passages=hit.passages)
    heat_map = HeatMap.of(retriever, query, [hit])
    page = checked(heat_map._repr_html_())
    assert f"{hostile} ({hostile})" in page.text and query in page.text and text in page.text
    assert page.painted


@given(st.text(), st.text(), st.text(), st.none() | st.text())
def test_any_text_comes_back_as_it_is(query: str, text: str, name: str, title: str | None) -> None:
    # HTML reads "\\r" as a newline and drops "\\0": neither is text that a page can show.
    query, text, name, title = (
        value and value.replace("\r", "").replace("\0", "") for value in (query, text, name, title)
    )
    page = checked(made_up(query or "", text or "", name or "", title).to_html())
    shown = name if title is None else f"{title} ({name})"
    assert page.text == f"{shown} 1.00{query}{text}"


def test_what_matched_is_darkest(encoder: Encoder) -> None:
    retriever = Retriever(encoder)
    question = "who keeps bees on the roof?"
    hits = retriever.rerank(question, {d.document_id: d.text or "" for d in LIBRARY}, k=2)
    heat_map = HeatMap.of(retriever, question, hits)
    assert repr(heat_map) == f"<HeatMap of 2 hits for {question!r}>"
    page = checked(heat_map.to_html())
    painted = dict(page.painted)
    assert {"bees", "roof"} <= set(painted) and max(painted.values()) == 0.6
    assert hits[0].document_id in page.text and f"{hits[0].passages[0].score:.2f}" in page.text


def test_heat_is_the_share_of_what_has_a_place() -> None:
    text = "one two three"
    matches = (
        TokenMatch("[CLS]", None, "three", (8, 13), 0.9, 0.0),
        TokenMatch("a", (0, 1), "one", (0, 3), 0.9, 0.36),
        TokenMatch("b", (2, 3), "one", (0, 3), 0.6, 0.24),
        TokenMatch("c", (4, 5), "two", (4, 7), 0.75, 0.3),
        TokenMatch("d", (6, 7), "title", None, 0.25, 0.1),
        TokenMatch("e", (8, 9), "three", (8, 13), -0.1, 0.0),
    )
    heat_map = HeatMap("a b c d e", [Hit("x", 1, text)], [Explanation("x", 1.0, 0, 7, matches)])
    page = checked(heat_map.to_html())
    assert page.painted == [
        ("a", 0.6), ("b", 0.4), ("c", 0.5), ("d", 0.17), ("one", 0.6), ("two", 0.3),
    ]  # fmt: skip
    assert page.text == "x 1.00a b c d eone two …"


def test_hits_and_explanations_belong_together(encoder: Encoder) -> None:
    why = Explanation("a", 1.0, 0, 1, ())
    assert HeatMap("q", [], []).to_html() == "<div>no hits</div>"
    with pytest.raises(InvalidInputError, match="one per hit, in order, got 1 for 2 hits"):
        HeatMap("q", [Hit("a", 1, "x"), Hit("b", 1, "x")], [why])
    with pytest.raises(InvalidInputError, match="one per hit"):
        HeatMap("q", [Hit("b", 1, "x")], [why])
    with pytest.raises(InvalidInputError, match="'a' has no text"):
        HeatMap("q", [Hit("a", 1)], [why])
    with pytest.raises(InvalidInputError, match="no text"):
        HeatMap.of(Retriever(encoder), "q", [Hit("a", 1)])
