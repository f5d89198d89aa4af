"""Words of a query in a text, as keywords find them, and snippets that show them."""

from __future__ import annotations

import pytest

from pocket_colbert import Document, Encoder, Index, Retriever
from pocket_colbert.search.word_matches import matched_words


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("日本の首都", "東京は日本の首都である。", ["日本の首都"]),
        ("猫", "黒い猫と白猫。", ["猫", "猫"]),
        ("где библиотеки", "Библио\u00adтека у реки", ["Библио\u00adтека"]),
        ("الكتاب", "هذا كِتَابٌ قديم", ["كِتَابٌ"]),
        ("ห้องสมุด", "มีห้องสมุดใหญ่", ["ห้องสมุด"]),
        ("हिन्दी", "वह हिन्दी बोलता है", ["हिन्दी"]),
        ("Hà Nội", "Ở Hà Nội, không phải ha noi", ["Hà", "Nội"]),
        ("도서관", "도서관이 있다", ["도서관"]),
        ("\uff30ython", "Learn Python now", ["Python"]),
        ("кот", "собака", []),
    ],
)
def test_whole_words_and_pieces_are_found(query: str, text: str, marked: list[str]) -> None:
    assert [text[slice(*span)] for span in matched_words(query, text)] == marked


@pytest.mark.filterwarnings("ignore::pocket_colbert.LanguageWarning")
def test_snippets_show_the_words_where_the_model_cannot_read() -> None:
    encoder = Encoder.load("tiny", threads=1)
    filler = "Поезд уходит утром с первого пути. " * 4
    text = f"{filler}Библиотека стоит у самой реки. {filler}"
    chinese = "火车早上离开车站。" * 8 + "图书馆在河边。" + "火车早上离开车站。" * 8
    with Index(encoder.dim, threads=1) as index:
        retriever = Retriever(encoder, index)
        retriever.add([Document("ru", text), Document("zh", chinese)])
        for asked, shown, length in (
            ("где библиотеки", "Библиотека стоит", 60),
            ("图书馆在哪里", "图书馆在河边。", 20),
        ):
            query = encoder.query(asked)
            (hit,) = retriever.retrieve([query])[0]
            (span,) = retriever.snippets(query, [hit], length)
            assert shown in (hit.text or "")[slice(*span)]
